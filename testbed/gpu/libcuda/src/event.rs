//! Events: a place in a stream's order that others can wait for.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Code, Result};
use crate::stream::capture::Capture;
use crate::stream::mark::Mark;

/// What was last recorded into an event.
#[derive(Clone, Debug, Default)]
pub enum Recorded {
    /// Nothing: such an event counts as complete.
    #[default]
    Nothing,
    /// A place in a stream.
    Marked(Arc<Mark>),
    /// Nodes of a graph that is being captured.
    Captured(Arc<Capture>, Vec<usize>),
}

/// An event.
#[derive(Debug)]
pub struct Event {
    /// The context that made it.
    pub context: u64,
    /// Whether its times can be asked for.
    pub timing: bool,
    recorded: Mutex<Recorded>,
}

impl Event {
    /// An event that nothing was recorded into.
    pub fn new(context: u64, timing: bool) -> Self {
        Self {
            context,
            timing,
            recorded: Mutex::default(),
        }
    }

    /// What was last recorded.
    pub fn recorded(&self) -> Recorded {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Records anew.
    pub fn record(&self, what: Recorded) {
        *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// The place in a stream that this event stands for, if any. An event of a capture has none: to ask spoils the
    /// capture.
    pub fn mark(&self) -> Result<Option<Arc<Mark>>> {
        match self.recorded() {
            Recorded::Nothing => Ok(None),
            Recorded::Marked(mark) => Ok(Some(mark)),
            Recorded::Captured(capture, _) => {
                capture.invalidate();
                Err(Code::CAPTURED_EVENT)
            }
        }
    }

    /// `CUDA_ERROR_NOT_READY` until the stream has come to what was recorded.
    pub fn query(&self) -> Result<()> {
        match self.mark()? {
            Some(mark) if mark.reached().is_none() => Err(Code::NOT_READY),
            _ => Ok(()),
        }
    }

    /// Waits until the stream has come to what was recorded.
    pub fn synchronize(&self) -> Result<()> {
        if let Some(mark) = self.mark()? {
            mark.wait();
        }
        Ok(())
    }

    /// Milliseconds from one event to another: what the card's work between them would take, or, where the card had
    /// none, what passed on the host.
    #[expect(clippy::cast_precision_loss, reason = "the driver gives seven digits")]
    pub fn elapsed(start: &Self, end: &Self) -> Result<f32> {
        if !start.timing || !end.timing {
            return Err(Code::INVALID_HANDLE);
        }
        let (Some(start), Some(end)) = (start.mark()?, end.mark()?) else {
            return Err(Code::INVALID_HANDLE);
        };
        let (Some(start), Some(end)) = (start.reached(), end.reached()) else {
            return Err(Code::NOT_READY);
        };
        if end.card != start.card {
            let picoseconds = end.card.cast_signed() - start.card.cast_signed();
            return Ok(picoseconds as f32 / 1e9);
        }
        let forward = end.host.saturating_duration_since(start.host).as_secs_f32();
        let backward = start.host.saturating_duration_since(end.host).as_secs_f32();
        Ok((forward - backward) * 1_000.0)
    }
}
