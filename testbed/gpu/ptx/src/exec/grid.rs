//! The blocks of a grid on host threads.

use std::sync::atomic::Ordering::Relaxed;

use super::machine::Machine;
use super::scheduler::BlockRunner;
use crate::{Counters, Fault};

/// What one host thread counted, and the number and fault of the block that stopped it.
type Outcome = (Counters, Option<(u64, Box<Fault>)>);

impl Machine<'_> {
    /// Runs all blocks on up to `cores` host threads. Of several blocks that fail, the first in order is reported, so
    /// that the fault does not depend on how threads take turns.
    pub fn run(&self, cores: usize) -> Result<Counters, Box<Fault>> {
        let blocks: u64 = self.launch.grid.iter().map(|&size| u64::from(size)).product();
        let threads = u64::try_from(cores.max(1)).unwrap_or(1).min(blocks);
        let outcomes: Vec<Outcome> = if threads == 1 {
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
    fn work(&self, blocks: u64) -> Outcome {
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
