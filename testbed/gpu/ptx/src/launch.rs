//! A launch: what is asked for, and what a device allows.

use crate::{Capability, Kernel, Module};

/// Warp-wide instructions of one block after which it counts as hung: at the slowest this machine runs, a quarter of an
/// hour; no kernel that is meant for a card of the market takes a minute there.
const HUNG: u64 = 1 << 32;

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
    /// Memory whose loads are counted apart, in [`crate::Counters::watched_loads`]: its address and bytes.
    pub watched: Option<(u64, u64)>,
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
    /// Multiprocessors, for `%nsmid` and `%smid`.
    pub multiprocessors: u32,
    /// Warp-wide instructions of one block, after which the launch stops as hung.
    pub instructions: u64,
}

impl Limits {
    /// The limits of a compute capability ("CUDA C++ Programming Guide", technical specifications), with shared memory
    /// as far as a kernel may opt in.
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
            grid: [0x7fff_ffff, 65_535, 65_535],
            block: [1_024, 1_024, 64],
            threads: 1_024,
            shared_bytes: kib * 1_024,
            multiprocessors: 1,
            instructions: HUNG,
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
    /// A dimension of the block is zero or too large.
    #[error("kernel {kernel}: block {block:?} is outside of 1 to {limit:?}")]
    Block {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        block: [u32; 3],
        /// What the device allows.
        limit: [u32; 3],
    },
    /// The block has too many threads, for the device or for the kernel's `.maxntid`.
    #[error("kernel {kernel}: {threads} threads of a block are more than {limit}")]
    Threads {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        threads: u64,
        /// What is allowed.
        limit: u32,
    },
    /// The kernel has a `.reqntid` of another shape.
    #[error("kernel {kernel}: block {block:?} is not {required:?}, which the kernel requires")]
    RequiredBlock {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        block: [u32; 3],
        /// What the kernel requires.
        required: [u32; 3],
    },
    /// Static and dynamic shared memory together are too large.
    #[error("kernel {kernel}: {bytes} bytes of shared memory are more than {limit}")]
    Shared {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        bytes: u64,
        /// What the device allows.
        limit: u32,
    },
    /// The parameter block is too short.
    #[error("kernel {kernel}: {given} bytes of parameters, of which it takes {wanted}")]
    Parameters {
        /// The kernel.
        kernel: String,
        /// What was given.
        given: usize,
        /// What the kernel takes.
        wanted: usize,
    },
    /// The addresses of the module's variables are missing, or the kernel is another module's.
    #[error("kernel {kernel}: {given} addresses of module variables, of which there are {wanted}")]
    Globals {
        /// The kernel.
        kernel: String,
        /// What was given.
        given: usize,
        /// What the module has.
        wanted: usize,
    },
}

/// Refuses a launch that cannot begin on a device with these limits.
pub(crate) fn check(launch: &Launch<'_>, limits: &Limits) -> Result<(), LaunchError> {
    let kernel = || launch.kernel.name.clone();
    let outside = |sizes: [u32; 3], most: [u32; 3]| {
        sizes
            .iter()
            .zip(most)
            .any(|(&size, most)| size == 0 || size > most)
    };
    if outside(launch.grid, limits.grid) {
        return Err(LaunchError::Grid {
            kernel: kernel(),
            grid: launch.grid,
            limit: limits.grid,
        });
    }
    if outside(launch.block, limits.block) {
        return Err(LaunchError::Block {
            kernel: kernel(),
            block: launch.block,
            limit: limits.block,
        });
    }
    let threads = launch.block.iter().map(|&size| u64::from(size)).product::<u64>();
    let limit = launch
        .kernel
        .max_threads()
        .unwrap_or(limits.threads)
        .min(limits.threads);
    if threads > u64::from(limit) {
        return Err(LaunchError::Threads {
            kernel: kernel(),
            threads,
            limit,
        });
    }
    if let Some(required) = launch
        .kernel
        .required_threads
        .filter(|&required| required != launch.block)
    {
        return Err(LaunchError::RequiredBlock {
            kernel: kernel(),
            block: launch.block,
            required,
        });
    }
    check_memory(launch, limits)
}

fn check_memory(launch: &Launch<'_>, limits: &Limits) -> Result<(), LaunchError> {
    let kernel = || launch.kernel.name.clone();
    let bytes = u64::from(
        launch
            .kernel
            .program
            .dynamic_shared
            .max(launch.kernel.shared_bytes()),
    ) + u64::from(launch.shared_bytes);
    let bytes = if launch.shared_bytes == 0 {
        u64::from(launch.kernel.shared_bytes())
    } else {
        bytes
    };
    if bytes > u64::from(limits.shared_bytes) {
        return Err(LaunchError::Shared {
            kernel: kernel(),
            bytes,
            limit: limits.shared_bytes,
        });
    }
    let (given, wanted) = (launch.parameters.len(), launch.kernel.parameter_bytes());
    if given < wanted {
        return Err(LaunchError::Parameters {
            kernel: kernel(),
            given,
            wanted,
        });
    }
    let (given, wanted) = (launch.globals.len(), launch.module.globals().len());
    let is_own = launch
        .module
        .kernel(launch.kernel.name())
        .is_some_and(|own| std::sync::Arc::ptr_eq(&own.program, &launch.kernel.program));
    if given != wanted || !is_own {
        return Err(LaunchError::Globals {
            kernel: kernel(),
            given,
            wanted,
        });
    }
    Ok(())
}
