//! A launch as all host threads share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::registers::Pool;
use crate::memory::Allocation;
use crate::module::Space;
use crate::program::Program;
use crate::{Launch, Limits, Memory};

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
    /// The next block that nobody has taken.
    pub(super) next: AtomicU64,
    /// One more than the number of the first block that failed.
    pub(super) failed: AtomicU64,
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
}
