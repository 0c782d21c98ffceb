//! Every kernel against its twin in plain Rust, bit for bit, on the card at hand and on the shapes of the model at
//! hand.
//!
//! ```text
//! random, check, plain ◀ scene, bench ◀ rows, products, attention, sampling ◀ selftest
//! ```
//!
//! The tests of the kernels prove them on a machine of PTX; this proves what the driver's compiler made of them, on
//! this card, before anybody is billed for what it computes.

mod attention;
mod bench;
mod check;
pub mod plain;
mod products;
pub mod random;
mod rows;
mod sampling;
pub mod scene;

use super::device::Device;
use super::rates::Units;
use crate::backend::error::DeviceError;
use crate::backend::ops::{Activation, Attention, Rotation};
use crate::weights::quants::TensorType;
use bench::Bench;
pub use check::{Check, WrongKernel};
pub use sampling::SAMPLINGS;

/// A matrix of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixShape {
    /// Encoding.
    pub kind: TensorType,
    /// Inputs.
    pub columns: usize,
    /// Outputs.
    pub rows: usize,
}

/// What is computed of a model: all that a check of its kernels needs.
#[derive(Debug, Clone)]
pub struct Shapes {
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// The matrices; of those that share type and inputs, one is checked.
    pub matrices: Vec<MatrixShape>,
    /// Encoding of the table of embeddings.
    pub table: TensorType,
    /// Ways in which layers attend.
    pub attentions: Vec<Attention>,
    /// Ways in which layers rotate, and whether they normalise heads before.
    pub rotations: Vec<(Rotation, bool)>,
    /// What gates.
    pub activation: Activation,
    /// What the logits' cap is, if they have one.
    pub soft_cap: Option<f32>,
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What this card will compute this model with: at the start of a pod.
    Quick,
    /// Every unit and every batch that the card can run.
    Full,
}

/// Checks the kernels on a card. A check that finds a difference does not end the others.
///
/// # Errors
/// The device failed; the error names the kernel.
pub fn run(
    device: &mut Device,
    units: &Units,
    shapes: &Shapes,
    depth: Depth,
) -> Result<Vec<Check>, DeviceError> {
    let mut bench = Bench::new(device);
    for (index, shape) in shapes.matrices.iter().enumerate() {
        let same = |other: &MatrixShape| (other.kind, other.columns) == (shape.kind, shape.columns);
        if !shapes.matrices[..index].iter().any(same) {
            products::plain(&mut bench, units, *shape, depth)?;
        }
    }
    let up = shapes.matrices.iter().find(|shape| shape.rows == shapes.hidden);
    if let Some(up) = up {
        products::gated(&mut bench, units, *up, shapes.activation)?;
    }
    rows::norms(&mut bench, shapes.width)?;
    rows::gate(&mut bench, shapes.hidden, shapes.activation)?;
    rows::embed(&mut bench, shapes.table, shapes.width)?;
    for (rotation, norms) in &shapes.rotations {
        let heads = shapes
            .attentions
            .first()
            .map_or((1, 1), |of| (of.heads, of.kv_heads));
        attention::rotate(&mut bench, *rotation, *norms, heads)?;
    }
    for attention in &shapes.attentions {
        attention::decode(&mut bench, *attention, depth)?;
        attention::prefill(&mut bench, *attention, depth)?;
    }
    sampling::sample(&mut bench, shapes.vocabulary)?;
    if let Some(cap) = shapes.soft_cap {
        sampling::soft_cap(&mut bench, cap)?;
    }
    Ok(bench.checks)
}
