//! What a barrier knows while threads arrive.

/// How many barriers a block has.
pub const BARRIERS: usize = 16;

/// One barrier while threads arrive.
#[derive(Debug, Default)]
pub struct BarrierState {
    /// Lanes that arrived, by warp.
    pub(super) arrived: Vec<u32>,
    /// How many threads it is for; all of the block without a number.
    pub(super) threads: Option<u32>,
    /// What its members will have seen of each other.
    pub(super) joined: Vec<u32>,
    /// Lanes whose predicate held, over the block, and lanes that gave one.
    pub(super) held: (u32, u32),
    /// Whether anybody has arrived since it was last complete.
    pub(super) busy: bool,
}

impl BarrierState {
    /// Nobody has arrived.
    pub fn reset(&mut self) {
        self.arrived.clear();
        self.joined.clear();
        self.threads = None;
        self.held = (0, 0);
        self.busy = false;
    }
}
