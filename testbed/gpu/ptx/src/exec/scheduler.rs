//! The warps of a block take turns until all have ended; one block follows the other.

use super::barrier::state::{BARRIERS, BarrierState};
use super::block::Core;
use super::global::Global;
use super::group::{Group, Waiting};
use super::machine::Machine;
use super::mask::lanes;
use super::shared::Shared;
use super::stop::Stop;
use super::tally::Tally;
use super::warp::Warp;
use crate::check::order::Order;
use crate::program::Operation;
use crate::{Counters, Fault, FaultKind};

/// Steps that a warp goes before the next has its turn, so that one that waits in a loop for another does not stop it.
const TURN: u64 = 1 << 16;

/// Runs blocks one after the other, and keeps their rooms for the next.
#[derive(Debug)]
pub struct BlockRunner<'m> {
    core: Core<'m>,
    warps: Vec<Warp>,
}

impl<'m> BlockRunner<'m> {
    /// Nothing has run.
    pub fn new(machine: &'m Machine<'m>) -> Self {
        let core = Core {
            machine,
            global: Global::new(&machine.allocations, machine.memory),
            shared: Shared::default(),
            order: Order::default(),
            barriers: (0..BARRIERS).map(|_| BarrierState::default()).collect(),
            tally: Tally::default(),
            block: [0; 3],
            number: 0,
        };
        Self {
            core,
            warps: Vec::new(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.core.tally.counters()
    }

    fn reset(&mut self, number: u64) {
        let machine = self.core.machine;
        let [x, y, _] = machine.launch.grid.map(u64::from);
        let place = [number % x, number / x % y, number / (x * y)];
        self.core.block = place.map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        self.core.number = number;
        let threads = machine.threads();
        let count = threads.div_ceil(32) as usize;
        self.core.shared.reset(machine.shared_bytes() as usize);
        self.core.order.reset(count);
        self.core.barriers.iter_mut().for_each(BarrierState::reset);
        self.core.tally.blocks += 1;
        self.core.tally.warps += count as u64;
        self.warps.resize_with(count, Warp::new);
        let kernel = &machine.program.functions[0];
        for (number, warp) in (0..).zip(&mut self.warps) {
            let left = threads - 32 * number;
            warp.number = number;
            warp.lanes = if left >= 32 { u32::MAX } else { (1 << left) - 1 };
            warp.steps = 0;
            warp.divided = 0;
            warp.registers.reset(kernel.rows);
            warp.groups.reset(kernel.entry, warp.lanes);
            warp.local.reset(kernel.frame_bytes);
            warp.copies.reset();
        }
    }

    /// Runs one block to its end.
    pub fn run(&mut self, number: u64) -> Result<(), Box<Fault>> {
        self.reset(number);
        let limit = self.core.machine.limits.instructions;
        let mut steps = 0;
        loop {
            let mut moved = false;
            for at in 0..self.warps.len() {
                let warp = &mut self.warps[at];
                let before = warp.steps;
                self.core.run_warp(warp, TURN)?;
                moved |= warp.steps != before;
                steps += warp.steps - before;
                moved |= self.core.release_barriers(&mut self.warps)?;
            }
            if self.warps.iter().all(|warp| warp.groups.all.is_empty()) {
                return Ok(());
            }
            if !moved {
                return Err(self.stuck());
            }
            if steps > limit {
                return Err(self.hung(limit));
            }
            if self.core.machine.is_moot(number) {
                return Ok(());
            }
        }
    }

    /// Nothing can go on: says what the first thread that waits is waiting for.
    #[cold]
    fn stuck(&self) -> Box<Fault> {
        let waits = |waiting: fn(&Waiting) -> bool| {
            self.warps.iter().find_map(|warp| {
                warp.groups
                    .all
                    .iter()
                    .find(|group| waiting(&group.waiting))
                    .map(|group| (warp, group))
            })
        };
        if let Some((warp, group)) = waits(|waiting| matches!(waiting, Waiting::Lanes)) {
            let mask = self.core.awaited(warp, group);
            let missing = mask & !group.lanes & warp.groups.live();
            let message = format!(
                "Divergent threads in warp: lanes {:#010x} wait for lanes {missing:#010x} of their mask, which are elsewhere",
                group.lanes
            );
            let stop = Stop::new(FaultKind::Mask, group.lanes.trailing_zeros(), message);
            return self.core.fault(warp, group.at, *stop);
        }
        let (warp, group) = waits(|waiting| matches!(waiting, Waiting::Barrier(_)))
            .expect("a thread that has not ended waits");
        let Waiting::Barrier(number) = group.waiting else {
            unreachable!("just found")
        };
        let message = self.core.missing_at_barrier(number, &self.warps);
        let stop = Stop::new(FaultKind::Barrier, group.lanes.trailing_zeros(), message);
        self.core.fault(warp, group.at, *stop)
    }

    #[cold]
    fn hung(&self, limit: u64) -> Box<Fault> {
        let (warp, group) = self
            .warps
            .iter()
            .find_map(|warp| warp.groups.all.first().map(|group| (warp, group)))
            .expect("a warp runs");
        let message = format!("The block has executed {limit} warp instructions without an end");
        let stop = Stop::new(FaultKind::Timeout, group.lanes.trailing_zeros(), message);
        self.core.fault(warp, group.at, *stop)
    }
}

impl Core<'_> {
    /// The mask that a waiting group named.
    fn awaited(&self, warp: &Warp, group: &Group) -> u32 {
        let Operation::Collective { mask, .. } = &self.machine.program.steps[group.at as usize].operation
        else {
            return u32::MAX;
        };
        let window = warp.groups.frames[group.frame as usize].window;
        let lane = lanes(group.lanes).next().unwrap_or(0);
        warp.registers.peek(&self.machine.pool, window, *mask)[lane]
    }
}
