//! How long a card would have been at work: estimates of its launches, and what its copies take at their bandwidths.
//!
//! Events read this clock, so that a program which measures a card finds the card's ratios and not the host's. It
//! stands still while the card waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// A card's clock.
#[derive(Debug, Default)]
pub struct Clock {
    /// Picoseconds: a launch of one warp takes some thousands.
    picoseconds: AtomicU64,
}

impl Clock {
    /// Picoseconds of work until now.
    pub fn now(&self) -> u64 {
        self.picoseconds.load(Ordering::Acquire)
    }

    /// Adds work that takes so many microseconds.
    pub fn advance(&self, microseconds: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast keeps to the range of its type, and times are positive"
        )]
        let picoseconds = (microseconds * 1e6) as u64;
        self.picoseconds.fetch_add(picoseconds, Ordering::AcqRel);
    }

    /// Adds the move of so many bytes at a bandwidth in GB/s.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn moved(&self, bytes: u64, bandwidth: f64) {
        self.advance(bytes as f64 / (bandwidth * 1e3));
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_gigabyte_takes_a_second_at_one_gigabyte_a_second() {
        let clock = Clock::default();
        clock.moved(1_000_000_000, 1.0);
        clock.advance(0.5);
        assert_eq!(clock.now(), 1_000_000_500_000);
    }
}
