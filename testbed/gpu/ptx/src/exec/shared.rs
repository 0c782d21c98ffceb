//! Shared memory of a block: bytes, the record of who touched them, and conflicts of banks.

use super::mask::lanes;
use super::stop::{Step, Stop};
use super::tally::Tally;
use crate::FaultKind;
use crate::check::order::Order;
use crate::check::shared::{Accessor, Hazard, Record, Touch};

/// Shared memory.
#[derive(Debug, Default)]
pub struct Shared {
    bytes: Vec<u8>,
    record: Record,
    size: usize,
}

impl Shared {
    /// Begins a block with so many bytes.
    pub fn reset(&mut self, size: usize) {
        self.size = size;
        self.bytes.clear();
        self.bytes.resize(size.next_multiple_of(16), 0);
        self.record.reset(size.next_multiple_of(16));
    }

    #[inline]
    fn place(&self, address: u64, size: usize, lane: usize) -> Step<usize> {
        if !address.is_multiple_of(size as u64) {
            let message = format!("Misaligned access of {size} bytes at shared address {address:#x}");
            return Err(Stop::new(FaultKind::Misaligned, lane as u32, message));
        }
        if address.saturating_add(size as u64) > self.size as u64 {
            let have = self.size;
            let message = format!(
                "Access of {size} bytes at shared address {address:#x} is out of bounds: the block has {have} bytes"
            );
            return Err(Stop::new(FaultKind::OutOfBounds, lane as u32, message));
        }
        Ok(address as usize)
    }

    #[inline]
    fn touch(&mut self, at: usize, size: usize, touch: Touch, by: &Accessor<'_>) -> Step {
        match self.record.touch(at, size, touch, by) {
            None => Ok(()),
            Some(hazard) => Err(describe(hazard, at, size, touch, by.thread)),
        }
    }

    /// Checks one lane's read, and gives the offset.
    #[inline]
    pub fn read(&mut self, address: u64, size: usize, by: &Accessor<'_>) -> Step<usize> {
        let at = self.place(address, size, by.thread as usize % 32)?;
        self.touch(at, size, Touch::Read, by)?;
        Ok(at)
    }

    /// Checks one lane's write of these bytes, and writes them.
    #[inline]
    pub fn write(&mut self, address: u64, bytes: &[u8], by: &Accessor<'_>) -> Step {
        let at = self.place(address, bytes.len(), by.thread as usize % 32)?;
        let same = self.bytes[at..at + bytes.len()] == *bytes;
        self.touch(at, bytes.len(), Touch::Write { same }, by)?;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Checks one lane's atomic access, and gives the offset.
    pub fn atomic(&mut self, address: u64, size: usize, by: &Accessor<'_>) -> Step<usize> {
        let at = self.place(address, size, by.thread as usize % 32)?;
        self.touch(at, size, Touch::Atomic, by)?;
        Ok(at)
    }

    /// Notes that a copy into these bytes is under way.
    pub fn begin_copy(&mut self, address: u64, size: usize, by: &Accessor<'_>) -> Step<usize> {
        let at = self.place(address, size, by.thread as usize % 32)?;
        self.touch(at, size, Touch::Begin, by)?;
        Ok(at)
    }

    /// Lets a copy arrive that was waited for.
    pub fn finish_copy(&mut self, at: usize, bytes: &[u8], by: &Accessor<'_>) {
        let hazard = self.record.touch(at, bytes.len(), Touch::Finish, by);
        debug_assert_eq!(hazard, None, "an arrival is checked when the copy begins");
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The integer of 1, 2, 4 or 8 bytes at a checked offset.
    #[inline]
    pub fn get(&self, at: usize, size: usize) -> u64 {
        match size {
            4 => u64::from(u32::from_le_bytes(
                self.bytes[at..at + 4].try_into().expect("four bytes"),
            )),
            8 => u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes")),
            2 => u64::from(u16::from_le_bytes(
                self.bytes[at..at + 2].try_into().expect("two bytes"),
            )),
            _ => u64::from(self.bytes[at]),
        }
    }

    /// Sets the integer at a checked offset.
    pub fn set(&mut self, at: usize, size: usize, value: u64) {
        self.bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

#[cold]
fn describe(hazard: Hazard, at: usize, size: usize, touch: Touch, thread: u32) -> Box<Stop> {
    let access = match touch {
        Touch::Read => "read",
        Touch::Atomic => "atomic",
        Touch::Write { .. } | Touch::Begin | Touch::Finish => "write",
    };
    let (kind, message) = match hazard {
        Hazard::Uninitialised => (
            FaultKind::Uninitialised,
            format!("Uninitialized {access} of {size} bytes at shared address {at:#x}"),
        ),
        Hazard::AfterWrite { thread } => (
            FaultKind::Race,
            format!(
                "Race: {access} of {size} bytes at shared address {at:#x} after a write by thread {thread} of the block with no barrier between"
            ),
        ),
        Hazard::AfterRead { thread } => (
            FaultKind::Race,
            format!(
                "Race: {access} of {size} bytes at shared address {at:#x} after a read by thread {thread} of the block with no barrier between"
            ),
        ),
        Hazard::Pending { thread } => (
            FaultKind::Race,
            format!(
                "Race: {access} of {size} bytes at shared address {at:#x} while a cp.async of thread {thread} of the block is not waited for"
            ),
        ),
    };
    Stop::new(kind, thread % 32, message)
}

/// The accessor for a lane of a warp.
#[inline]
pub fn accessor(order: &Order, warp: u32, lane: usize) -> Accessor<'_> {
    let seen = order.seen(warp as usize);
    Accessor {
        thread: warp * 32 + lane as u32,
        clock: seen[warp as usize],
        seen,
    }
}

/// Counts the passes over the 32 banks of four bytes that a request takes. Lanes of one word share a pass; accesses of
/// 8 bytes go by half warps, of 16 bytes by quarters.
pub fn count_wavefronts(tally: &mut Tally, addresses: &[u64; 32], size: usize, mask: u32) {
    let parts = (size / 4).clamp(1, 4);
    let mut passes = 0;
    for part in 0..parts {
        let width = 32 / parts;
        let members = mask & (u32::MAX >> (32 - width) << (part * width));
        if members == 0 {
            continue;
        }
        passes += passes_of(addresses, size.max(4), members);
    }
    let fewest = (0..parts)
        .filter(|part| mask & (u32::MAX >> (32 - 32 / parts) << (part * (32 / parts))) != 0)
        .count();
    tally.shared.requests += 1;
    tally.shared.wavefronts += passes;
    tally.shared.conflicts += passes - fewest as u64;
}

/// Passes for lanes that go together: one, unless a bank is asked for several words.
#[inline]
fn passes_of(addresses: &[u64; 32], size: usize, mask: u32) -> u64 {
    let mut first = [u64::MAX; 32];
    for lane in lanes(mask) {
        for step in 0..size / 4 {
            let word = (addresses[lane] >> 2) + step as u64;
            let held = &mut first[(word & 31) as usize];
            if *held == u64::MAX {
                *held = word;
            } else if *held != word {
                return passes_with_conflicts(addresses, size, mask);
            }
        }
    }
    1
}

/// The most words that one bank is asked for.
fn passes_with_conflicts(addresses: &[u64; 32], size: usize, mask: u32) -> u64 {
    // Lanes times words of the widest access of a part: 32 of one word, 16 of two, 8 of four.
    let mut words = [u64::MAX; 32];
    let (mut count, mut depth) = (0, [0_u64; 32]);
    for lane in lanes(mask) {
        for step in 0..size / 4 {
            let word = (addresses[lane] >> 2) + step as u64;
            if !words[..count].contains(&word) {
                words[count] = word;
                count += 1;
                depth[(word & 31) as usize] += 1;
            }
        }
    }
    depth.into_iter().max().unwrap_or(1)
}
