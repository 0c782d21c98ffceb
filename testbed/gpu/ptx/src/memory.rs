//! A device's global memory: allocations at virtual addresses, with a record of which bytes were ever written.
//!
//! ```text
//! Memory ─ live: address → Allocation { bytes, written } (shared: a running launch keeps what it began with)
//!        └ freed: the last ranges that were given back, so that a use after free is named as one
//! ```

mod allocation;
mod cells;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use allocation::Allocation;

/// Where global addresses begin. Nothing near zero is ever valid, so that a null pointer plus an offset is seen as one.
pub const GLOBAL_BASE: u64 = 0x10_0000_0000;
/// Where they end: the windows of shared, local and parameter memory lie above.
pub const GLOBAL_END: u64 = 0x7000_0000_0000;
/// Alignment of every allocation, as `cuMemAlloc` gives it.
pub const ALIGNMENT: u64 = 256;
/// Unused addresses after each allocation, so that an access a little beyond its end does not meet the next one.
const GUARD: u64 = 1 << 16;
/// Ranges kept of what was freed. A use after free is a mistake of recent code; 4,096 frees are more than one step of
/// an engine makes, and cost 64 KiB.
const FREED_KEPT: usize = 4_096;

/// The device has not so much memory left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {asked} bytes asked for, {free} bytes free of {total}")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes free.
    pub free: u64,
    /// The device's bytes.
    pub total: u64,
}

/// The host named memory that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No allocation holds the whole range.
    #[error("{size} bytes at {address:#x} are not within one allocation")]
    OutOfBounds {
        /// The first byte.
        address: u64,
        /// How many.
        size: u64,
    },
    /// The range was freed.
    #[error("{size} bytes at {address:#x} lie in memory that was freed")]
    Freed {
        /// The first byte.
        address: u64,
        /// How many.
        size: u64,
    },
    /// An address to free is not the start of an allocation.
    #[error("{address:#x} is not the start of an allocation")]
    NotAllocated {
        /// The address.
        address: u64,
    },
}

/// A device's global memory. It may be shared by threads: each call is one step.
#[derive(Debug)]
pub struct Memory {
    total: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    live: BTreeMap<u64, Arc<Allocation>>,
    mapped: BTreeMap<u64, Arc<Allocation>>,
    /// All of them, made for a launch and kept until one comes or goes: launches are many, allocations few.
    snapshot: Option<Arc<[Arc<Allocation>]>>,
    freed: VecDeque<(u64, u64)>,
    used: u64,
    next: u64,
    end: u64,
}

impl Memory {
    /// Empty memory of `capacity` bytes. Host memory is taken only for pages that are written.
    pub fn new(capacity: u64) -> Self {
        Self::within(GLOBAL_BASE..GLOBAL_END, capacity)
    }

    /// The same, with its allocations at addresses of `range`, so that devices of one process have addresses apart.
    ///
    /// # Panics
    ///
    /// The range does not lie between [`GLOBAL_BASE`] and [`GLOBAL_END`], or does not begin at a multiple of
    /// [`ALIGNMENT`].
    pub fn within(range: Range<u64>, capacity: u64) -> Self {
        assert!(
            range.start >= GLOBAL_BASE && range.end <= GLOBAL_END,
            "addresses {range:x?} are not global ones"
        );
        assert!(
            range.start.is_multiple_of(ALIGNMENT),
            "addresses {range:x?} begin unaligned"
        );
        let state = State {
            live: BTreeMap::new(),
            mapped: BTreeMap::new(),
            snapshot: None,
            freed: VecDeque::new(),
            used: 0,
            next: range.start,
            end: range.end,
        };
        Self {
            total: capacity,
            state: Mutex::new(state),
        }
    }

    /// The device's bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that are not allocated.
    pub fn free_bytes(&self) -> u64 {
        self.total - self.state().used
    }

    /// Allocates `size` bytes (at least one) at a multiple of 256. Their contents count as never written.
    pub fn allocate(&self, size: u64) -> Result<u64, OutOfMemory> {
        let mut state = self.state();
        let free = self.total - state.used;
        let refused = OutOfMemory {
            asked: size,
            free,
            total: self.total,
        };
        let taken = size
            .max(1)
            .checked_next_multiple_of(ALIGNMENT)
            .filter(|&taken| taken <= free)
            .ok_or(refused)?;
        let base = state.next;
        let next = base
            .checked_add(taken + GUARD)
            .filter(|&next| next <= state.end)
            .ok_or(refused)?;
        let allocation = Allocation::new(base, size.max(1)).ok_or(refused)?;
        state.next = next;
        state.used += taken;
        state.live.insert(base, Arc::new(allocation));
        state.snapshot = None;
        Ok(base)
    }

    /// Gives an allocation back. Its addresses are not handed out again.
    pub fn free(&self, address: u64) -> Result<(), AccessError> {
        let mut state = self.state();
        let Some(allocation) = state.live.remove(&address) else {
            let freed = state.freed.iter().any(|&(base, _)| base == address);
            return Err(if freed {
                AccessError::Freed { address, size: 0 }
            } else {
                AccessError::NotAllocated { address }
            });
        };
        state.used -= allocation.size().next_multiple_of(ALIGNMENT);
        state.remember_freed(&allocation);
        Ok(())
    }

    /// The allocation that holds `address`: its start and its size, as `cuMemGetAddressRange` reports them.
    pub fn range(&self, address: u64) -> Option<(u64, u64)> {
        self.state()
            .holder(address)
            .map(|found| (found.base(), found.size()))
    }

    /// Makes `size` bytes (at least one) accessible at an address of the caller's choice, without taking any of the
    /// device's: memory of the host that kernels may use. False if there is no host memory to hold them.
    pub fn map(&self, address: u64, size: u64) -> bool {
        let Some(allocation) = Allocation::new(address, size.max(1)) else {
            return false;
        };
        self.state().reach(address, Arc::new(allocation));
        true
    }

    /// Makes an allocation of another device accessible at its address, as peers do. False if there is none.
    pub fn lend(&self, to: &Self, address: u64) -> bool {
        let Some(allocation) = self.state().live.get(&address).cloned() else {
            return false;
        };
        to.state().reach(address, allocation);
        true
    }

    /// Takes back what was mapped at this address or lent to it.
    pub fn unmap(&self, address: u64) {
        let mut state = self.state();
        if let Some(allocation) = state.mapped.remove(&address) {
            state.remember_freed(&allocation);
        }
    }

    /// Copies bytes from the host into device memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        let allocation = self.covering(address, bytes.len() as u64)?;
        if let Some(allocation) = allocation {
            allocation.write(address, bytes);
        }
        Ok(())
    }

    /// Copies bytes from device memory to the host. Bytes never written are zero.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        let allocation = self.covering(address, bytes.len() as u64)?;
        if let Some(allocation) = allocation {
            allocation.read(address, bytes);
        }
        Ok(())
    }

    /// Whether every byte of the range was written, by the host or by a kernel.
    pub fn is_written(&self, address: u64, size: u64) -> Result<bool, AccessError> {
        let allocation = self.covering(address, size)?;
        Ok(allocation.is_none_or(|allocation| allocation.is_written(address, size)))
    }

    /// Repeats a pattern of 1, 2 or 4 bytes `count` times from `address` on, as `cuMemsetD8/D16/D32` do.
    ///
    /// # Panics
    /// When the pattern is longer than 65,536 bytes.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), AccessError> {
        const CHUNK: usize = 1 << 16;
        let outside = AccessError::OutOfBounds {
            address,
            size: u64::MAX,
        };
        let size = (pattern.len() as u64).checked_mul(count).ok_or(outside)?;
        let Some(allocation) = self.covering(address, size)? else {
            return Ok(());
        };
        let repeated: Vec<u8> = pattern
            .iter()
            .copied()
            .cycle()
            .take(
                usize::try_from(size)
                    .unwrap_or(CHUNK)
                    .min(CHUNK - CHUNK % pattern.len().max(1)),
            )
            .collect();
        let mut done = 0;
        while done < size {
            let step = (size - done).min(repeated.len() as u64);
            allocation.write(
                address + done,
                &repeated[..usize::try_from(step).expect("a chunk")],
            );
            done += step;
        }
        Ok(())
    }

    /// Copies within the device. What was never written stays never written at its new place.
    pub fn copy(&self, to: u64, from: u64, size: u64) -> Result<(), AccessError> {
        let (source, target) = (self.covering(from, size)?, self.covering(to, size)?);
        if let (Some(source), Some(target)) = (source, target) {
            target.copy_from(to, &source, from, size);
        }
        Ok(())
    }

    /// What is allocated now, by address, for a launch to run over.
    pub(crate) fn snapshot(&self) -> Arc<[Arc<Allocation>]> {
        let mut state = self.state();
        if let Some(snapshot) = &state.snapshot {
            return Arc::clone(snapshot);
        }
        let mut all: Vec<_> = state
            .live
            .values()
            .chain(state.mapped.values())
            .cloned()
            .collect();
        if !state.mapped.is_empty() {
            all.sort_unstable_by_key(|allocation| allocation.base());
        }
        let snapshot: Arc<[_]> = all.into();
        state.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Whether the address lies in a range that was freed lately: the range.
    pub(crate) fn freed_range(&self, address: u64) -> Option<(u64, u64)> {
        let state = self.state();
        state
            .freed
            .iter()
            .rev()
            .copied()
            .find(|&(base, size)| (base..base + size).contains(&address))
    }

    fn covering(&self, address: u64, size: u64) -> Result<Option<Arc<Allocation>>, AccessError> {
        if size == 0 {
            return Ok(None);
        }
        if let Some(found) = self.state().holder(address)
            && found.covers(address, size)
        {
            return Ok(Some(found));
        }
        Err(match self.freed_range(address) {
            Some(_) => AccessError::Freed { address, size },
            None => AccessError::OutOfBounds { address, size },
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole before it can panic, so a poisoned lock holds good data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn holder(&self, address: u64) -> Option<Arc<Allocation>> {
        [&self.live, &self.mapped].into_iter().find_map(|allocations| {
            let (_, found) = allocations.range(..=address).next_back()?;
            found.covers(address, 1).then(|| Arc::clone(found))
        })
    }

    fn reach(&mut self, address: u64, allocation: Arc<Allocation>) {
        self.mapped.insert(address, allocation);
        self.snapshot = None;
    }

    fn remember_freed(&mut self, allocation: &Allocation) {
        self.snapshot = None;
        if self.freed.len() == FREED_KEPT {
            self.freed.pop_front();
        }
        self.freed.push_back((allocation.base(), allocation.size()));
    }
}

#[cfg(test)]
mod tests;
