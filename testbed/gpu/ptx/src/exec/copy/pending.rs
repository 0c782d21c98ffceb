//! Copies under way, and the groups that they are waited for in.

use crate::exec::mask::lanes;

/// A copy under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) lane: u32,
    pub(super) group: u32,
    pub(super) at: usize,
    pub(super) size: usize,
    pub(super) bytes: [u8; 16],
}

/// A warp's copies under way.
#[derive(Debug, Default)]
pub struct Copies {
    pub(super) pending: Vec<Copy>,
    /// For each lane the number of the group that its next copy belongs to.
    pub(super) group: [u32; 32],
}

impl Copies {
    /// Begins a warp without copies.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.group = [0; 32];
    }

    /// Ends the groups of these lanes.
    pub fn commit(&mut self, mask: u32) {
        lanes(mask).for_each(|lane| self.group[lane] += 1);
    }
}
