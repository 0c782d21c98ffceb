//! Barriers of a block.

pub mod state;

use super::block::Core;
use super::group::{Group, Waiting};
use super::mask::lanes;
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::program::{Barrier, BarrierKind, Operation};
use crate::{Fault, FaultKind};
use state::{BARRIERS, BarrierState};

impl Core<'_> {
    /// Lanes arrive at a barrier: the number that they wait at, or none when they go on.
    pub fn arrive(
        &mut self,
        warp: &mut Warp,
        barrier: &Barrier,
        mask: u32,
        warps: usize,
    ) -> Step<Option<u8>> {
        let pool = &self.machine.pool;
        let first = mask.trailing_zeros();
        let number = uniform(warp.registers.narrow(pool, barrier.number, mask)?, mask);
        let number = number.filter(|&number| (number as usize) < BARRIERS);
        let Some(number) = number else {
            return Err(Stop::new(
                FaultKind::Barrier,
                first,
                "Invalid arguments: a barrier's number is the same for all threads and below 16",
            ));
        };
        let mut threads = None;
        if let Some(row) = barrier.threads {
            let count = uniform(warp.registers.narrow(pool, row, mask)?, mask);
            threads = count.filter(|&count| {
                count > 0 && count % 32 == 0 && count <= self.machine.threads().next_multiple_of(32)
            });
            if threads.is_none() {
                return Err(Stop::new(
                    FaultKind::Barrier,
                    first,
                    "Invalid arguments: a barrier's number of threads is a multiple of the warp size within the block",
                ));
            }
        }
        let held = match barrier.operand {
            Some(predicate) => warp.registers.predicate(predicate, mask)?,
            None => 0,
        };
        let state = &mut self.barriers[number as usize];
        if state.busy && state.threads != threads {
            return Err(Stop::new(
                FaultKind::Barrier,
                first,
                format!("Invalid arguments: barrier {number} is for another number of threads"),
            ));
        }
        state.arrived.resize(warps, 0);
        if state.arrived[warp.number as usize] & mask != 0 {
            return Err(Stop::new(
                FaultKind::Barrier,
                first,
                format!("Threads arrive at barrier {number} twice before it is complete"),
            ));
        }
        state.busy = true;
        state.threads = threads;
        state.arrived[warp.number as usize] |= mask;
        state.held.0 += held.count_ones();
        state.held.1 += mask.count_ones();
        self.order.arrive(warp.number as usize, &mut state.joined);
        self.tally.barriers += 1;
        Ok((barrier.kind != BarrierKind::Arrive).then_some(number as u8))
    }

    /// Lets the threads of complete barriers go on; whether there was one.
    pub fn release_barriers(&mut self, warps: &mut [Warp]) -> Result<bool, Box<Fault>> {
        let mut released = false;
        for number in 0..BARRIERS {
            let state = &self.barriers[number];
            if state.busy && is_complete(state, warps) {
                self.release(number, warps)?;
                released = true;
            }
        }
        Ok(released)
    }

    fn release(&mut self, number: usize, warps: &mut [Warp]) -> Result<(), Box<Fault>> {
        let waiting = Waiting::Barrier(number as u8);
        for warp in warps.iter_mut() {
            let mut first: Option<u32> = None;
            let mut at_barrier = warp.groups.all.iter().filter(|group| group.waiting == waiting);
            let apart = at_barrier
                .find(|group| *first.get_or_insert(group.at) != group.at)
                .copied();
            if let (Some(group), Some(other)) = (apart, first)
                && self.is_aligned(other)
            {
                let line = self.machine.program.places[other as usize].line;
                let message = format!(
                    "Divergent threads in warp: other threads of it wait at the barrier of line {line}"
                );
                let stop = Stop::new(FaultKind::Barrier, group.lanes.trailing_zeros(), message);
                return Err(self.fault(warp, group.at, *stop));
            }
            let state = &self.barriers[number];
            for at in 0..warp.groups.all.len() {
                let group = warp.groups.all[at];
                if group.waiting != waiting {
                    continue;
                }
                self.order.leave(warp.number as usize, &state.joined);
                give_result(
                    &self.machine.program.steps[group.at as usize].operation,
                    state.held,
                    warp,
                    &group,
                );
                let group = &mut warp.groups.all[at];
                group.waiting = Waiting::Runs;
                group.at += 1;
            }
        }
        self.barriers[number].reset();
        Ok(())
    }

    fn is_aligned(&self, at: u32) -> bool {
        matches!(&self.machine.program.steps[at as usize].operation, Operation::Barrier(barrier) if barrier.aligned)
    }

    /// Says who is missing at a barrier that will never be complete.
    pub fn missing_at_barrier(&self, number: u8, warps: &[Warp]) -> String {
        let state = &self.barriers[usize::from(number)];
        let line = |group: &Group| self.machine.program.places[group.at as usize].line;
        for warp in warps {
            let arrived = state.arrived.get(warp.number as usize).copied().unwrap_or(0);
            let missing = warp.lanes & !arrived;
            if missing == 0 {
                continue;
            }
            let thread = warp.number * 32 + missing.trailing_zeros();
            let elsewhere = warp
                .groups
                .all
                .iter()
                .find(|group| group.lanes & 1 << missing.trailing_zeros() != 0);
            let what = match elsewhere {
                None => "has exited without reaching it".to_owned(),
                Some(group) => format!("waits elsewhere, at line {}", line(group)),
            };
            return format!(
                "Barrier error detected. Divergent threads in block: thread {thread} of the block {what}"
            );
        }
        let wanted = state.threads.unwrap_or(0);
        format!("Barrier error detected. Barrier {number} waits for {wanted} threads, and fewer reach it")
    }
}

fn is_complete(state: &BarrierState, warps: &[Warp]) -> bool {
    match state.threads {
        None => warps
            .iter()
            .zip(&state.arrived)
            .all(|(warp, &arrived)| arrived == warp.lanes),
        Some(threads) => {
            let whole =
                |pair: &(&Warp, &u32)| *pair.1 != 0 && pair.1 & pair.0.groups.live() == pair.0.groups.live();
            let count = warps.iter().zip(&state.arrived).filter(whole).count();
            count * 32 >= threads as usize
        }
    }
}

fn give_result(operation: &Operation, held: (u32, u32), warp: &mut Warp, group: &Group) {
    let Operation::Barrier(barrier) = operation else {
        return;
    };
    let Some(result) = barrier.result else { return };
    let value = match barrier.kind {
        BarrierKind::Count => held.0,
        BarrierKind::All => u32::from(held.0 == held.1),
        _ => u32::from(held.0 > 0),
    };
    warp.registers.window = warp.groups.frames[group.frame as usize].window;
    for lane in lanes(group.lanes) {
        warp.registers.set_lane(result, lane, value.into());
    }
}

/// The value that all lanes hold, if it is one.
fn uniform(row: &[u32; 32], mask: u32) -> Option<u32> {
    let first = row[mask.trailing_zeros() as usize & 31];
    lanes(mask).all(|lane| row[lane] == first).then_some(first)
}
