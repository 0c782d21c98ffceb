//! Memory for packed weights: pieces of 64 MiB that the system is asked to back with huge pages.
//!
//! A token reads all weights once. With pages of 4 KiB it waits for translations of addresses as long as for memory
//! itself, the more so in a virtual machine; most matrices are too small to have huge pages of their own.

#![expect(unsafe_code, reason = "memory at an alignment that no collection offers")]

use std::{
    alloc::{Layout, alloc, dealloc},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use super::form::{LINE, Line};
use crate::backend::error::{AllocationError, DeviceFault};

/// Bytes of a huge page; where the system has others, this alignment does no harm.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a piece: what its last matrix leaves is not touched, and so costs addresses alone.
const PIECE: usize = 64 << 20;

/// Where matrices are laid, one after the other.
#[derive(Debug, Default)]
pub(in crate::backend::cpu) struct Arena {
    /// The piece at hand, and how many of its lines are taken.
    current: Option<(Arc<Piece>, usize)>,
}

/// One allocation. Its lines belong to the stretches that were taken from it.
#[derive(Debug)]
struct Piece {
    start: NonNull<Line>,
    layout: Layout,
}

// SAFETY: a piece is memory and nothing else; each stretch owns its part.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Piece {
    /// At least `lines` lines, not initialised.
    fn new(lines: usize) -> Option<Self> {
        let bytes = lines.checked_mul(LINE)?.max(PIECE);
        let layout = Layout::from_size_align(bytes, HUGE_PAGE).ok()?.pad_to_align();
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc(layout) })?.cast::<Line>();
        // Where the system refuses, pages are small.
        #[cfg(target_os = "linux")]
        // SAFETY: advice about this allocation changes nothing that it holds.
        unsafe {
            libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE)
        };
        Some(Self { start, layout })
    }

    fn lines(&self) -> usize {
        self.layout.size() / LINE
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and the last stretch is gone.
        unsafe { dealloc(self.start.as_ptr().cast(), self.layout) };
    }
}

impl Arena {
    /// `lines` lines of zeros.
    ///
    /// # Errors
    /// The process may not map as much.
    pub(super) fn take(&mut self, lines: usize) -> Result<Stretch, AllocationError> {
        let (piece, first) = match self.current.take() {
            Some((piece, taken)) if lines <= piece.lines() - taken => (piece, taken),
            _ => {
                let piece = Piece::new(lines).ok_or_else(|| AllocationError {
                    fault: DeviceFault::OutOfMemory,
                    what: "a weight matrix".to_owned(),
                    bytes: (lines * LINE) as u64,
                    available: 0,
                })?;
                (Arc::new(piece), 0)
            }
        };
        self.current = Some((Arc::clone(&piece), first + lines));
        // SAFETY: the piece holds these lines, and no other stretch has any of them; zeros are lines.
        let start = unsafe {
            let start = piece.start.add(first);
            start.write_bytes(0, lines);
            start
        };
        Ok(Stretch {
            start,
            lines,
            _piece: piece,
        })
    }
}

/// Lines of one matrix.
#[derive(Debug)]
pub(super) struct Stretch {
    start: NonNull<Line>,
    lines: usize,
    /// Keeps the memory.
    _piece: Arc<Piece>,
}

// SAFETY: a stretch owns its lines, which are bytes.
unsafe impl Send for Stretch {}
// SAFETY: as above; shared stretches are only read.
unsafe impl Sync for Stretch {}

impl Deref for Stretch {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: these lines are initialised, and this stretch's own while its piece lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lines) }
    }
}

impl DerefMut for Stretch {
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_zeros_and_keep_to_themselves() {
        let mut arena = Arena::default();
        let large = PIECE / LINE;
        // The third does not fit beside the others, and the last is larger than a piece.
        let counts = [3, large - 4, 2, 1, large + 1];
        let mut stretches: Vec<Stretch> = counts
            .iter()
            .map(|lines| arena.take(*lines).expect("memory"))
            .collect();
        drop(arena);
        for (mark, (stretch, lines)) in (1u8..).zip(stretches.iter_mut().zip(counts)) {
            assert_eq!(stretch.len(), lines);
            assert!(
                [&stretch[0], &stretch[lines - 1]]
                    .iter()
                    .all(|line| line.0 == [0; LINE])
            );
            stretch.fill(Line([mark; LINE]));
        }
        for (mark, stretch) in (1u8..).zip(&stretches) {
            assert!(
                stretch.iter().all(|line| line.0 == [mark; LINE]),
                "stretch {mark}"
            );
        }
    }

    #[test]
    fn more_than_addresses_is_an_error() {
        let error = Arena::default()
            .take(usize::MAX / LINE / 2)
            .expect_err("too much");
        assert_eq!(error.bytes, (usize::MAX / LINE / 2 * LINE) as u64);
    }
}
