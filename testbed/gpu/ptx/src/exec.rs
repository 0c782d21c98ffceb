//! Executes programs: blocks one after the other on each host thread, warps of a block in turn, lanes together.
//!
//! ```text
//! Machine (a launch; shared by host threads) ─ Block ─ Warp ─ Group (lanes at one place) ─ step
//! ```

mod address;
mod atomic;
mod barrier;
mod block;
mod collective;
mod copy;
mod engine;
mod global;
mod group;
mod local;
mod machine;
mod matrix;
mod memory;
mod registers;
mod scalar;
mod shared;
mod tally;
mod warp;

pub use machine::Machine;

use crate::FaultKind;

/// Why a warp stopped: what the launch's fault says, before the place is known.
#[derive(Debug)]
pub struct Stop {
    /// What went wrong.
    pub kind: FaultKind,
    /// The lane it went wrong for.
    pub lane: u32,
    /// What happened.
    pub message: String,
}

impl Stop {
    /// A stop for one lane.
    #[cold]
    pub fn new(kind: FaultKind, lane: u32, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            kind,
            lane,
            message: message.into(),
        })
    }
}

/// What a step gives.
pub type Step<T = ()> = Result<T, Box<Stop>>;

/// The lanes of a mask, from the lowest.
#[inline]
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros();
        rest &= rest - 1;
        Some(lane as usize)
    })
}
