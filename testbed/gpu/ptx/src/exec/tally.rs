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
    /// Loads of what is watched.
    pub watched: Traffic,
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

    /// Counts a load of `bytes` by each of these lanes, apart as well where all of them lie in `watched`: an address
    /// and bytes.
    #[inline]
    pub fn load(&mut self, addresses: &[u64; 32], lanes: u32, bytes: u64, watched: Option<(u64, u64)>) {
        let touched = sectors(addresses, lanes);
        self.loads.requests += 1;
        self.loads.sectors += touched;
        self.loads.bytes += bytes * u64::from(lanes.count_ones());
        let Some((base, size)) = watched else { return };
        if lanes != 0 && mask::lanes(lanes).all(|lane| addresses[lane].wrapping_sub(base) < size) {
            self.watched.requests += 1;
            self.watched.sectors += touched;
            self.watched.bytes += bytes * distinct(addresses, lanes);
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
            watched_loads: self.watched,
            shared: self.shared,
            barriers: self.barriers,
            atomics: self.atomics,
        }
    }
}

/// Counts different addresses.
fn distinct(addresses: &[u64; 32], lanes: u32) -> u64 {
    let mut all: Vec<u64> = mask::lanes(lanes).map(|lane| addresses[lane]).collect();
    all.sort_unstable();
    all.dedup();
    all.len() as u64
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
