//! The operations of a forward pass, as a machine offers them.
//!
//! Shapes: an activation tensor is `[rows, width]`, row-major, one row a token; a matrix maps `columns` inputs to
//! `rows` outputs. Every operation treats each row on its own, so that results do not depend on the batch.

use super::Batch;
use crate::{model::config::RopePairs, weights::file::RawMatrix};

/// Extents of a paged key/value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Transformer layers.
    pub layers: usize,
    /// Blocks of [`super::BLOCK_TOKENS`] tokens.
    pub blocks: usize,
    /// Key (and value) heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_size: usize,
}

/// How finely a product's input is kept by a machine that quantises activations.
///
/// Errors in keys and values are met again by every later token, and errors in the output layer are the error of the
/// result: these matrices are a small part of the work and a large part of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Care {
    /// As the machine does it best.
    Plain,
    /// With at least 14 bits.
    Fine,
}

/// How positions rotate queries and keys (`RoPE`, Su et al. 2021).
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Elements of a head that rotate.
    pub size: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Which elements rotate together.
    pub pairs: RopePairs,
}

/// One product of [`Ops::linear`]: `out = matrix · x + bias`.
pub struct Product<'a, O: Ops + ?Sized> {
    /// `[width of out, width of x]`
    pub matrix: &'a O::Matrix,
    /// Added to every row.
    pub bias: Option<&'a O::Vector>,
    /// `[rows of x, rows of matrix]`
    pub out: &'a mut O::Tensor,
}

/// A machine's operations.
pub trait Ops: Send {
    /// A weight matrix in the machine's own layout.
    type Matrix: Send;
    /// A vector of floats that does not change.
    type Vector: Send;
    /// Activations.
    type Tensor: Send;
    /// Paged keys and values of all layers.
    type Cache: Send;

    /// Brings a matrix into the machine's layout.
    fn matrix(&self, raw: RawMatrix, care: Care) -> Self::Matrix;
    /// Brings a vector to the machine.
    fn vector(&self, values: Vec<f32>) -> Self::Vector;
    /// Room for activations of up to `rows` rows.
    fn tensor(&self, rows: usize, width: usize) -> Self::Tensor;
    /// An empty cache.
    fn cache(&self, shape: CacheShape) -> Self::Cache;

    /// `out[i] = table[tokens[i]]`
    fn embed(&mut self, table: &Self::Matrix, tokens: &[u32], out: &mut Self::Tensor);
    /// `out[i] = x[i] / sqrt(mean(x[i]²) + ε) · weight` (Zhang and Sennrich 2019)
    fn rms_norm(&mut self, x: &Self::Tensor, weight: &Self::Vector, epsilon: f32, out: &mut Self::Tensor);
    /// Products that share their input.
    fn linear<const N: usize>(&mut self, x: &Self::Tensor, products: [Product<'_, Self>; N]);
    /// `sum[i] += matrix · x[i]`
    fn linear_add(&mut self, x: &Self::Tensor, matrix: &Self::Matrix, sum: &mut Self::Tensor);
    /// Rotates every head of every row; `table` is `[position, size / 2, (cos, sin)]`.
    fn rotate(&mut self, x: &mut Self::Tensor, rotation: Rotation, table: &Self::Vector, positions: &[u32]);
    /// Writes keys and values of the batch's tokens into their blocks of one layer.
    fn store(
        &mut self,
        cache: &mut Self::Cache,
        layer: usize,
        keys: &Self::Tensor,
        values: &Self::Tensor,
        batch: &Batch,
    );
    /// Causal grouped-query attention of the batch's tokens over their sequences in the cache.
    fn attend(
        &mut self,
        cache: &Self::Cache,
        layer: usize,
        queries: &Self::Tensor,
        batch: &Batch,
        out: &mut Self::Tensor,
    );
    /// `gate = gate · sigmoid(gate) · up`, elementwise (Shazeer 2020)
    fn swiglu(&mut self, gate: &mut Self::Tensor, up: &Self::Tensor);
    /// `out[i] = x[rows[i]]`
    fn select(&mut self, x: &Self::Tensor, rows: &[u32], out: &mut Self::Tensor);
    /// The values, `[rows, width]`.
    fn read<'a>(&self, x: &'a Self::Tensor) -> &'a [f32];
}
