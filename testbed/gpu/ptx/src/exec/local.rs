//! Local memory: each lane's own bytes, and which of them were written.

use super::mask;
use super::stop::{Step, Stop};
use crate::FaultKind;

/// The most bytes of local memory of a thread, as cards have it.
const MOST: u64 = 512 << 10;

/// Local memory of a warp. Words of four bytes of all lanes lie together, as on a card.
#[derive(Debug, Default)]
pub struct Local {
    words: Vec<[u32; 32]>,
    /// For each byte the lanes that wrote it.
    written: Vec<u32>,
}

impl Local {
    /// Begins a kernel with so many bytes, none written.
    pub fn reset(&mut self, bytes: u32) {
        self.written.clear();
        self.grow(bytes);
    }

    /// Makes room for so many bytes.
    fn grow(&mut self, bytes: u32) {
        let words = bytes.div_ceil(4) as usize;
        if self.written.len() < words * 4 {
            self.written.resize(words * 4, 0);
        }
        if self.words.len() < words {
            self.words.resize(words, [0; 32]);
        }
    }

    /// Makes room for a frame, and forgets what these lanes wrote there.
    pub fn enter(&mut self, start: u32, bytes: u32, lanes: u32) {
        self.grow(start + bytes);
        self.written[start as usize..(start + bytes) as usize]
            .iter_mut()
            .for_each(|written| *written &= !lanes);
    }

    fn place(&self, address: u64, size: usize, lane: usize) -> Step<usize> {
        let lane_number = lane as u32;
        if !address.is_multiple_of(size as u64) {
            let message = format!("Misaligned access of {size} bytes at local address {address:#x}");
            return Err(Stop::new(FaultKind::Misaligned, lane_number, message));
        }
        let end = address.saturating_add(size as u64);
        if end > self.written.len() as u64 || end > MOST {
            let have = self.written.len();
            let message = format!(
                "Access of {size} bytes at local address {address:#x} is out of bounds: the thread has {have} bytes"
            );
            return Err(Stop::new(FaultKind::OutOfBounds, lane_number, message));
        }
        Ok(address as usize)
    }

    /// Reads 1, 2, 4 or 8 bytes of a lane.
    pub fn load(&self, address: u64, size: usize, lane: usize) -> Step<u64> {
        let at = self.place(address, size, lane)?;
        if self.written[at..at + size]
            .iter()
            .any(|written| written >> lane & 1 == 0)
        {
            let message = format!("Uninitialized read of {size} bytes at local address {address:#x}");
            return Err(Stop::new(FaultKind::Uninitialised, lane as u32, message));
        }
        let word = self.words[at / 4][lane];
        Ok(match size {
            8 => u64::from(word) | u64::from(self.words[at / 4 + 1][lane]) << 32,
            4 => u64::from(word),
            _ => u64::from(word >> (at % 4 * 8)) & ((1 << (size * 8)) - 1),
        })
    }

    /// Writes 1, 2, 4 or 8 bytes of a lane.
    pub fn store(&mut self, address: u64, size: usize, lane: usize, value: u64) -> Step {
        let at = self.place(address, size, lane)?;
        self.written[at..at + size]
            .iter_mut()
            .for_each(|written| *written |= 1 << lane);
        let word = &mut self.words[at / 4][lane];
        match size {
            8 => {
                *word = value as u32;
                self.words[at / 4 + 1][lane] = (value >> 32) as u32;
            }
            4 => *word = value as u32,
            _ => {
                let mask = ((1_u32 << (size * 8)) - 1) << (at % 4 * 8);
                *word = *word & !mask | (value as u32) << (at % 4 * 8) & mask;
            }
        }
        Ok(())
    }

    /// Copies bytes of these lanes from one place to another, with what is known of them: how parameters pass.
    pub fn pass(&mut self, from: u32, to: u32, size: u32, lanes: u32) {
        for byte in 0..size {
            let (from, to) = ((from + byte) as usize, (to + byte) as usize);
            for lane in mask::lanes(lanes) {
                let value = self.words[from / 4][lane] >> (from % 4 * 8) & 0xff;
                let word = &mut self.words[to / 4][lane];
                *word = *word & !(0xff << (to % 4 * 8)) | value << (to % 4 * 8);
            }
            self.written[to] = self.written[to] & !lanes | self.written[from] & lanes;
        }
    }
}
