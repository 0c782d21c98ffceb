//! How far a download is, for whoever asks.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cocoon_api::agent::{FetchProgress, FetchStage};

/// Time over which the rate is taken: long enough that a pause of the network does not show as an end of it.
const WINDOW: Duration = Duration::from_secs(15);
/// Time between two samples.
const STEP: Duration = Duration::from_secs(1);

/// How far a download is.
#[derive(Debug)]
pub struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: FetchStage,
    bytes: u64,
    total: Option<u64>,
    /// When so many bytes had come, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(State {
            stage: FetchStage::Waiting,
            bytes: 0,
            total: None,
            samples: VecDeque::new(),
        }))
    }
}

impl Progress {
    /// It does something else, and has so many bytes.
    pub fn enter(&self, stage: FetchStage, bytes: u64) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.stage != stage || told.bytes != bytes {
            told.samples = VecDeque::from([(Instant::now(), bytes)]);
        }
        (told.stage, told.bytes) = (stage, bytes);
    }

    /// The server says how many bytes the whole file has.
    pub fn expect(&self, total: Option<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total = total;
    }

    /// So many bytes have come.
    pub fn add(&self, bytes: u64) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.bytes += bytes;
        let (now, bytes) = (Instant::now(), told.bytes);
        let is_due = |(at, _): &(Instant, u64)| now.duration_since(*at) >= STEP;
        if told.samples.back().is_none_or(is_due) {
            told.samples.push_back((now, bytes));
            while told
                .samples
                .front()
                .is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
            {
                told.samples.pop_front();
            }
        }
    }

    /// How far it is now.
    pub fn now(&self) -> FetchProgress {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = told.samples.front().map_or(0, |(since, bytes)| {
            let milliseconds = since.elapsed().as_millis().max(1);
            let rate = u128::from(told.bytes.saturating_sub(*bytes)) * 1000 / milliseconds;
            u64::try_from(rate).unwrap_or(u64::MAX)
        });
        FetchProgress {
            stage: told.stage,
            bytes: told.bytes,
            total: told.total,
            bytes_per_second: rate,
        }
    }
}
