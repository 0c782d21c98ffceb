//! What lies in the card's memory: weights, vectors, activations, keys and values, and scratch.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread::available_parallelism;

use crate::backend::cuda::device::{Buffer, Device};
use crate::backend::cuda::launch::{Activations, CHUNK, Target, int};
use crate::backend::cuda::layout::{LANES, Layout, Plane};
use crate::backend::cuda::ring::{PIECE_BYTES, Ring};
use crate::backend::cuda::sample::Sample;
use crate::backend::error::{AllocationError, DeviceError, DeviceFault};
use crate::backend::limits::Limits;
use crate::backend::ops::{CacheShape, MatrixError};
use crate::weights::file::{MatrixRows, ModelError};

/// Tokens of one block of the cache: what the kernels are written for.
pub(super) const BLOCK_TOKENS: usize = 16;
/// Bytes of a float.
const FLOAT: usize = size_of::<f32>();
/// The most that partial results of attention take. Batches that need more are computed by tiles, which need none.
const MOST_PARTIAL_BYTES: usize = 64 << 20;
/// Query heads of a key/value head for which tiles fit: more than any known model has.
const MOST_GROUP: usize = 64;

/// A weight matrix.
pub struct Matrix {
    pub(super) layout: Layout,
    pub(super) weights: Buffer,
    pub(super) fine: bool,
}

impl Matrix {
    /// As the target of a product without bias and residual.
    pub(super) fn target(&self, out: u64) -> Target {
        Target {
            weights: self.weights.address(),
            out,
            columns: int(self.layout.rows),
            fine: self.fine.into(),
            ..Target::default()
        }
    }
}

/// Streams a matrix through the ring, which is made when it is first needed, and anew where its pieces are too small
/// for a group of rows.
pub(super) fn stream(
    ring: &mut Option<Ring>,
    source: &MatrixRows<'_>,
    layout: Layout,
    targets: &[(&Device, &Buffer)],
) -> Result<(), MatrixError> {
    let Some((device, _)) = targets.first() else {
        return Ok(());
    };
    let refused = |error: DeviceError| AllocationError {
        what: error.what,
        bytes: layout.bytes() as u64,
        available: device.memory().0,
        fault: error.fault,
    };
    let least = layout.group_bytes().max(PIECE_BYTES);
    if ring.as_ref().is_none_or(|ring| ring.piece_bytes() < least) {
        *ring = None;
    }
    let ring = match ring {
        Some(ring) => ring,
        None => ring.insert(Ring::new(device, least).map_err(refused)?),
    };
    stream_matrix(ring, source, layout, targets).map_err(|error| match error {
        StreamError::Read(error) => MatrixError::Model(error),
        StreamError::Device(error) => refused(error).into(),
    })
}

/// Streams a matrix to a buffer on each card: some groups of rows at a time are read, packed once, and copied.
fn stream_matrix(
    ring: &mut Ring,
    source: &MatrixRows<'_>,
    layout: Layout,
    targets: &[(&Device, &Buffer)],
) -> Result<(), StreamError> {
    let mut raw = Vec::new();
    let most = (ring.piece_bytes() / layout.group_bytes().max(1)).max(1);
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    for first in (0..layout.groups()).step_by(most) {
        let groups = first..layout.groups().min(first + most);
        let count = groups.len();
        source.read(first * LANES..source.rows.min(groups.end * LANES), &mut raw)?;
        let piece = &mut ring.piece()?[..count * layout.group_bytes()];
        layout.pack_groups(source.kind, &raw, source.row_bytes(), threads, piece);
        let parts = layout.planes().map(|Plane { packed, offset }| {
            let from = packed.start * count;
            (from..from + packed.len() * count, offset + first * packed.len())
        });
        let parts: Vec<(Range<usize>, usize)> =
            parts.into_iter().filter(|(part, _)| !part.is_empty()).collect();
        ring.send(targets, &parts)?;
    }
    Ok(())
}

/// Why a matrix did not reach the cards.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Read(#[from] ModelError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// A vector of floats that does not change.
pub struct Vector {
    pub(super) values: Buffer,
}

impl Vector {
    pub(super) fn new(device: &Device, values: &[f32]) -> Result<Self, AllocationError> {
        let mut buffer = device.allocate(values.len() * FLOAT, "a vector of weights")?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        device
            .upload(&mut buffer, 0, &bytes)
            .map_err(|error| AllocationError {
                bytes: bytes.len() as u64,
                available: device.memory().0,
                fault: error.fault,
                what: error.what,
            })?;
        Ok(Self { values: buffer })
    }
}

/// Where a tensor's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In its own memory, as floats.
    Floats,
    /// Quantised, in the scratch memory between two products.
    Quantised,
}

/// Activations.
pub struct Tensor {
    pub(super) values: Buffer,
    pub(super) width: usize,
    pub(super) rows: usize,
    pub(super) form: Form,
}

impl Tensor {
    pub(super) fn new(device: &Device, rows: usize, width: usize) -> Result<Self, AllocationError> {
        Ok(Self {
            values: device.allocate(rows * width * FLOAT, "activations")?,
            width,
            rows: 0,
            form: Form::Floats,
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.values.address()
    }

    /// Notes what it holds.
    pub(super) fn hold(&mut self, rows: usize, form: Form) -> Result<(), DeviceError> {
        if rows * self.width * FLOAT > self.values.bytes() {
            return Err(DeviceError {
                fault: DeviceFault::Failed,
                what: format!("{rows} rows of activations that were not reserved"),
            });
        }
        (self.rows, self.form) = (rows, form);
        Ok(())
    }
}

/// Keys and values of a device's layers.
pub struct Cache {
    keys: Buffer,
    values: Buffer,
    layer_bytes: usize,
}

impl Cache {
    /// Bytes of all keys, or of all values.
    pub(super) fn plane_bytes(shape: CacheShape) -> usize {
        shape.layers * Self::layer_bytes(shape)
    }

    fn layer_bytes(shape: CacheShape) -> usize {
        shape.blocks * BLOCK_TOKENS * shape.heads * shape.head_size * 2
    }

    pub(super) fn new(device: &Device, shape: CacheShape) -> Result<Self, AllocationError> {
        Ok(Self {
            keys: device.allocate(Self::plane_bytes(shape), "keys")?,
            values: device.allocate(Self::plane_bytes(shape), "values")?,
            layer_bytes: Self::layer_bytes(shape),
        })
    }

    /// Where a layer's keys and values begin.
    pub(super) fn layer(&self, layer: usize) -> (u64, u64) {
        let offset = (layer * self.layer_bytes) as u64;
        (self.keys.address() + offset, self.values.address() + offset)
    }
}

/// Room for quantised rows.
pub(super) struct Quantised {
    buffer: Buffer,
    columns: usize,
    rows: usize,
}

impl Quantised {
    fn bytes(rows: usize, width: usize) -> usize {
        let columns = width.next_multiple_of(LANES);
        rows * (2 * columns + 3 * FLOAT * columns / LANES)
    }

    fn new(device: &Device, rows: usize, width: usize) -> Result<Self, AllocationError> {
        Ok(Self {
            buffer: device.allocate(Self::bytes(rows, width), "quantised activations")?,
            columns: width.next_multiple_of(LANES),
            rows,
        })
    }

    /// The rows, of any width up to the one that was reserved; always with residuals.
    pub(super) fn activations(&self) -> Activations {
        let bytes = (self.rows * self.columns) as u64;
        let floats = bytes / LANES as u64 * FLOAT as u64;
        let base = self.buffer.address();
        let scales = base + 2 * bytes;
        Activations {
            quants: base,
            residuals: base + bytes,
            scales,
            totals: scales + floats,
            fine_totals: scales + 2 * floats,
        }
    }
}

/// Memory for what stands between two kernels of one operation.
pub(super) struct Scratch {
    /// Input of products, normalised.
    pub(super) normed: Quantised,
    /// What one operation leaves for the next, quantised.
    pub(super) between: Quantised,
    /// A product that is normalised before it is added, or that gates.
    pub(super) floats: Buffer,
    /// Partial results of attention.
    pub(super) partial: Buffer,
    /// Bytes of one row's partial results of one chunk, at most.
    partial_row: usize,
    /// Tiles of query heads.
    pub(super) tiles: Buffer,
    /// Logits after penalties.
    pub(super) penalised: Buffer,
    /// What was sampled.
    pub(super) samples: Buffer,
}

impl Scratch {
    fn partial_bytes(limits: &Limits, width: usize) -> usize {
        let chunks = limits.context.div_ceil(CHUNK);
        (limits.rows * chunks * Self::partial_row(width)).min(MOST_PARTIAL_BYTES)
    }

    /// Two floats a head, of at least eight elements.
    fn partial_row(width: usize) -> usize {
        (width + width / 4) * FLOAT
    }

    /// Whether partial results of so many chunks of single rows fit, whatever the model's heads are.
    pub(super) fn holds_partial(&self, chunks: usize) -> bool {
        chunks * self.partial_row <= self.partial.bytes()
    }

    fn tile_bytes(limits: &Limits) -> usize {
        2 * size_of::<u32>() * limits.rows * (1 + MOST_GROUP / 16)
    }

    /// Bytes of all of it.
    pub(super) fn bytes(limits: &Limits, width: usize) -> usize {
        2 * Quantised::bytes(limits.rows, width)
            + limits.rows * width * FLOAT
            + Self::partial_bytes(limits, width)
            + Self::tile_bytes(limits)
            + limits.outputs * limits.vocabulary * FLOAT
            + limits.outputs * Sample::WORDS * 4
    }

    pub(super) fn new(device: &Device, limits: &Limits, width: usize) -> Result<Self, AllocationError> {
        let room = |bytes: usize, what: &str| device.allocate(bytes, what);
        Ok(Self {
            normed: Quantised::new(device, limits.rows, width)?,
            between: Quantised::new(device, limits.rows, width)?,
            floats: room(limits.rows * width * FLOAT, "activations between products")?,
            partial: room(Self::partial_bytes(limits, width), "partial sums of attention")?,
            partial_row: Self::partial_row(width),
            tiles: room(Self::tile_bytes(limits), "tiles of attention")?,
            penalised: room(
                limits.outputs * limits.vocabulary * FLOAT,
                "logits after penalties",
            )?,
            samples: room(limits.outputs * Sample::WORDS * 4, "chosen tokens")?,
        })
    }
}
