//! What orders the accesses of warps: vector clocks.
//!
//! A warp's clock goes on at each of its synchronisations. `seen[w][v]` is the clock of warp v up to which, without
//! that value itself, everything that v did is known to have happened before what w does next. Barriers join what their
//! members have seen; a warp's own synchronisation orders its lanes.

/// The clocks of a block's warps.
#[derive(Debug, Default)]
pub struct Order {
    warps: usize,
    /// Row w is what warp w has seen; `seen[w][w]` is its own clock.
    seen: Vec<u32>,
}

impl Order {
    /// Begins a block: nothing has happened.
    pub fn reset(&mut self, warps: usize) {
        self.warps = warps;
        self.seen.clear();
        self.seen.resize(warps * warps, 0);
        for warp in 0..warps {
            self.seen[warp * warps + warp] = 1;
        }
    }

    /// What a warp has seen, by warp.
    #[inline]
    pub fn seen(&self, warp: usize) -> &[u32] {
        &self.seen[warp * self.warps..(warp + 1) * self.warps]
    }

    /// The lanes of a warp have synchronised.
    pub fn advance(&mut self, warp: usize) {
        self.seen[warp * self.warps + warp] += 1;
    }

    /// A warp arrives at a barrier: what it did is added to what the barrier's members will have seen.
    pub fn arrive(&mut self, warp: usize, joined: &mut Vec<u32>) {
        joined.resize(self.warps, 0);
        self.advance(warp);
        for (joined, &seen) in joined.iter_mut().zip(self.seen(warp)) {
            *joined = (*joined).max(seen);
        }
    }

    /// A warp leaves a barrier.
    pub fn leave(&mut self, warp: usize, joined: &[u32]) {
        let own = &mut self.seen[warp * self.warps..(warp + 1) * self.warps];
        for (seen, &joined) in own.iter_mut().zip(joined) {
            *seen = (*seen).max(joined);
        }
    }
}
