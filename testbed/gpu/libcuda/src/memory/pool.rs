//! Memory pools: counters and settings. What is freed goes back to the card at once, whatever the release threshold
//! says, so a pool never holds more than is used.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Code, Result};

/// A pool of one card.
#[derive(Debug)]
pub struct Pool {
    /// The card's ordinal.
    pub device: i32,
    /// Whether it is the card's default pool, which cannot be destroyed.
    pub default: bool,
    /// The most that it may hold; 0 for no limit but the card's.
    pub most: u64,
    used: AtomicU64,
    highest: AtomicU64,
    reuse: [AtomicU64; 3],
    threshold: AtomicU64,
}

impl Pool {
    /// An empty pool.
    pub fn new(device: i32, default: bool, most: u64) -> Self {
        Self {
            device,
            default,
            most,
            used: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            // The documentation's defaults: all kinds of reuse are allowed, nothing is kept.
            reuse: [AtomicU64::new(1), AtomicU64::new(1), AtomicU64::new(1)],
            threshold: AtomicU64::new(0),
        }
    }

    /// Whether the pool may hold that much more.
    pub fn allows(&self, bytes: u64) -> bool {
        self.most == 0 || self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.most
    }

    /// Counts an allocation.
    pub fn took(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.highest.fetch_max(used, Ordering::Relaxed);
    }

    /// Counts a free.
    pub fn gave(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The value of a `CUmemPool_attribute`.
    pub fn attribute(&self, attribute: i32) -> Result<u64> {
        match attribute {
            1..=3 => Ok(self.reuse[usize::try_from(attribute - 1).unwrap_or(0)].load(Ordering::Relaxed)),
            4 => Ok(self.threshold.load(Ordering::Relaxed)),
            5 | 7 => Ok(self.used.load(Ordering::Relaxed)),
            6 | 8 => Ok(self.highest.load(Ordering::Relaxed)),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// Sets an attribute; highest marks can only be set to 0, which begins them anew.
    pub fn set_attribute(&self, attribute: i32, value: u64) -> Result<()> {
        match (attribute, value) {
            (1..=3, 0 | 1) => {
                self.reuse[usize::try_from(attribute - 1).unwrap_or(0)].store(value, Ordering::Relaxed);
            }
            (4, _) => self.threshold.store(value, Ordering::Relaxed),
            (6 | 8, 0) => self
                .highest
                .store(self.used.load(Ordering::Relaxed), Ordering::Relaxed),
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }

    /// Bytes of an attribute's value: flags are `int`, amounts are `cuuint64_t`.
    pub fn is_flag(attribute: i32) -> bool {
        matches!(attribute, 1..=3)
    }
}
