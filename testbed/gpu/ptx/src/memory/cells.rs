//! Bytes that many threads may touch at once, as a card's memory allows.
//!
//! Kernels race on global memory by design at times (flags, counters), so plain references cannot be used. Every access
//! is a relaxed atomic of its own width, which costs no more than a plain one.

#![expect(
    unsafe_code,
    reason = "a byte range is accessed at several widths, which no safe type of the library offers"
)]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A fixed range of bytes, zero at first, aligned to 16.
#[derive(Debug)]
pub struct Cells {
    words: Box<[Chunk]>,
}

/// 16 bytes, so that the widest access is aligned within them.
#[derive(Debug)]
#[repr(C, align(16))]
struct Chunk(UnsafeCell<[u64; 2]>);

// SAFETY: after construction the bytes are reached through `pointer` alone, and every access through it is atomic.
unsafe impl Sync for Cells {}

macro_rules! accessors {
    ($($load:ident $store:ident $int:ty, $atomic:ty;)*) => { $(
        /// The integer at a byte offset, a multiple of its size within the range.
        #[inline]
        pub fn $load(&self, offset: usize) -> $int {
            self.check(offset, size_of::<$int>());
            // SAFETY: `check` holds the offset within the range and aligned; all accesses to the range are atomic.
            unsafe { <$atomic>::from_ptr(self.pointer(offset).cast()) }.load(Relaxed)
        }

        /// Writes an integer at a byte offset, a multiple of its size within the range.
        #[inline]
        pub fn $store(&self, offset: usize, value: $int) {
            self.check(offset, size_of::<$int>());
            // SAFETY: `check` holds the offset within the range and aligned; all accesses to the range are atomic.
            unsafe { <$atomic>::from_ptr(self.pointer(offset).cast()) }.store(value, Relaxed);
        }
    )* };
}

impl Cells {
    /// `size` zero bytes; none when the host has no room for them.
    pub fn zeroed(size: u64) -> Option<Self> {
        let chunks = usize::try_from(size.div_ceil(16)).ok()?;
        let layout = std::alloc::Layout::array::<Chunk>(chunks)
            .ok()
            .filter(|layout| layout.size() > 0)?;
        // SAFETY: the layout is not empty; zero is a valid `Chunk`; the box frees with the same layout.
        let words = unsafe {
            #[expect(
                clippy::cast_ptr_alignment,
                reason = "the layout asks for the alignment of a chunk"
            )]
            let start = std::alloc::alloc_zeroed(layout).cast::<Chunk>();
            if start.is_null() {
                return None;
            }
            Box::from_raw(std::ptr::slice_from_raw_parts_mut(start, chunks))
        };
        Some(Self { words })
    }

    accessors! {
        load8 store8 u8, AtomicU8;
        load16 store16 u16, AtomicU16;
        load32 store32 u32, AtomicU32;
        load64 store64 u64, AtomicU64;
    }

    /// The 32-bit word at a byte offset, for atomic operations.
    #[inline]
    pub fn atomic32(&self, offset: usize) -> &AtomicU32 {
        self.check(offset, 4);
        // SAFETY: `check` holds the offset within the range and aligned; the reference lives no longer than the range.
        unsafe { AtomicU32::from_ptr(self.pointer(offset).cast()) }
    }

    /// The 64-bit word at a byte offset, for atomic operations.
    #[inline]
    pub fn atomic64(&self, offset: usize) -> &AtomicU64 {
        self.check(offset, 8);
        // SAFETY: `check` holds the offset within the range and aligned; the reference lives no longer than the range.
        unsafe { AtomicU64::from_ptr(self.pointer(offset).cast()) }
    }

    fn check(&self, offset: usize, size: usize) {
        assert!(
            offset < self.words.len() * 16 && offset.is_multiple_of(size),
            "{size} bytes at {offset}"
        );
    }

    fn pointer(&self, offset: usize) -> *mut u8 {
        // SAFETY: every caller has checked the offset; the box owns the whole range.
        unsafe { self.words.as_ptr().cast::<u8>().cast_mut().add(offset) }
    }
}
