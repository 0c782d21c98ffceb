//! Calls: frames, and the values that pass between a caller and a callee.

use super::block::Core;
use super::group::{Frame, Group, Waiting};
use super::mask::lanes;
use super::registers::Window;
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::FaultKind;
use crate::program::{Call, Operation, Passed, Register};

/// Calls within calls that a thread may make: a recursion that ends stays below, and one that does not is stopped
/// before its registers fill the host's memory.
const DEEPEST: u32 = 1_000;

/// Where a passed value is.
#[derive(Clone, Copy)]
enum Place {
    Register(Register),
    Memory(u32, u32),
}

impl Core<'_> {
    /// `call`: each lane enters the function that its pointer names.
    pub fn call(&mut self, warp: &mut Warp, group: &Group, frame: &Frame, call: &Call, mask: u32) -> Step {
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros();
            let (target, same) = match call.pointer {
                None => (0, rest),
                Some(row) => {
                    let pointers = warp.registers.wide(&self.machine.pool, row, rest)?;
                    let wanted = pointers[first as usize];
                    let target = call.targets.iter().position(|target| target.value == wanted);
                    let Some(target) = target else {
                        let message =
                            format!("Call of {wanted:#x}, which is no function with these parameters");
                        return Err(Stop::new(FaultKind::Jump, first, message));
                    };
                    (
                        target,
                        lanes(rest)
                            .filter(|&lane| pointers[lane] == wanted)
                            .fold(0, |same, lane| same | 1 << lane),
                    )
                }
            };
            self.enter(warp, group, frame, call, target, same)?;
            rest &= !same;
        }
        Ok(())
    }

    fn enter(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        frame: &Frame,
        call: &Call,
        target: usize,
        mask: u32,
    ) -> Step {
        let (program, chosen) = (self.machine.program, &call.targets[target]);
        let (caller, callee) = (
            &program.functions[frame.function as usize],
            &program.functions[chosen.function as usize],
        );
        if frame.depth == DEEPEST {
            let message = format!("Stack overflow: {DEEPEST} calls within each other");
            return Err(Stop::new(
                FaultKind::StackOverflow,
                mask.trailing_zeros(),
                message,
            ));
        }
        let target = u32::try_from(target).unwrap_or(0);
        let key = (group.frame, group.at, target);
        let next = u32::try_from(warp.groups.frames.len()).unwrap_or(u32::MAX);
        let number = *warp.groups.known.entry(key).or_insert(next);
        if number == next {
            let Window {
                predicates,
                narrow,
                wide,
            } = frame.window;
            let window = Window {
                predicates: predicates + caller.rows[0],
                narrow: narrow + caller.rows[1],
                wide: wide + caller.rows[2],
            };
            warp.groups.frames.push(Frame {
                parent: group.frame,
                back: group.at + 1,
                function: chosen.function,
                call: (group.at, target),
                window,
                local: frame.local + caller.frame_bytes,
                depth: frame.depth + 1,
            });
        }
        let entered = warp.groups.frames[number as usize];
        warp.registers.enter(entered.window, callee.rows, mask);
        warp.local.enter(entered.local, callee.frame_bytes, mask);
        for &passed in &chosen.arguments {
            self.pass(warp, frame, &entered, passed, true, mask)?;
        }
        warp.groups.all.push(Group {
            at: callee.entry,
            lanes: mask,
            frame: number,
            waiting: Waiting::Runs,
        });
        Ok(())
    }

    /// Gives a call's results to its caller.
    pub fn pass_back(&mut self, warp: &mut Warp, frame: &Frame, mask: u32) -> Step {
        let parent = warp.groups.frames[frame.parent as usize];
        let Operation::Call(call) = &self.machine.program.steps[frame.call.0 as usize].operation else {
            return Ok(());
        };
        for &passed in &call.targets[frame.call.1 as usize].results {
            self.pass(warp, &parent, frame, passed, false, mask)?;
        }
        Ok(())
    }

    /// Moves one value between a caller and a callee.
    fn pass(
        &self,
        warp: &mut Warp,
        caller: &Frame,
        callee: &Frame,
        passed: Passed,
        inwards: bool,
        mask: u32,
    ) -> Step {
        let (from, to) = if inwards {
            (caller, callee)
        } else {
            (callee, caller)
        };
        let (source, target) = match passed {
            Passed::Memory {
                caller: out,
                callee: within,
                size,
            } => {
                let (out, within) = (caller.local + out, callee.local + within);
                let (from, to) = if inwards { (out, within) } else { (within, out) };
                warp.local.pass(from, to, size, mask);
                return Ok(());
            }
            Passed::Registers { caller, callee } => (Place::Register(caller), Place::Register(callee)),
            Passed::RegisterToMemory {
                caller,
                callee: at,
                size,
            } => (Place::Register(caller), Place::Memory(callee.local + at, size)),
            Passed::MemoryToRegister {
                caller: at,
                callee,
                size,
            } => (Place::Memory(caller.local + at, size), Place::Register(callee)),
        };
        let (source, target) = if inwards {
            (source, target)
        } else {
            (target, source)
        };
        for lane in lanes(mask) {
            warp.registers.window = from.window;
            let value = match source {
                Place::Register(register) => warp.registers.lane(&self.machine.pool, register, lane)?,
                Place::Memory(at, size) => warp.local.load(at.into(), size as usize, lane)?,
            };
            warp.registers.window = to.window;
            match target {
                Place::Register(register) => warp.registers.set_lane(register, lane, value),
                Place::Memory(at, size) => warp.local.store(at.into(), size as usize, lane, value)?,
            }
        }
        warp.registers.window = from.window;
        Ok(())
    }
}
