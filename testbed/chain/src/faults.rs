//! The faults that a test may switch on: what a public endpoint does on a bad day, by name.

use serde::{Deserialize, Serialize};

/// Faults in force. Counters fall by one each time they strike; zero is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// Messages that are answered with success and then forgotten.
    pub drop_sends: u32,
    /// Messages that wait twice, as in two nodes that do not know of each other.
    pub duplicate_sends: u32,
    /// Messages that are let in although the answer says that the endpoint timed out.
    pub lost_replies: u32,
    /// Requests of any toncenter method that are answered with 503.
    pub unavailable: u32,
    /// Reads answer from the state at the moment when this was switched on.
    pub stale_reads: bool,
    /// Answers are false: see `server/lies.rs`.
    #[serde(default)]
    pub lies: bool,
}

/// A request to change some of the faults; what it does not name stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultChange {
    /// See [`Faults::drop_sends`].
    pub drop_sends: Option<u32>,
    /// See [`Faults::duplicate_sends`].
    pub duplicate_sends: Option<u32>,
    /// See [`Faults::lost_replies`].
    pub lost_replies: Option<u32>,
    /// See [`Faults::unavailable`].
    pub unavailable: Option<u32>,
    /// See [`Faults::stale_reads`].
    pub stale_reads: Option<bool>,
    /// See [`Faults::lies`].
    pub lies: Option<bool>,
}

impl Faults {
    /// These faults with some of them changed.
    #[must_use]
    pub fn changed(self, change: FaultChange) -> Self {
        Self {
            drop_sends: change.drop_sends.unwrap_or(self.drop_sends),
            duplicate_sends: change.duplicate_sends.unwrap_or(self.duplicate_sends),
            lost_replies: change.lost_replies.unwrap_or(self.lost_replies),
            unavailable: change.unavailable.unwrap_or(self.unavailable),
            stale_reads: change.stale_reads.unwrap_or(self.stale_reads),
            lies: change.lies.unwrap_or(self.lies),
        }
    }
}

/// Counts one strike of a fault; false when it is off.
pub(crate) const fn strikes(counter: &mut u32) -> bool {
    match counter.checked_sub(1) {
        Some(left) => {
            *counter = left;
            true
        }
        None => false,
    }
}
