//! Tokens per second over the last seconds.

use std::{collections::VecDeque, time::Instant};

/// Seconds over which tokens per second are averaged: long enough to be steady at a few tokens a second.
const WINDOW_SECONDS: u64 = 5;

/// Tokens of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When tokens were sampled, and how many; at most one entry a tenth of a second.
    recent: VecDeque<(Instant, u64)>,
}

impl Rate {
    pub(super) fn record(&mut self, now: Instant, tokens: u64) {
        match self.recent.back_mut() {
            Some((at, count)) if now.duration_since(*at).as_millis() < 100 => *count += tokens,
            _ => self.recent.push_back((now, tokens)),
        }
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at).as_secs() >= WINDOW_SECONDS)
        {
            self.recent.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let fresh = |entry: &&(Instant, u64)| now.duration_since(entry.0).as_secs() < WINDOW_SECONDS;
        let tokens: u64 = self.recent.iter().filter(fresh).map(|(_, count)| count).sum();
        let oldest = self
            .recent
            .iter()
            .find(fresh)
            .map_or(0.0, |(at, _)| now.duration_since(*at).as_secs_f64());
        if tokens == 0 {
            0.0
        } else {
            tokens as f64 / oldest.max(0.1)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut rate = Rate::default();
        assert!(rate.per_second(start) == 0.0);
        rate.record(start, 1_000);
        for tenth in 0..20u32 {
            rate.record(at(8.0 + f64::from(tenth) * 0.1), 2);
        }
        let after_two_seconds = rate.per_second(at(10.0));
        assert!((after_two_seconds - 20.0).abs() < 0.01, "{after_two_seconds}");
        assert!(rate.per_second(at(20.0)) == 0.0);
        assert!(rate.recent.len() <= 21, "what is old is forgotten");
    }
}
