//! Counters of one host thread.

use super::mask;
use crate::counters::{Class, Classes, Counters, SharedTraffic, Traffic};

/// What was counted so far.
#[derive(Debug, Default)]
pub struct Tally {
    classes: [u64; Class::COUNT],
    lanes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Warps.
    pub warps: u64,
    /// Branches at which lanes parted.
    pub divergent: u64,
    /// Loads from global memory.
    pub loads: Traffic,
    /// Stores to global memory.
    pub stores: Traffic,
    /// Shared memory.
    pub shared: SharedTraffic,
    /// Arrivals at barriers.
    pub barriers: u64,
    /// Atomic operations of lanes.
    pub atomics: u64,
}

impl Tally {
    /// Counts a step.
    #[inline]
    pub fn step(&mut self, class: Class, lanes: u32) {
        self.classes[class as usize] += 1;
        if class != Class::Hidden {
            self.lanes += u64::from(lanes.count_ones());
        }
    }

    /// The counters as a launch reports them.
    pub fn counters(&self) -> Counters {
        let instructions = self.classes.iter().sum::<u64>() - self.classes[Class::Hidden as usize];
        Counters {
            blocks: self.blocks,
            warps: self.warps,
            instructions,
            lanes: self.lanes,
            classes: Classes::of(&self.classes),
            divergent_branches: self.divergent,
            global_loads: self.loads,
            global_stores: self.stores,
            shared: self.shared,
            barriers: self.barriers,
            atomics: self.atomics,
        }
    }
}

/// Counts 32-byte sectors under the addresses of a request; each access is aligned, so it lies in one sector.
#[inline]
pub fn sectors(addresses: &[u64; 32], lanes: u32) -> u64 {
    let mut seen = [0_u64; 32];
    let (mut count, mut last, mut greatest) = (0, u64::MAX, 0);
    for lane in mask::lanes(lanes) {
        let sector = addresses[lane] >> 5;
        if sector == last {
            continue;
        }
        last = sector;
        if count == 0 || sector > greatest {
            greatest = sector;
        } else if seen[..count].contains(&sector) {
            continue;
        }
        seen[count] = sector;
        count += 1;
    }
    count as u64
}
