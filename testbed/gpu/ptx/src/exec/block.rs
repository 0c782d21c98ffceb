//! One block: what its warps share.

use super::barrier::state::BarrierState;
use super::global::Global;
use super::machine::Machine;
use super::shared::Shared;
use super::stop::Stop;
use super::tally::Tally;
use super::warp::Warp;
use crate::Fault;
use crate::check::order::Order;

/// What the warps of a block share.
#[derive(Debug)]
pub struct Core<'m> {
    /// The launch.
    pub machine: &'m Machine<'m>,
    /// Global memory.
    pub global: Global<'m>,
    /// Shared memory.
    pub shared: Shared,
    /// What orders accesses to it.
    pub order: Order,
    /// Barriers.
    pub barriers: Vec<BarrierState>,
    /// Counters.
    pub tally: Tally,
    /// `%ctaid`
    pub block: [u32; 3],
    /// The block's number in the grid.
    pub number: u64,
}

impl Core<'_> {
    /// A stop with its place.
    #[cold]
    pub fn fault(&self, warp: &Warp, at: u32, stop: Stop) -> Box<Fault> {
        let launch = self.machine.launch;
        let place = self.machine.program.places[at as usize];
        let span = place.span.0 as usize..place.span.1 as usize;
        let text = launch.kernel.text.get(span).unwrap_or_default();
        let thread = warp.number * 32 + stop.lane;
        let [x, y, _] = launch.block;
        Box::new(Fault {
            kind: stop.kind,
            kernel: launch.kernel.name.clone(),
            line: place.line,
            instruction: text.split_whitespace().collect::<Vec<_>>().join(" "),
            block: self.block,
            thread: [thread % x, thread / x % y, thread / (x * y)],
            message: stop.message,
        })
    }
}
