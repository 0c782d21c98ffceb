//! What a stream does, one after another.

use std::sync::Arc;

use crate::abi::host::HostCall;
use crate::context::Health;
use crate::driver;
use crate::error::{Code, Result};
use crate::event::Mark;
use crate::launch::Launching;
use crate::memory::Kind;
use crate::memory::copy::{Copy, Fill};

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
    /// A free of memory that was allocated in stream order.
    Free(u64),
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
            Self::Record(mark) => mark.reach(),
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
            Self::Kernel(launching) => launching.run(driver::get()?),
            Self::Copy(copy) => copy.run(),
            Self::Fill(fill) => fill.run(),
            Self::Free(address) => {
                let driver = driver::get()?;
                driver.allocations.release(
                    driver,
                    *address,
                    |kind| matches!(kind, Kind::Device | Kind::Pool(_)),
                    "cuMemFreeAsync",
                )
            }
            Self::Empty | Self::Host(_) | Self::Record(_) | Self::Wait(_) => Ok(()),
        }
    }
}
