//! What a stream does, one after another.

use std::sync::Arc;

use super::mark::Mark;
use crate::abi::host::HostCall;
use crate::context::health::Health;
use crate::error::{Code, Result};
use crate::launch::Launching;
use crate::memory::copy::{Copy, Fill};
use crate::memory::{Allocations, Kind};

/// One piece of work.
#[derive(Clone, Debug)]
pub enum Work {
    /// Nothing: a node that only orders others.
    Empty,
    /// A kernel.
    Kernel(Arc<Launching>),
    /// A copy.
    Copy(Copy),
    /// A fill.
    Fill(Fill),
    /// A function of the program's.
    Host(HostCall),
    /// A free, in stream order, of what was allocated at this address.
    Free(Arc<Allocations>, u64),
    /// An event is reached.
    Record(Arc<Mark>),
    /// An event of another stream is waited for.
    Wait(Arc<Mark>),
}

impl Work {
    /// Whether it can be done at once by who submits it: host functions run on a thread of their own, as a program may
    /// wait in one for what it does next.
    pub fn immediate(&self) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Wait(mark) => mark.reached().is_some(),
            _ => true,
        }
    }

    /// Does it. In a context that has failed nothing is done, but nobody is left waiting.
    pub fn run(&self, health: &Health) {
        let status = health.check();
        match self {
            Self::Record(mark) => mark.reach(health.device.clock.now()),
            Self::Wait(mark) => mark.wait(),
            Self::Host(call) => call.call(status.err().map_or(0, Code::number)),
            _ if status.is_err() => {}
            _ => {
                if let Err(code) = self.act() {
                    health.fail(code);
                }
            }
        }
    }

    fn act(&self) -> Result<()> {
        match self {
            Self::Kernel(launching) => launching.run(),
            Self::Copy(copy) => copy.run(),
            Self::Fill(fill) => fill.run(),
            Self::Free(allocations, address) => allocations.release(
                *address,
                |kind| matches!(kind, Kind::Device | Kind::Pool(..)),
                "cuMemFreeAsync",
            ),
            Self::Empty | Self::Host(_) | Self::Record(_) | Self::Wait(_) => Ok(()),
        }
    }
}
