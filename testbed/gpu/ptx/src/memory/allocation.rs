//! One allocation: its bytes, and one bit a byte for whether it was ever written.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cells::Cells;

/// A range of device memory.
#[derive(Debug)]
pub struct Allocation {
    base: u64,
    size: u64,
    pub(crate) cells: Cells,
    written: Cells,
    /// Every byte was written: the bits need no look.
    all_written: AtomicBool,
}

impl Allocation {
    /// `size` bytes from `base` on, none of them written; none when the host has no room.
    pub fn new(base: u64, size: u64) -> Option<Self> {
        let (cells, written) = (Cells::zeroed(size)?, Cells::zeroed(size.div_ceil(8))?);
        Some(Self {
            base,
            size,
            cells,
            written,
            all_written: AtomicBool::new(false),
        })
    }

    /// The first address.
    #[inline]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the whole range lies within.
    #[inline]
    pub fn covers(&self, address: u64, size: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.size && size <= self.size - offset
    }

    /// The offset of an address that this allocation covers.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the allocation exists, so its offsets fit the host's words"
    )]
    pub fn offset(&self, address: u64) -> usize {
        (address - self.base) as usize
    }

    /// Copies from the host; the range lies within.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let mut offset = self.offset(address);
        let head = bytes.len().min(offset.next_multiple_of(8) - offset);
        let (first, rest) = bytes.split_at(head);
        for &byte in first {
            self.cells.store8(offset, byte);
            offset += 1;
        }
        let (words, last) = rest.as_chunks::<8>();
        for word in words {
            self.cells.store64(offset, u64::from_le_bytes(*word));
            offset += 8;
        }
        for &byte in last {
            self.cells.store8(offset, byte);
            offset += 1;
        }
        self.mark_written(address, bytes.len() as u64);
    }

    /// Copies to the host; the range lies within.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        let mut offset = self.offset(address);
        let head = bytes.len().min(offset.next_multiple_of(8) - offset);
        let (first, rest) = bytes.split_at_mut(head);
        for byte in first {
            *byte = self.cells.load8(offset);
            offset += 1;
        }
        let (words, last) = rest.as_chunks_mut::<8>();
        for word in words {
            *word = self.cells.load64(offset).to_le_bytes();
            offset += 8;
        }
        for byte in last {
            *byte = self.cells.load8(offset);
            offset += 1;
        }
    }

    /// Copies a range, which may overlap, together with which of its bytes were written.
    pub fn copy_from(&self, to: u64, source: &Self, from: u64, size: u64) {
        let mut bytes = vec![0; usize::try_from(size).expect("a range of an allocation fits the host")];
        source.read(from, &mut bytes);
        if source.is_written(from, size) {
            return self.write(to, &bytes);
        }
        let written: Vec<bool> = (0..size).map(|i| source.is_written(from + i, 1)).collect();
        for ((i, byte), written) in (0..size).zip(bytes).zip(written) {
            self.cells.store8(self.offset(to + i), byte);
            if written {
                self.mark_written(to + i, 1);
            }
        }
    }

    /// Whether every byte was written. It may say no although that is so.
    #[inline]
    pub fn is_all_written(&self) -> bool {
        self.all_written.load(Relaxed)
    }

    /// Whether every byte of a range within was written.
    #[inline]
    pub fn is_written(&self, address: u64, size: u64) -> bool {
        self.all_written.load(Relaxed)
            || self.bits(address, size, |written, at, bits| {
                written.load64(at) & bits == bits
            })
    }

    /// Notes that a range within was written.
    #[inline]
    pub fn mark_written(&self, address: u64, size: u64) {
        if self.all_written.load(Relaxed) {
            return;
        }
        if size == self.size {
            return self.all_written.store(true, Relaxed);
        }
        self.bits(address, size, |written, at, bits| {
            if written.load64(at) & bits != bits {
                written.atomic64(at).fetch_or(bits, Relaxed);
            }
            true
        });
    }

    /// Whether all of `visit` hold, called with the place of each 64-bit word of the bits and the bits of the range in
    /// it.
    #[inline]
    fn bits(&self, address: u64, size: u64, visit: impl Fn(&Cells, usize, u64) -> bool) -> bool {
        let (mut at, end) = (address - self.base, address - self.base + size);
        while at < end {
            let count = (64 - at % 64).min(end - at);
            let bits = (u64::MAX >> (64 - count)) << (at % 64);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an offset within an allocation fits the host's words"
            )]
            let word = (at / 64 * 8) as usize;
            if !visit(&self.written, word, bits) {
                return false;
            }
            at += count;
        }
        true
    }
}
