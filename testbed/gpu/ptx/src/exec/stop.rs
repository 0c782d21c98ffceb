//! What a step gives: something, or the stop of its warp.

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
