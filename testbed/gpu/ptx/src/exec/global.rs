//! Global and constant memory: which allocation an address lies in, and what is wrong when it lies in none.

use super::mask::lanes;
use super::stop::{Step, Stop};
use std::sync::Arc;

use crate::memory::{Allocation, GLOBAL_BASE};
use crate::{FaultKind, Memory};

/// The allocations that a launch runs over, with the one that was used last.
#[derive(Debug)]
pub struct Global<'m> {
    allocations: &'m [Arc<Allocation>],
    memory: &'m Memory,
    last: usize,
}

impl<'m> Global<'m> {
    /// What was allocated when the launch began.
    pub fn new(allocations: &'m [Arc<Allocation>], memory: &'m Memory) -> Self {
        Self {
            allocations,
            memory,
            last: 0,
        }
    }

    /// The allocation that covers a range.
    #[inline]
    fn find(&mut self, address: u64, size: u64) -> Option<&'m Allocation> {
        if let Some(found) = self.allocations.get(self.last)
            && found.covers(address, size)
        {
            return Some(found);
        }
        let at = self
            .allocations
            .partition_point(|allocation| allocation.base() <= address)
            .checked_sub(1)?;
        let found = &self.allocations[at];
        if !found.covers(address, size) {
            return None;
        }
        self.last = at;
        Some(found)
    }

    /// The one allocation that covers the accesses of all lanes, when there is one and they are aligned.
    #[inline]
    pub fn covering(&mut self, addresses: &[u64; 32], size: u64, mask: u32) -> Option<&'m Allocation> {
        let (mut least, mut most, mut bits) = (u64::MAX, 0, 0);
        if mask == u32::MAX {
            for &address in addresses {
                least = least.min(address);
                most = most.max(address);
                bits |= address;
            }
        } else {
            for lane in lanes(mask) {
                least = least.min(addresses[lane]);
                most = most.max(addresses[lane]);
                bits |= addresses[lane];
            }
        }
        if bits & (size - 1) != 0 || least > most {
            return None;
        }
        self.find(least, (most - least).checked_add(size)?)
    }

    /// The allocation that covers one lane's access, which must be aligned.
    pub fn one(&mut self, address: u64, size: u64, lane: usize, write: bool) -> Step<&'m Allocation> {
        match self.find(address, size) {
            Some(found) if address.is_multiple_of(size) => Ok(found),
            _ => Err(self.refusal(address, size, lane, write)),
        }
    }

    #[cold]
    fn refusal(&self, address: u64, size: u64, lane: usize, write: bool) -> Box<Stop> {
        let access = if write { "write" } else { "read" };
        let head = format!("Invalid __global__ {access} of size {size} bytes: address {address:#x}");
        let before = self
            .allocations
            .iter()
            .take_while(|allocation| allocation.base() <= address)
            .last();
        let (kind, message) = if let Some((base, freed)) = self.memory.freed_range(address) {
            (
                FaultKind::Freed,
                format!("{head} lies in {freed} bytes at {base:#x} that were freed"),
            )
        } else if before.is_some_and(|allocation| allocation.covers(address, size)) {
            (FaultKind::Misaligned, format!("{head} is misaligned"))
        } else if address < GLOBAL_BASE / 16 {
            (
                FaultKind::Null,
                format!("{head} is out of bounds: it is a null pointer, or near one"),
            )
        } else if let Some(nearest) = before {
            let behind = address.saturating_add(size) - (nearest.base() + nearest.size());
            let (base, bytes) = (nearest.base(), nearest.size());
            (
                FaultKind::OutOfBounds,
                format!(
                    "{head} is out of bounds: {behind} bytes beyond the end of the nearest allocation at {base:#x} of size {bytes} bytes"
                ),
            )
        } else {
            (FaultKind::OutOfBounds, format!("{head} is out of bounds"))
        };
        Stop::new(kind, lane as u32, message)
    }
}

/// Refuses a read of bytes that nobody wrote.
#[cold]
pub fn unwritten(address: u64, size: u64, lane: usize) -> Box<Stop> {
    let message =
        format!("Uninitialized __global__ memory read of size {size} bytes at address {address:#x}");
    Stop::new(FaultKind::Uninitialised, lane as u32, message)
}
