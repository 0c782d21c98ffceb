//! Steps that were recorded: all launches between the staging of a batch and the read of what was chosen, in one graph.
//!
//! The first step of a kind is computed launch by launch, which also brings its kernels to the card. The second is
//! recorded as it is launched, and every later one is a single call of the driver: a host of two cores keeps a dozen
//! cards busy.
#![expect(unsafe_code, reason = "a graph goes with its card from thread to thread")]

use std::collections::BTreeMap;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::device::Device;
use crate::backend::error::{DeviceError, DeviceFault};

/// Recordings that are kept: 32 numbers of sequences at each of eight lengths of the context. Each takes some 100 KB of
/// the host's memory for a model of 30 layers. When there are more, the one that was used longest ago is forgotten.
const MOST_RECORDINGS: usize = 256;

/// What launches of a step depend on: steps of one key differ in the staged numbers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Sequences, each with one new token.
    pub(super) rows: usize,
    /// Rows of the batch whose next token is wanted.
    pub(super) outputs: usize,
    /// Of these, those that are chosen here.
    pub(super) specs: usize,
    /// Chunks of the longest sequence, rounded up to a power of two.
    pub(super) chunks: usize,
    /// Words of masks of allowed tokens.
    pub(super) mask_words: usize,
}

/// A kind of steps, and the number of the last one.
struct Known {
    recording: Recording,
    used: u64,
}

enum Recording {
    /// Such a step was computed once, launch by launch.
    Computed,
    Recorded(Graph),
}

struct Graph(CudaGraph);

// SAFETY: a graph must not be used by two threads at a time; it belongs to one card's operations, which need exclusive
// access for every use.
unsafe impl Send for Graph {}

/// The recordings of one card.
#[derive(Default)]
pub(super) struct Recordings {
    known: BTreeMap<Key, Known>,
    /// Steps so far.
    steps: u64,
    /// The one that is being made.
    recording: Option<Key>,
}

impl Recordings {
    /// Begins a step: true where its work is to be launched, false where it was just replayed. Steps without a key are
    /// never recorded.
    pub(super) fn begin(&mut self, device: &Device, key: Option<Key>) -> Result<bool, DeviceError> {
        let Some(key) = key else { return Ok(true) };
        let failed = |error| device.failed("a recorded step", error);
        self.steps += 1;
        let known = self.known.get_mut(&key).map(|known| {
            known.used = self.steps;
            &known.recording
        });
        match known {
            Some(Recording::Recorded(Graph(graph))) => {
                graph.launch().map_err(failed)?;
                return Ok(false);
            }
            Some(Recording::Computed) => {
                // Other threads go on with other cards.
                let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
                device.stream().begin_capture(mode).map_err(failed)?;
                self.recording = Some(key);
            }
            None => {
                self.make_room();
                self.know(key, Recording::Computed);
            }
        }
        Ok(true)
    }

    /// Ends a step whose work was to be launched; work that was only recorded is launched here.
    pub(super) fn end(&mut self, device: &Device) -> Result<(), DeviceError> {
        let Some(key) = self.recording.take() else {
            return Ok(());
        };
        let failed = |error| device.failed("the recording of a step", error);
        let graph = device.stream().end_capture(CUgraphInstantiate_flags(0));
        let Some(graph) = graph.map_err(failed)? else {
            return Err(DeviceError {
                fault: DeviceFault::Failed,
                what: "the recording of a step came out empty".to_owned(),
            });
        };
        graph.launch().map_err(failed)?;
        self.know(key, Recording::Recorded(Graph(graph)));
        Ok(())
    }

    fn know(&mut self, key: Key, recording: Recording) {
        let used = self.steps;
        self.known.insert(key, Known { recording, used });
    }

    /// Forgets what was used longest ago, where there is no room for another.
    fn make_room(&mut self) {
        if self.known.len() >= MOST_RECORDINGS {
            let oldest = self
                .known
                .iter()
                .min_by_key(|(_, known)| known.used)
                .map(|(key, _)| *key);
            self.known.retain(|key, _| Some(*key) != oldest);
        }
    }

    /// Forgets all of them: what a step launches has changed.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}
