//! A launch: what is asked for, what a device allows, and the run.

use crate::{Capability, Counters, Fault, Kernel, Memory, Module};

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The module of the kernel.
    pub module: &'a Module,
    /// The kernel, one of the module's.
    pub kernel: &'a Kernel,
    /// Addresses of the module's variables, as [`Module::place`] gave them.
    pub globals: &'a [u64],
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The parameter block, laid out as [`Kernel::parameters`] says.
    pub parameters: &'a [u8],
}

/// What a device allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Shared memory of a block, static and dynamic, in bytes.
    pub shared_bytes: u32,
    /// 32-bit registers of a block.
    pub registers: u32,
    /// Multiprocessors, for `%nsmid` and `%smid`.
    pub multiprocessors: u32,
    /// Warp-wide instructions of one block, after which the launch stops as hung.
    pub instructions: u64,
}

impl Limits {
    /// The limits of a compute capability ("CUDA C++ Programming Guide", technical specifications), with shared memory as
    /// far as a kernel may opt in.
    pub fn of(device: Capability) -> Self {
        let kib = match (device.major, device.minor) {
            (7, 5) => 64,
            (7, _) => 96,
            (8, 0 | 7) => 163,
            (8, _) => 99,
            (9.., _) => 227,
            _ => 48,
        };
        Self {
            grid: [i32::MAX as u32, 65_535, 65_535],
            block: [1_024, 1_024, 64],
            threads: 1_024,
            shared_bytes: kib * 1_024,
            registers: 65_536,
            multiprocessors: 1,
            instructions: 1 << 32,
        }
    }
}

/// A launch that cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A dimension of the grid is zero or too large.
    #[error("kernel {kernel}: grid {grid:?} is outside of 1 to {limit:?}")]
    Grid {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        grid: [u32; 3],
        /// What the device allows.
        limit: [u32; 3],
    },
}

/// Why a run ended without counters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It could not begin.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A checker stopped it.
    #[error(transparent)]
    Fault(Box<Fault>),
}

/// Runs a kernel to its end, its blocks on up to `cores` threads.
pub fn run(
    launch: &Launch<'_>,
    _memory: &Memory,
    limits: &Limits,
    _cores: usize,
) -> Result<Counters, RunError> {
    if launch.grid.contains(&0) {
        let kernel = launch.kernel.name.clone();
        return Err(LaunchError::Grid {
            kernel,
            grid: launch.grid,
            limit: limits.grid,
        }
        .into());
    }
    Ok(Counters::default())
}
