//! What a launch did, counted.

use serde::{Deserialize, Serialize};

/// Requests to global memory in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Warp-wide instructions that asked.
    pub requests: u64,
    /// 32-byte sectors that they touched.
    pub sectors: u64,
    /// Bytes that the lanes used.
    pub bytes: u64,
}

/// Figures of one launch. Instructions are warp-wide: one for up to 32 threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Warp-wide instructions.
    pub instructions: u64,
    /// Lanes that took part in them.
    pub lanes: u64,
}
