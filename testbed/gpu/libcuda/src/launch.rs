//! Launches: checked when they are asked for, run when their stream comes to them, and recorded.

mod estimate;
pub mod occupancy;
mod record;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::presets::limits;
use crate::error::{Code, Result};
use crate::log;
use crate::memory::Allocations;
use crate::module::Function;

/// Blocks, threads and dynamic shared memory of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes.
    pub shared: u32,
}

/// A launch that was accepted, with its arguments taken along.
#[derive(Debug)]
pub struct Launching {
    /// The kernel.
    pub function: Arc<Function>,
    /// How much of it.
    pub shape: Shape,
    /// The parameter block.
    pub parameters: Vec<u8>,
    /// Whether all blocks must be resident together.
    pub cooperative: bool,
    /// The stream's handle, for the record.
    pub stream: u64,
    /// Whether a graph has it, for the record.
    pub in_graph: AtomicBool,
    /// What the process has allocated, of which the kernel may use the host's.
    pub allocations: Arc<Allocations>,
    /// Host threads that run its blocks.
    pub workers: usize,
}

impl Launching {
    /// Refuses what the card cannot launch.
    pub fn check(&self) -> Result<()> {
        let (function, Shape { grid, block, shared }) = (&self.function, self.shape);
        let most = &function.module.device.limits;
        let within = |asked: [u32; 3], most: [u32; 3]| {
            asked
                .iter()
                .zip(most)
                .all(|(asked, most)| (1..=most).contains(asked))
        };
        if !within(grid, most.grid) {
            return Err(self.refuse(
                Code::INVALID_VALUE,
                &format!("the grid {grid:?} is not within 1 and {:?}", most.grid),
            ));
        }
        let threads = block
            .iter()
            .try_fold(1_u32, |threads, side| threads.checked_mul(*side));
        let Some(threads) = threads.filter(|threads| *threads <= most.threads && within(block, most.block))
        else {
            let limit = format!("{:?}, and {} threads in all", most.block, most.threads);
            return Err(self.refuse(
                Code::INVALID_VALUE,
                &format!("the block {block:?} is not within 1 and {limit}"),
            ));
        };
        if threads > function.max_threads() {
            let bound = function.max_threads();
            return Err(self.refuse(
                Code::LAUNCH_OUT_OF_RESOURCES,
                &format!("{threads} threads a block are more than the kernel's bound of {bound}"),
            ));
        }
        let dynamic = u32::try_from(function.dynamic_shared.load(Ordering::Relaxed)).unwrap_or(0);
        if shared > dynamic {
            return Err(self.refuse(
                Code::INVALID_VALUE,
                &format!(
                    "{shared} bytes of dynamic shared memory are more than the {dynamic} allowed; up to {} can be allowed with cuFuncSetAttribute",
                    limits(function.module.device.card.capability).shared_opt_in.saturating_sub(function.kernel().shared_bytes()),
                ),
            ));
        }
        if self.cooperative {
            self.check_resident(threads)?;
        }
        Ok(())
    }

    fn check_resident(&self, threads: u32) -> Result<()> {
        let resident = u64::from(occupancy::blocks(&self.function, threads, self.shape.shared))
            * u64::from(self.function.module.device.card.sms);
        let blocks = self
            .shape
            .grid
            .iter()
            .map(|side| u64::from(*side))
            .product::<u64>();
        if blocks > resident {
            let what = format!("{blocks} blocks are to be resident together, but the card holds {resident}");
            return Err(self.refuse(Code::COOPERATIVE_LAUNCH_TOO_LARGE, &what));
        }
        Ok(())
    }

    fn refuse(&self, code: Code, what: &str) -> Code {
        log::refuse(
            code,
            &format!("launch of {}: {what}", self.function.kernel().name()),
        )
    }
}
