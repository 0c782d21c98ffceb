//! What computes: the seam between the engine and a machine.
//!
//! ```text
//! limits, error ◀ sample ◀ batch, sampling ◀ ops ◀ cpu
//! ```
//!
//! The engine hands over a [`Batch`]: new tokens of any number of sequences, prefill and decode mixed, each with the
//! table of cache blocks that hold its keys and values. A [`Backend`] answers with the next tokens: logits stay where
//! they were computed. Which machine computes, and how, is not visible from outside; the forward pass itself is written
//! once, over [`ops::Ops`].

pub mod arithmetic;
pub mod batch;
pub mod cpu;
pub mod cuda;
pub mod error;
pub mod limits;
pub mod ops;
pub mod sample;
pub mod sampling;

pub use batch::Batch;
pub use error::{
    AllocationError, BatchError, DeviceError, DeviceFault, ForwardError, NumberError, ReserveError,
};
pub use limits::{Budget, Limits};
pub use sample::{Penalties, SampleSpec, Sampled, Sampling, SeenToken, TokenMask};

/// Logits of a batch's outputs.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a> {
    /// `[outputs, vocabulary]`
    values: &'a [f32],
    vocabulary: usize,
}

impl<'a> Logits<'a> {
    /// Rows of `vocabulary` values each.
    pub fn new(values: &'a [f32], vocabulary: usize) -> Self {
        Self { values, vocabulary }
    }

    /// Logits of the `index`-th output.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.vocabulary..][..self.vocabulary]
    }
}

/// A loaded model on some machine, with a cache.
pub trait Backend: Send {
    /// What it was sized for.
    fn limits(&self) -> &Limits;

    /// What computes, for people.
    fn describe(&self) -> String;

    /// Asks the devices whether they still answer: an engine without work would not notice that one is lost.
    ///
    /// # Errors
    /// A device failed.
    fn check(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    /// Computes one batch: appends keys and values to the cache, and chooses the next token of every output.
    ///
    /// A row's result depends on its sequence alone, never on what else is in the batch. A batch that failed may be
    /// computed again: its keys and values are written over.
    ///
    /// # Errors
    /// The batch or a specification is contradictory, the device failed, or some rows have no finite result.
    fn step(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<&Sampled, ForwardError>;

    /// As [`Backend::step`] with the logits themselves: for evaluations.
    ///
    /// # Errors
    /// As [`Backend::step`].
    fn logits(&mut self, batch: &Batch) -> Result<Logits<'_>, ForwardError>;
}
