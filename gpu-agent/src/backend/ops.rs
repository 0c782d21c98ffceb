//! The operations of a forward pass, as a machine offers them.
//!
//! They are coarse enough to be fused: what stands between two of them is all that must be in memory. A batch begins
//! with [`Ops::stage`], which copies it into buffers of fixed size and place; nothing after it takes anything from the
//! host until [`Ops::finish`] reads the result, so that a recorded graph can hold the whole step.
//!
//! Shapes: an activation tensor is `[rows, width]`, row-major, one row a token; a matrix maps `columns` inputs to
//! `rows` outputs. Every operation treats each row on its own, so that results do not depend on the batch.

use super::{
    Logits,
    batch::Batch,
    error::{AllocationError, DeviceError, ForwardError},
    limits::Limits,
    sample::{SampleSpec, Sampled},
};
use crate::weights::{
    file::{MatrixRows, ModelError},
    quants::TensorType,
};

/// Why a matrix could not be brought to a machine.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// It cannot be read, or is not what it should be.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The machine has no memory for it.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
}

/// Extents of a paged key/value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Transformer layers.
    pub layers: usize,
    /// Blocks of [`Ops::block_tokens`] tokens.
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

/// Which elements of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Elements `2i` and `2i + 1`, as Llama weights are stored in GGUF.
    Adjacent,
    /// Elements `i` and `i + d/2`.
    Halves,
}

/// How positions rotate queries and keys (`RoPE`, Su et al. 2021).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Elements of a head that rotate.
    pub size: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Which elements rotate together.
    pub pairs: RopePairs,
}

/// Attention of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Tokens that a token sees, itself included; absent: all before it.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

/// What gates the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)` (Shazeer 2020)
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))` (Hendrycks and Gimpel 2016)
    Gelu,
}

/// `x / sqrt(mean(x²) + ε) · weight` (Zhang and Sennrich 2019)
pub struct Norm<'a, O: Ops + ?Sized> {
    /// `[width]`
    pub weight: &'a O::Vector,
    /// ε
    pub epsilon: f32,
}

/// One of the products that share their input: `out = matrix · x + bias`.
pub struct Product<'a, O: Ops + ?Sized> {
    /// `[width of out, width of x]`
    pub matrix: &'a O::Matrix,
    /// Added to every row.
    pub bias: Option<&'a O::Vector>,
    /// `[rows of x, rows of matrix]`
    pub out: &'a mut O::Tensor,
}

/// What is rotated and stored in one layer's cache.
pub struct RotateStore<'a, O: Ops + ?Sized> {
    /// Every head of every query and key is normalised first, with these weights of one head.
    pub norms: Option<[Norm<'a, O>; 2]>,
    /// How heads rotate.
    pub rotation: Rotation,
    /// `[context, size / 2, (cos, sin)]`
    pub table: &'a O::Vector,
    /// Layer of the cache, counted from the first of this device.
    pub layer: usize,
}

/// What is multiplied and added to the residual stream.
pub struct ProductAdd<'a, O: Ops + ?Sized> {
    /// `[width of the stream, width of x]`
    pub matrix: &'a O::Matrix,
    /// Applied to the product before it is added.
    pub norm: Option<Norm<'a, O>>,
}

/// The gated half of a feed-forward layer: `activation(gate · x) · (up · x)` of the normalised `x`.
pub struct Gated<'a, O: Ops + ?Sized> {
    /// Applied to the input.
    pub norm: Norm<'a, O>,
    /// `[hidden, width]`
    pub gate: &'a O::Matrix,
    /// `[hidden, width]`
    pub up: &'a O::Matrix,
    /// What gates.
    pub activation: Activation,
}

/// The output layer: `matrix · norm(x)` of the rows that are wanted.
pub struct Output<'a, O: Ops + ?Sized> {
    /// Applied to the input.
    pub norm: Norm<'a, O>,
    /// `[vocabulary, width]`
    pub matrix: &'a O::Matrix,
    /// Logits become `cap · tanh(logit / cap)`.
    pub soft_cap: Option<f32>,
}

/// A machine's operations.
///
/// Whatever is allocated is allocated before the first step, and can fail; whatever runs may find its device gone.
pub trait Ops: Send {
    /// A weight matrix in the machine's own layout.
    type Matrix: Send;
    /// A vector of floats that does not change.
    type Vector: Send;
    /// Activations.
    type Tensor: Send;
    /// Paged keys and values of a device's layers.
    type Cache: Send;
    /// The way of activations from one machine's layers to the next one's.
    type Hop: Send;

    /// What computes, for people.
    fn describe(&self) -> String;
    /// Asks the machine whether it still answers.
    ///
    /// # Errors
    /// The device failed.
    fn check(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Tokens of one block of a cache.
    fn block_tokens(&self) -> usize;
    /// Bytes of memory that are left for what is allocated next, as far as the machine can tell.
    fn available(&self) -> u64;
    /// Bytes that a matrix takes.
    fn matrix_bytes(&self, kind: TensorType, rows: usize, columns: usize) -> u64;
    /// Bytes that a tensor takes.
    fn tensor_bytes(&self, rows: usize, width: usize) -> u64;
    /// Bytes that a cache takes.
    fn cache_bytes(&self, shape: CacheShape) -> u64;
    /// Bytes that [`Ops::reserve`] takes; `limits.blocks` is not asked for.
    fn reserve_bytes(&self, limits: &Limits, width: usize) -> u64;
    /// Bytes that [`Ops::hop`] takes on each of the two machines.
    fn hop_bytes(&self, rows: usize, width: usize) -> u64;
    /// Seconds that a product with so many rows takes, for a block of 32 weights of one of its rows: by measurement,
    /// and good for comparing numbers of rows. `None` where machines that are used together do not work at the same
    /// time.
    fn product_seconds(&self, rows: usize) -> Option<f64> {
        let _ = rows;
        None
    }

    /// Brings a matrix into the layout of each of these machines, at least one. It is read once.
    ///
    /// # Errors
    /// The matrix cannot be read, or a machine has no memory for it.
    fn matrices(
        machines: &mut [&mut Self],
        source: &MatrixRows<'_>,
        care: Care,
    ) -> Result<Vec<Self::Matrix>, MatrixError>
    where
        Self: Sized;
    /// Brings a vector to the machine.
    ///
    /// # Errors
    /// The machine has no memory for it.
    fn vector(&mut self, values: Vec<f32>) -> Result<Self::Vector, AllocationError>;
    /// Room for activations of up to `rows` rows.
    ///
    /// # Errors
    /// The machine has no memory for it.
    fn tensor(&mut self, rows: usize, width: usize) -> Result<Self::Tensor, AllocationError>;
    /// An empty cache.
    ///
    /// # Errors
    /// The machine has no memory for it.
    fn cache(&mut self, shape: CacheShape) -> Result<Self::Cache, AllocationError>;
    /// Buffers for batches within these limits and activations of at most `width`; called once.
    ///
    /// # Errors
    /// The machine has no memory for it.
    fn reserve(&mut self, limits: &Limits, width: usize) -> Result<(), AllocationError>;

    /// A way for up to `rows` rows of activations at a time from one machine to another.
    ///
    /// # Errors
    /// A machine has no memory for it.
    fn hop(from: &mut Self, to: &mut Self, rows: usize, width: usize) -> Result<Self::Hop, AllocationError>
    where
        Self: Sized;

    /// Begins a batch: copies it, after it was checked, into the staged buffers. `specs` are those of the batch's
    /// outputs, or none where their logits are read. A step has one batch, or microbatches one after the other where
    /// [`Ops::product_seconds`] says anything; nobody waits for what was begun before.
    ///
    /// # Errors
    /// The device failed.
    fn stage(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<(), DeviceError>;
    /// Begins the part of a step that takes nothing from the host; what another device computed was received. False
    /// where the machine has replayed a recording of that part instead: then nothing of it is to be computed, and
    /// [`Ops::end`] is not called. `repeats` is true where steps of this kind may be recorded: the part is the same for
    /// every batch of the same extents.
    ///
    /// # Errors
    /// The device failed.
    fn begin(&mut self, repeats: bool) -> Result<bool, DeviceError> {
        let _ = repeats;
        Ok(true)
    }
    /// Ends that part.
    ///
    /// # Errors
    /// The device failed.
    fn end(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    /// `out[i] = table[token of row i] · scale`
    ///
    /// # Errors
    /// The device failed.
    fn embed(&mut self, table: &Self::Matrix, scale: f32, out: &mut Self::Tensor) -> Result<(), DeviceError>;
    /// Takes over what another device computed for the batch, at a boundary between two ranges of layers. The other
    /// device may go on with the next batch at once.
    ///
    /// # Errors
    /// A device failed.
    fn receive(
        &mut self,
        from: &Self,
        x: &Self::Tensor,
        hop: &mut Self::Hop,
        out: &mut Self::Tensor,
    ) -> Result<(), DeviceError>;
    /// Products that share the normalised input.
    ///
    /// # Errors
    /// The device failed.
    fn norm_products<const N: usize>(
        &mut self,
        x: &Self::Tensor,
        norm: Norm<'_, Self>,
        products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError>;
    /// Rotates queries and keys, and stores keys and values at the batch's slots.
    ///
    /// # Errors
    /// The device failed.
    fn rotate_store(
        &mut self,
        what: RotateStore<'_, Self>,
        queries: &mut Self::Tensor,
        keys: &mut Self::Tensor,
        values: &Self::Tensor,
        cache: &mut Self::Cache,
    ) -> Result<(), DeviceError>;
    /// Causal grouped-query attention of the batch's tokens over their sequences in a layer of the cache.
    ///
    /// # Errors
    /// The device failed.
    fn attend(
        &mut self,
        attention: Attention,
        cache: &Self::Cache,
        layer: usize,
        queries: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<(), DeviceError>;
    /// `sum[i] += norm(matrix · x[i])`
    ///
    /// # Errors
    /// The device failed.
    fn product_add(
        &mut self,
        x: &Self::Tensor,
        what: ProductAdd<'_, Self>,
        sum: &mut Self::Tensor,
    ) -> Result<(), DeviceError>;
    /// The gated half of a feed-forward layer.
    ///
    /// # Errors
    /// The device failed.
    fn gated(
        &mut self,
        x: &Self::Tensor,
        what: Gated<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<(), DeviceError>;
    /// Logits of the batch's outputs, `[outputs, vocabulary]`.
    ///
    /// # Errors
    /// The device failed.
    fn logits(
        &mut self,
        x: &Self::Tensor,
        what: Output<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<(), DeviceError>;
    /// Chooses the next token of every output by the staged specifications.
    ///
    /// # Errors
    /// The device failed.
    fn sample(&mut self, logits: &Self::Tensor) -> Result<(), DeviceError>;

    /// Ends a step: waits for it, and reads what was chosen, for all of its batches in order. Rows of errors count over
    /// all of them.
    ///
    /// # Errors
    /// The device failed, or some rows have no finite result.
    fn finish(&mut self) -> Result<&Sampled, ForwardError>;
    /// Ends a step of one batch whose logits are wanted: waits for it, and reads them.
    ///
    /// # Errors
    /// As [`Ops::finish`].
    fn read<'a>(&'a mut self, logits: &'a Self::Tensor) -> Result<Logits<'a>, ForwardError>;
}
