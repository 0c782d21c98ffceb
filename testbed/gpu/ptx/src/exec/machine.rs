//! A launch as all host threads share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::block::BlockRunner;
use super::registers::Pool;
use crate::memory::Allocation;
use crate::module::Space;
use crate::program::Program;
use crate::{Counters, Fault, Launch, Limits, Memory};

/// A launch, checked and ready.
#[derive(Debug)]
pub struct Machine<'l> {
    /// What was asked for.
    pub launch: &'l Launch<'l>,
    /// The program of its kernel.
    pub program: &'l Program,
    /// What the device allows.
    pub limits: &'l Limits,
    /// Constants as rows, addresses of variables filled in.
    pub pool: Pool,
    /// What was allocated when the launch began.
    pub allocations: Arc<[Arc<Allocation>]>,
    /// The device's memory.
    pub memory: &'l Memory,
    /// When the launch began, for `%globaltimer`.
    pub began: Instant,
    constants: Vec<(u64, u64)>,
    next: AtomicU64,
    /// One more than the number of the first block that failed.
    failed: AtomicU64,
}

impl<'l> Machine<'l> {
    /// Prepares a launch that was checked.
    pub fn new(launch: &'l Launch<'l>, memory: &'l Memory, limits: &'l Limits) -> Self {
        let program: &Program = &launch.kernel.program;
        let mut wide = program.wide.clone();
        for &(row, variable) in &program.relocations {
            wide[row as usize] = wide[row as usize].wrapping_add(launch.globals[variable as usize]);
        }
        let pool = Pool {
            narrow: program.narrow.iter().map(|&bits| [bits; 32]).collect(),
            wide: wide.into_iter().map(|bits| [bits; 32]).collect(),
        };
        let variables = launch.module.globals().iter().zip(launch.globals);
        let constants = variables.filter(|(variable, _)| variable.space == Space::Constant);
        let constants = constants
            .map(|(variable, &address)| (address, variable.size))
            .collect();
        let allocations = memory.snapshot();
        let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self {
            launch,
            program,
            limits,
            pool,
            allocations,
            memory,
            began: Instant::now(),
            constants,
            next,
            failed,
        }
    }

    /// Whether an address lies in a constant variable of the module.
    pub fn is_constant(&self, address: u64) -> bool {
        self.constants
            .iter()
            .any(|&(base, size)| address.wrapping_sub(base) < size)
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.launch.block.iter().product()
    }

    /// Bytes of shared memory of a block.
    pub fn shared_bytes(&self) -> u32 {
        let dynamic = self.launch.shared_bytes;
        if dynamic == 0 {
            self.program.shared_bytes
        } else {
            self.program.dynamic_shared + dynamic
        }
    }

    /// Whether a block need not run on, for one before it has failed.
    pub fn is_moot(&self, block: u64) -> bool {
        self.failed.load(Relaxed) < block
    }

    /// Runs all blocks on up to `cores` host threads. Of several blocks that fail, the first in order is reported, so
    /// that the fault does not depend on how threads take turns.
    pub fn run(&self, cores: usize) -> Result<Counters, Box<Fault>> {
        let blocks: u64 = self.launch.grid.iter().map(|&size| u64::from(size)).product();
        let threads = u64::try_from(cores.max(1)).unwrap_or(1).min(blocks);
        let outcomes: Vec<(Counters, Option<(u64, Box<Fault>)>)> = if threads == 1 {
            vec![self.work(blocks)]
        } else {
            std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work(blocks))).collect();
                let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
                    Ok(outcome) => outcome,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                workers.into_iter().map(join).collect()
            })
        };
        let mut total = Counters::default();
        let mut first: Option<(u64, Box<Fault>)> = None;
        for (counters, fault) in outcomes {
            total += &counters;
            if let Some((block, fault)) = fault
                && first.as_ref().is_none_or(|&(earlier, _)| block < earlier)
            {
                first = Some((block, fault));
            }
        }
        first.map_or(Ok(total), |(_, fault)| Err(fault))
    }

    /// One host thread: takes blocks in order until none is left.
    fn work(&self, blocks: u64) -> (Counters, Option<(u64, Box<Fault>)>) {
        let mut runner = BlockRunner::new(self);
        loop {
            let block = self.next.fetch_add(1, Relaxed);
            if block >= blocks || self.is_moot(block) {
                return (runner.counters(), None);
            }
            if let Err(fault) = runner.run(block) {
                self.failed.fetch_min(block, Relaxed);
                return (runner.counters(), Some((block, fault)));
            }
        }
    }
}
