//! What a download of a model says of itself while it runs.

use serde::{Deserialize, Serialize};

/// Exit status of a download that failed and may succeed later: `EX_TEMPFAIL` of `sysexits.h`. The last line that it
/// logs is `error: CODE: …`, where `CODE` is a [`FetchFault`](super::FetchFault).
pub const FETCH_EXIT_STATUS: i32 = 75;
/// Path at which a download says how far it is, on the port of probes.
pub const PROGRESS_PATH: &str = "/progress";

/// How far a download is: numbers and codes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchProgress {
    /// What it does.
    pub stage: FetchStage,
    /// Bytes that are on the node.
    pub bytes: u64,
    /// Bytes of the whole file, once the server has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes a second, over the last seconds.
    pub bytes_per_second: u64,
}

/// What a download does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchStage {
    /// Another one of the same file runs on the node.
    Waiting,
    /// It asks for the file and writes it.
    Downloading,
    /// It computes the file's digest.
    Verifying,
    /// The file had another digest: it is not asked for again before some time has passed.
    HeldBack,
}

impl FetchProgress {
    /// Seconds until it ends, as fast as it is.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.total?.checked_sub(self.bytes)?;
        Some(left.div_ceil(self.bytes_per_second.max(1))).filter(|_| self.bytes_per_second > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_time_is_what_is_left_at_the_rate_of_now() {
        let progress = |bytes, total, bytes_per_second| FetchProgress {
            stage: FetchStage::Downloading,
            bytes,
            total,
            bytes_per_second,
        };
        assert_eq!(progress(40, Some(100), 7).seconds_left(), Some(9));
        assert_eq!(progress(100, Some(100), 7).seconds_left(), Some(0));
        assert_eq!(progress(40, Some(100), 0).seconds_left(), None, "nobody knows");
        assert_eq!(progress(40, None, 7).seconds_left(), None);
        assert_eq!(
            progress(140, Some(100), 7).seconds_left(),
            None,
            "a server that lied"
        );
    }
}
