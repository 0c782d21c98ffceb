//! The loop over steps.

use super::block::Core;
use super::generic::frame_address;
use super::group::{Frame, Group, Waiting};
use super::mask::lanes;
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::program::{Collective, NONE, Operation, Predicate};
use crate::{Fault, FaultKind};

/// Steps of a divided warp before the lanes that are furthest ahead have their turn, for those behind may wait in a
/// loop for them. No loop of a kernel that keeps its lanes together for long is that long.
const PATIENCE: u64 = 1 << 14;
/// Steps of that turn.
const FAVOUR: u64 = 1 << 8;

/// What becomes of the group after a step.
enum After {
    /// It goes on with the next step.
    Next,
    /// All of it goes on there.
    Jump(u32),
    /// It was put back, in one or more parts, or has ended.
    Gone,
}

impl Core<'_> {
    /// Runs a warp until nothing in it can go on or its turn is over.
    pub fn run_warp(&mut self, warp: &mut Warp, turn: u64) -> Result<(), Box<Fault>> {
        let end = warp.steps + turn;
        while warp.steps < end {
            let last = warp.divided % (PATIENCE + FAVOUR) >= PATIENCE;
            let Some(mut group) = warp.groups.next(last) else {
                return Ok(());
            };
            let (started, alone) = (warp.steps, warp.groups.all.is_empty());
            if let Err(stop) = self.run_group(warp, &mut group, end) {
                return Err(self.fault(warp, group.at, *stop));
            }
            warp.divided = if alone {
                0
            } else {
                warp.divided + warp.steps - started
            };
        }
        Ok(())
    }

    /// Runs a group until it parts, waits, ends or comes to where another stands.
    fn run_group(&mut self, warp: &mut Warp, group: &mut Group, end: u64) -> Step {
        let machine = self.machine;
        let frame = warp.groups.frames[group.frame as usize];
        warp.registers.window = frame.window;
        let alone = warp.groups.all.is_empty();
        let horizon = warp.groups.horizon(group);
        let limit = if alone { end } else { end.min(warp.steps + FAVOUR) };
        loop {
            let step = &machine.program.steps[group.at as usize];
            let mut active = group.lanes;
            if step.guard != NONE {
                let guard = Predicate {
                    row: step.guard >> 1,
                    negated: step.guard & 1 == 1,
                };
                active = warp.registers.predicate(guard, active)?;
            }
            warp.steps += 1;
            self.tally.step(step.class, active);
            let after = if active == 0 {
                After::Next
            } else {
                self.step(warp, group, &frame, &step.operation, active)?
            };
            match after {
                After::Next => group.at += 1,
                After::Jump(target) => {
                    group.at = target;
                    if !alone {
                        warp.groups.all.push(*group);
                        return Ok(());
                    }
                }
                After::Gone => return Ok(()),
            }
            if group.at >= horizon || warp.steps >= limit {
                warp.groups.all.push(*group);
                return Ok(());
            }
        }
    }

    #[inline]
    fn step(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        frame: &Frame,
        operation: &Operation,
        mask: u32,
    ) -> Step<After> {
        match operation {
            Operation::Arithmetic { function, to, from } => {
                self.arithmetic(warp, *function, *to, from, mask)?;
            }
            Operation::Move { to, from } => warp.registers.copy(&self.machine.pool, *to, *from, mask),
            Operation::Load(access) => self.load(warp, frame, access, mask)?,
            Operation::Store(access) => self.store(warp, frame, access, mask)?,
            Operation::Compare {
                comparison,
                to,
                complement,
                packed,
            } => {
                self.set_predicates(warp, comparison, *to, *complement, *packed, mask)?;
            }
            Operation::Select { to, a, b, predicate } => {
                let first = warp.registers.predicate(*predicate, mask)?;
                self.select(warp, *to, *a, *b, first, mask)?;
            }
            Operation::Branch { target } => return Ok(self.branch(warp, group, *target, mask)),
            _ => return self.seldom(warp, group, frame, operation, mask),
        }
        Ok(After::Next)
    }

    /// The operations that inner loops have few of.
    fn seldom(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        frame: &Frame,
        operation: &Operation,
        mask: u32,
    ) -> Step<After> {
        match operation {
            Operation::CompareValue {
                comparison,
                to,
                value,
                packed,
            } => self.set_value(warp, comparison, *to, *value, *packed, mask)?,
            Operation::Test { to, from, test } => self.test(warp, *to, *from, *test, mask)?,
            Operation::SelectSign {
                to,
                a,
                b,
                sign,
                float,
            } => {
                let first = self.not_negative(warp, *sign, *float, mask)?;
                self.select(warp, *to, *a, *b, first, mask)?;
            }
            Operation::Logic { combine, to, a, b } => {
                let (a, b) = (
                    warp.registers.predicate(*a, mask)?,
                    warp.registers.predicate(*b, mask)?,
                );
                warp.registers.write_predicate(*to, combine.join(a, b), mask);
            }
            Operation::MovePredicate { to, from } => {
                let value = warp.registers.predicate(*from, mask)?;
                warp.registers.write_predicate(*to, value, mask);
            }
            Operation::SetPredicate { to, value } => {
                warp.registers
                    .write_predicate(*to, if *value { mask } else { 0 }, mask);
            }
            Operation::Logic3 { to, from, table, or } => self.logic3(warp, *to, from, *table, *or, mask)?,
            Operation::Carry(carry) => self.carry(warp, carry, mask)?,
            Operation::Special { to, which } => self.special(warp, *to, *which, mask),
            Operation::Pack { to, from, bits } => self.pack(warp, *to, from, *bits, mask)?,
            Operation::Unpack { to, from, bits } => self.unpack(warp, to, *from, *bits, mask)?,
            Operation::FrameAddress { to, offset } => {
                frame_address(warp, frame, *to, *offset, mask);
            }
            Operation::Atomic(atomic) => self.atomic(warp, frame, atomic, mask)?,
            Operation::ConvertAddress {
                to,
                from,
                space,
                to_space,
            } => self.convert_address(warp, *to, *from, *space, *to_space, mask)?,
            Operation::IsSpace { to, from, space } => self.is_space(warp, *to, *from, *space, mask)?,
            Operation::ActiveMask { to } => warp.registers.write_narrow(*to, &[mask; 32], mask),
            Operation::MatrixProduct(product) => self.matrix_product(warp, product, mask)?,
            Operation::MatrixMove(operation) => self.matrix_move(warp, frame, operation, mask)?,
            Operation::MatrixTranspose { to, from } => self.matrix_transpose(warp, *to, *from, mask)?,
            Operation::AsyncCopy(copy) => self.begin_copy(warp, frame, copy, mask)?,
            Operation::AsyncCommit => warp.copies.commit(mask),
            Operation::AsyncWait { left } => self.finish_copies(warp, *left, mask),
            Operation::Fence | Operation::Nothing => {}
            _ => return self.control(warp, group, frame, operation, mask),
        }
        Ok(After::Next)
    }

    /// The operations after which lanes part, wait or end.
    fn control(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        frame: &Frame,
        operation: &Operation,
        mask: u32,
    ) -> Step<After> {
        let first = mask.trailing_zeros();
        match operation {
            Operation::BranchIndex { index, targets } => {
                let row = *warp.registers.narrow(&self.machine.pool, *index, mask)?;
                self.branch_index(warp, group, &row, targets, mask)
            }
            Operation::Call(call) => {
                part(warp, group, mask);
                self.call(warp, group, frame, call, mask)?;
                Ok(After::Gone)
            }
            Operation::Return if frame.depth > 0 => {
                self.pass_back(warp, frame, mask)?;
                part(warp, group, mask);
                let waiting = Waiting::Runs;
                warp.groups.all.push(Group {
                    at: frame.back,
                    lanes: mask,
                    frame: frame.parent,
                    waiting,
                });
                Ok(After::Gone)
            }
            Operation::Return | Operation::Exit => {
                part(warp, group, mask);
                Ok(After::Gone)
            }
            Operation::Trap => Err(Stop::new(FaultKind::Trap, first, "Trap")),
            Operation::Breakpoint => Err(Stop::new(FaultKind::Breakpoint, first, "Breakpoint")),
            Operation::Barrier(barrier) => {
                let warps = self.machine.threads().div_ceil(32) as usize;
                let Some(number) = self.arrive(warp, barrier, mask, warps)? else {
                    return Ok(After::Next);
                };
                part(warp, group, mask);
                warp.groups.all.push(Group {
                    lanes: mask,
                    waiting: Waiting::Barrier(number),
                    ..*group
                });
                Ok(After::Gone)
            }
            Operation::Collective {
                mask: row,
                collective,
            } => self.gather(warp, group, *row, collective, mask),
            _ => unreachable!("every other operation is a plain step"),
        }
    }

    fn branch(&mut self, warp: &mut Warp, group: &Group, target: u32, mask: u32) -> After {
        if mask == group.lanes {
            return After::Jump(target);
        }
        self.tally.divergent += 1;
        part(warp, group, mask);
        warp.groups.all.push(Group {
            at: target,
            lanes: mask,
            ..*group
        });
        After::Gone
    }

    fn branch_index(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        index: &[u32; 32],
        targets: &[u32],
        mask: u32,
    ) -> Step<After> {
        part(warp, group, mask);
        let (mut rest, mut parts) = (mask, 0);
        while rest != 0 {
            let first = rest.trailing_zeros();
            let wanted = index[first as usize];
            let Some(&target) = targets.get(wanted as usize) else {
                let message = format!(
                    "brx.idx with index {wanted} in a table of {} targets",
                    targets.len()
                );
                return Err(Stop::new(FaultKind::Jump, first, message));
            };
            let same = lanes(rest)
                .filter(|&lane| index[lane] == wanted)
                .fold(0, |same, lane| same | 1 << lane);
            warp.groups.all.push(Group {
                at: target,
                lanes: same,
                ..*group
            });
            rest &= !same;
            parts += 1;
        }
        self.tally.divergent += u64::from(parts > 1);
        Ok(After::Gone)
    }

    /// Lanes come to a collective. They join those that already wait there; what can be done is done.
    fn gather(
        &mut self,
        warp: &mut Warp,
        group: &Group,
        row: u32,
        collective: &Collective,
        mask: u32,
    ) -> Step<After> {
        let mut came = mask;
        if !warp.groups.all.is_empty() {
            warp.groups.all.retain(|other| {
                let waits_here =
                    (other.at, other.frame, other.waiting) == (group.at, group.frame, Waiting::Lanes);
                if waits_here {
                    came |= other.lanes;
                }
                !waits_here
            });
        }
        let live = warp.groups.live() | group.lanes | came;
        let done = self.collective(warp, row, collective, came, live)?;
        if done == group.lanes && came == done {
            return Ok(After::Next);
        }
        part(warp, group, mask);
        let parts = [
            (done, group.at + 1, Waiting::Runs),
            (came & !done, group.at, Waiting::Lanes),
        ];
        for (lanes, at, waiting) in parts.into_iter().filter(|&(lanes, ..)| lanes != 0) {
            warp.groups.all.push(Group {
                at,
                lanes,
                frame: group.frame,
                waiting,
            });
        }
        Ok(After::Gone)
    }
}

/// Leaves behind the lanes of a group for which a step's guard did not hold: they go on with the next step.
fn part(warp: &mut Warp, group: &Group, taken: u32) {
    let left = group.lanes & !taken;
    if left != 0 {
        warp.groups.all.push(Group {
            at: group.at + 1,
            lanes: left,
            ..*group
        });
    }
}
