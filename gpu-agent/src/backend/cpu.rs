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
mod masses;
mod matrix;
mod memory;
mod numbers;
mod packed;
mod pool;
mod precision;
mod rows;
mod staged;
mod tensor;

use std::num::NonZeroUsize;

use activations::Activations;
use cache::{BLOCK_TOKENS, Cache};
pub use isa::Isa;
use matrix::Matrix;
use numbers::{Bound, Faults};
use packed::Arena;
use pool::Pool;
pub use precision::Precision;
use rows::each_row;
use staged::Staged;
pub use tensor::Tensor;

use super::{
    Logits,
    batch::Batch,
    error::{AllocationError, DeviceError, ForwardError},
    limits::Limits,
    ops::{
        Activation, Attention, CacheShape, Care, Gated, MatrixError, Norm, Ops, Output, Product, ProductAdd,
        RotateStore, Rotation,
    },
    sample::{SampleSpec, Sampled},
};
use crate::weights::{
    file::{MatrixRows, RawMatrix},
    quants::TensorType,
};

/// The operations on this processor.
pub struct CpuOps {
    precision: Precision,
    isa: Isa,
    pool: Pool,
    /// Quantised input of the product at hand, kept for its memory.
    activations: Activations,
    /// Memory of packed weights.
    arena: Arena,
    attention: attention::Scratch,
    exact: matrix::Scratch,
    staged: Staged,
    faults: Faults,
    /// Normalised input of a product.
    normed: Tensor,
    /// What an operation computes on its way.
    between: Tensor,
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
            arena: Arena::default(),
            attention: attention::Scratch::new(threads),
            exact: matrix::Scratch::new(threads),
            staged: Staged::new(BLOCK_TOKENS, threads),
            faults: Faults::default(),
            normed: Tensor::default(),
            between: Tensor::default(),
        })
    }

    /// Bytes of one element of keys and values.
    fn cache_element_bytes(&self) -> usize {
        match self.precision {
            Precision::Exact => size_of::<f32>(),
            Precision::Fast => size_of::<u16>(),
        }
    }

    fn multiply(&mut self, x: &Tensor, products: &mut [matrix::Output<'_>]) {
        if let Some(care) = products
            .iter()
            .filter_map(|product| product.matrix.quantised_care())
            .max()
        {
            self.activations
                .quantise(&self.pool, self.isa, x.values(), x.width, care);
        }
        matrix::multiply(&self.pool, self.isa, &self.exact, x, &self.activations, products);
    }

    /// Normalises every row of `x`, which are those of the batch, into `out`.
    fn normalise(&mut self, x: &Tensor, norm: &Norm<'_, Self>, out: &mut Tensor) {
        let width = x.width;
        self.faults
            .inspect(&self.pool, self.isa, x.values(), width, Bound::Squares);
        self.scale_rows(x, norm, out);
    }

    fn scale_rows(&self, x: &Tensor, norm: &Norm<'_, Self>, out: &mut Tensor) {
        let width = x.width;
        each_row(&self.pool, out.reshape(x.rows, width), width, |row, out| {
            elementwise::rms_norm(self.isa, x.row(row), norm.weight, norm.epsilon, out);
        });
    }

    /// Normalises every head of every row in place.
    fn normalise_heads(&mut self, norm: &Norm<'_, Self>, x: &mut Tensor) {
        let head_size = norm.weight.len();
        let head = self.between.reshape(1, head_size);
        for values in x.resize(x.rows).chunks_exact_mut(head_size) {
            head.copy_from_slice(values);
            elementwise::rms_norm(self.isa, head, norm.weight, norm.epsilon, values);
        }
    }

    fn rotate(&self, x: &mut Tensor, rotation: Rotation, table: &[f32]) {
        let (rows, width) = (x.rows, x.width);
        let positions = &self.staged.batch.positions;
        each_row(&self.pool, x.resize(rows), width, |row, values| {
            let angles = &table[positions[row] as usize * rotation.size..][..rotation.size];
            elementwise::rotate(self.isa, values, rotation, angles);
        });
    }
}

/// A tensor as the place of a product.
fn output<'a>(
    matrix: &'a Matrix,
    bias: Option<&'a Vec<f32>>,
    rows: usize,
    out: &'a mut Tensor,
) -> matrix::Output<'a> {
    matrix::Output {
        matrix,
        bias: bias.map(Vec::as_slice),
        add: false,
        out: out.resize(rows),
    }
}

impl Ops for CpuOps {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Tensor = Tensor;
    type Cache = Cache;
    type Hop = ();

    fn describe(&self) -> String {
        format!("{:?}, {} threads", self.isa, self.pool.threads())
    }

    fn block_tokens(&self) -> usize {
        BLOCK_TOKENS
    }

    fn available(&self) -> u64 {
        memory::available()
    }

    fn matrix_bytes(&self, kind: TensorType, rows: usize, columns: usize) -> u64 {
        (rows * kind.row_bytes(columns)) as u64
    }

    fn tensor_bytes(&self, rows: usize, width: usize) -> u64 {
        (rows * width * size_of::<f32>()) as u64
    }

    fn cache_bytes(&self, shape: CacheShape) -> u64 {
        2 * (Cache::elements(shape) * self.cache_element_bytes()) as u64
    }

    fn reserve_bytes(&self, limits: &Limits, width: usize) -> u64 {
        2 * self.tensor_bytes(limits.rows, width)
    }

    fn matrices(
        machines: &mut [&mut Self],
        source: &MatrixRows<'_>,
        care: Care,
    ) -> Result<Vec<Matrix>, MatrixError> {
        let bring = |machine: &mut Self, raw: RawMatrix| -> Result<Matrix, AllocationError> {
            memory::claim("a weight matrix", raw.bytes.len() as u64)?;
            Matrix::new(raw, machine.precision, care, &mut machine.arena)
        };
        let raw = source.read_all()?;
        let Some((last, others)) = machines.split_last_mut() else {
            return Ok(Vec::new());
        };
        let mut matrices = Vec::with_capacity(others.len() + 1);
        for machine in others.iter_mut() {
            matrices.push(bring(machine, raw.clone())?);
        }
        matrices.push(bring(last, raw)?);
        Ok(matrices)
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vec<f32>, AllocationError> {
        Ok(values)
    }

    fn tensor(&mut self, rows: usize, width: usize) -> Result<Tensor, AllocationError> {
        memory::claim("activations", self.tensor_bytes(rows, width))?;
        Ok(Tensor::new(rows, width))
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, AllocationError> {
        memory::claim("keys and values", self.cache_bytes(shape))?;
        Ok(Cache::new(shape, self.precision))
    }

    fn reserve(&mut self, limits: &Limits, width: usize) -> Result<(), AllocationError> {
        self.normed = self.tensor(limits.rows, width)?;
        self.between = self.tensor(limits.rows, width)?;
        Ok(())
    }

    fn stage(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<(), DeviceError> {
        self.faults.clear(batch.rows());
        self.staged.stage(batch, specs);
        Ok(())
    }

    fn embed(&mut self, table: &Matrix, scale: f32, out: &mut Tensor) -> Result<(), DeviceError> {
        let (width, tokens) = (out.width, &self.staged.batch.tokens);
        for (token, row) in tokens
            .iter()
            .zip(out.resize(tokens.len()).chunks_exact_mut(width))
        {
            table.decode_row(*token as usize, row);
            for value in row {
                *value *= scale;
            }
        }
        Ok(())
    }

    fn hop_bytes(&self, _rows: usize, _width: usize) -> u64 {
        0
    }

    fn hop(_from: &mut Self, _to: &mut Self, _rows: usize, _width: usize) -> Result<(), AllocationError> {
        Ok(())
    }

    fn receive(
        &mut self,
        _from: &Self,
        x: &Tensor,
        _hop: &mut (),
        out: &mut Tensor,
    ) -> Result<(), DeviceError> {
        out.resize(x.rows).copy_from_slice(x.values());
        Ok(())
    }

    fn norm_products<const N: usize>(
        &mut self,
        x: &Tensor,
        norm: Norm<'_, Self>,
        products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError> {
        let mut normed = std::mem::take(&mut self.normed);
        self.normalise(x, &norm, &mut normed);
        let mut outputs = products.map(|Product { matrix, bias, out }| output(matrix, bias, x.rows, out));
        self.multiply(&normed, &mut outputs);
        self.normed = normed;
        Ok(())
    }

    fn rotate_store(
        &mut self,
        what: RotateStore<'_, Self>,
        queries: &mut Tensor,
        keys: &mut Tensor,
        values: &Tensor,
        cache: &mut Cache,
    ) -> Result<(), DeviceError> {
        if let Some([query_norm, key_norm]) = &what.norms {
            self.normalise_heads(query_norm, queries);
            self.normalise_heads(key_norm, keys);
        }
        self.rotate(queries, what.rotation, what.table);
        self.rotate(keys, what.rotation, what.table);
        let bound = match self.precision {
            Precision::Exact => Bound::Finite,
            Precision::Fast => Bound::Half,
        };
        self.faults
            .inspect(&self.pool, self.isa, keys.values(), keys.width, bound);
        self.faults
            .inspect(&self.pool, self.isa, values.values(), values.width, bound);
        cache.store(what.layer, keys, values, &self.staged.batch);
        Ok(())
    }

    fn attend(
        &mut self,
        attention: Attention,
        cache: &Cache,
        layer: usize,
        queries: &Tensor,
        out: &mut Tensor,
    ) -> Result<(), DeviceError> {
        attention::attend(
            &self.pool,
            self.isa,
            &self.attention,
            attention,
            cache,
            layer,
            queries,
            &self.staged.batch,
            out,
        );
        Ok(())
    }

    fn product_add(
        &mut self,
        x: &Tensor,
        what: ProductAdd<'_, Self>,
        sum: &mut Tensor,
    ) -> Result<(), DeviceError> {
        self.faults
            .inspect(&self.pool, self.isa, x.values(), x.width, Bound::Finite);
        let Some(norm) = what.norm else {
            let mut product = output(what.matrix, None, x.rows, sum);
            product.add = true;
            self.multiply(x, &mut [product]);
            return Ok(());
        };
        let (mut between, mut normed) = (
            std::mem::take(&mut self.between),
            std::mem::take(&mut self.normed),
        );
        between.reshape(x.rows, sum.width);
        self.multiply(x, &mut [output(what.matrix, None, x.rows, &mut between)]);
        self.normalise(&between, &norm, &mut normed);
        let sums = sum.resize(x.rows).iter_mut();
        sums.zip(normed.values()).for_each(|(sum, value)| *sum += value);
        (self.between, self.normed) = (between, normed);
        Ok(())
    }

    fn gated(&mut self, x: &Tensor, what: Gated<'_, Self>, out: &mut Tensor) -> Result<(), DeviceError> {
        let (mut up, mut normed) = (
            std::mem::take(&mut self.between),
            std::mem::take(&mut self.normed),
        );
        self.normalise(x, &what.norm, &mut normed);
        up.reshape(x.rows, out.width);
        let products = &mut [
            output(what.gate, None, x.rows, out),
            output(what.up, None, x.rows, &mut up),
        ];
        self.multiply(&normed, products);
        let gate = out.resize(x.rows);
        each_row(&self.pool, gate, up.width, |row, gate| match what.activation {
            Activation::Silu => elementwise::swiglu(self.isa, gate, up.row(row)),
            Activation::Gelu => elementwise::geglu(self.isa, gate, up.row(row)),
        });
        (self.between, self.normed) = (up, normed);
        Ok(())
    }

    fn logits(&mut self, x: &Tensor, what: Output<'_, Self>, out: &mut Tensor) -> Result<(), DeviceError> {
        let (mut last, mut normed) = (
            std::mem::take(&mut self.between),
            std::mem::take(&mut self.normed),
        );
        let wanted = self.staged.batch.outputs.len();
        let rows = last.reshape(wanted, x.width).chunks_exact_mut(x.width);
        for (row, last) in self.staged.batch.outputs.iter().zip(rows) {
            last.copy_from_slice(x.row(*row as usize));
        }
        let outputs = &self.staged.batch.outputs;
        self.faults
            .inspect_some(self.isa, last.values(), x.width, outputs, Bound::Squares);
        self.scale_rows(&last, &what.norm, &mut normed);
        self.multiply(&normed, &mut [output(what.matrix, None, wanted, out)]);
        if let Some(cap) = what.soft_cap {
            elementwise::soft_cap(self.isa, cap, out.resize(wanted));
        }
        (self.between, self.normed) = (last, normed);
        Ok(())
    }

    fn sample(&mut self, logits: &Tensor) -> Result<(), DeviceError> {
        let Self {
            staged,
            faults,
            pool,
            isa,
            ..
        } = self;
        staged.sample(pool, *isa, logits.values(), logits.width, |row| faults.note(row));
        Ok(())
    }

    fn finish(&mut self) -> Result<&Sampled, ForwardError> {
        self.faults.check()?;
        Ok(&self.staged.sampled)
    }

    fn read<'a>(&'a mut self, logits: &'a Tensor) -> Result<Logits<'a>, ForwardError> {
        let outputs = &self.staged.batch.outputs;
        self.faults
            .inspect_some(self.isa, logits.values(), logits.width, outputs, Bound::Finite);
        self.faults.check()?;
        Ok(Logits::new(logits.values(), logits.width))
    }
}

#[cfg(test)]
mod tests;
