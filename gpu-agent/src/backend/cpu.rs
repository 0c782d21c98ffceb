//! The CPU backend: computes on the quantised weights as they are, on any number of threads.
//!
//! [`Precision::Exact`] keeps activations in 32-bit floats and decodes weights on the fly; it is the twin that
//! faster paths are held to. [`Precision::Fast`] quantises activations to 8 bits and multiplies integers, on
//! weights that were repacked at load for the instruction set at hand.

mod activations;
mod attention;
mod cache;
mod elementwise;
mod isa;
mod matrix;
mod packed;
mod pool;

use std::num::NonZeroUsize;

use activations::Activations;
use cache::Cache;
pub use isa::Isa;
use matrix::Matrix;
use pool::Pool;

use super::{
    Batch,
    ops::{CacheShape, Care, Ops, Product, Rotation},
};
use crate::weights::file::RawMatrix;

/// How activations meet quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit float activations: follows the definition of the formats.
    Exact,
    /// 8-bit activations and integer products: as every fast engine does.
    Fast,
}

/// Activations in memory.
#[derive(Debug)]
pub struct Tensor {
    /// `[rows, width]`, with room for more rows.
    values: Vec<f32>,
    rows: usize,
    width: usize,
}

impl Tensor {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            values: vec![0.0; rows * width],
            rows,
            width,
        }
    }

    /// Sets the number of rows that hold values, and hands them out.
    fn resize(&mut self, rows: usize) -> &mut [f32] {
        self.rows = rows;
        &mut self.values[..rows * self.width]
    }

    fn values(&self) -> &[f32] {
        &self.values[..self.rows * self.width]
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..][..self.width]
    }
}

/// The operations on this processor.
pub struct CpuOps {
    precision: Precision,
    isa: Isa,
    pool: Pool,
    /// Quantised input of the product at hand, kept for its memory.
    activations: Activations,
    attention: attention::Scratch,
    exact: matrix::Scratch,
}

impl CpuOps {
    /// Starts `threads` threads, counting the caller's own.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn new(precision: Precision, threads: NonZeroUsize) -> std::io::Result<Self> {
        Self::with_isa(precision, threads, Isa::detect())
    }

    /// As [`CpuOps::new`] with an instruction set that is no more than the processor has.
    ///
    /// # Errors
    /// As [`CpuOps::new`].
    pub fn with_isa(precision: Precision, threads: NonZeroUsize, isa: Isa) -> std::io::Result<Self> {
        Ok(Self {
            precision,
            isa: isa.min(Isa::detect()),
            pool: Pool::start(threads)?,
            activations: Activations::default(),
            attention: attention::Scratch::new(threads),
            exact: matrix::Scratch::new(threads),
        })
    }

    /// What computes, for people: instruction set and threads.
    pub fn describe(&self) -> String {
        format!("{:?}, {} threads", self.isa, self.pool.threads())
    }

    fn multiply(&mut self, x: &Tensor, products: &mut [matrix::Output<'_>]) {
        if let Some(care) = products
            .iter()
            .filter_map(|product| product.matrix.quantised_care())
            .max()
        {
            self.activations.quantise(self.isa, x.values(), x.width, care);
        }
        matrix::multiply(&self.pool, self.isa, &self.exact, x, &self.activations, products);
    }
}

impl Ops for CpuOps {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Tensor = Tensor;
    type Cache = Cache;

    fn matrix(&self, raw: RawMatrix, care: Care) -> Matrix {
        Matrix::new(raw, self.precision, care)
    }

    fn vector(&self, values: Vec<f32>) -> Vec<f32> {
        values
    }

    fn tensor(&self, rows: usize, width: usize) -> Tensor {
        Tensor::new(rows, width)
    }

    fn cache(&self, shape: CacheShape) -> Cache {
        Cache::new(shape, self.precision)
    }

    fn embed(&mut self, table: &Matrix, tokens: &[u32], out: &mut Tensor) {
        let width = out.width;
        for (token, row) in tokens
            .iter()
            .zip(out.resize(tokens.len()).chunks_exact_mut(width))
        {
            table.decode_row(*token as usize, row);
        }
    }

    fn rms_norm(&mut self, x: &Tensor, weight: &Vec<f32>, epsilon: f32, out: &mut Tensor) {
        let width = x.width;
        for (row, out) in x
            .values()
            .chunks_exact(width)
            .zip(out.resize(x.rows).chunks_exact_mut(width))
        {
            elementwise::rms_norm(self.isa, row, weight, epsilon, out);
        }
    }

    fn linear<const N: usize>(&mut self, x: &Tensor, products: [Product<'_, Self>; N]) {
        let mut outputs = products.map(|Product { matrix, bias, out }| {
            let bias = bias.map(Vec::as_slice);
            matrix::Output {
                matrix,
                bias,
                add: false,
                out: out.resize(x.rows),
            }
        });
        self.multiply(x, &mut outputs);
    }

    fn linear_add(&mut self, x: &Tensor, matrix: &Matrix, sum: &mut Tensor) {
        let out = sum.resize(x.rows);
        self.multiply(
            x,
            &mut [matrix::Output {
                matrix,
                bias: None,
                add: true,
                out,
            }],
        );
    }

    fn rotate(&mut self, x: &mut Tensor, rotation: Rotation, table: &Vec<f32>, positions: &[u32]) {
        let width = x.width;
        for (row, position) in x.resize(positions.len()).chunks_exact_mut(width).zip(positions) {
            let angles = &table[*position as usize * rotation.size..][..rotation.size];
            elementwise::rotate(self.isa, row, rotation, angles);
        }
    }

    fn store(&mut self, cache: &mut Cache, layer: usize, keys: &Tensor, values: &Tensor, batch: &Batch) {
        cache.store(layer, keys, values, batch);
    }

    fn attend(&mut self, cache: &Cache, layer: usize, queries: &Tensor, batch: &Batch, out: &mut Tensor) {
        attention::attend(
            &self.pool,
            self.isa,
            &self.attention,
            cache,
            layer,
            queries,
            batch,
            out,
        );
    }

    fn swiglu(&mut self, gate: &mut Tensor, up: &Tensor) {
        let rows = up.rows;
        elementwise::swiglu(self.isa, gate.resize(rows), up.values());
    }

    fn select(&mut self, x: &Tensor, rows: &[u32], out: &mut Tensor) {
        let width = x.width;
        for (row, out) in rows.iter().zip(out.resize(rows.len()).chunks_exact_mut(width)) {
            out.copy_from_slice(x.row(*row as usize));
        }
    }

    fn read<'a>(&self, x: &'a Tensor) -> &'a [f32] {
        x.values()
    }
}

#[cfg(test)]
mod tests;
