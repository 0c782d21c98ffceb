//! The operations of a forward pass on a card.

mod attention;
mod card;
mod memory;
mod products;

use std::sync::{Arc, Mutex, PoisonError};

use memory::{BLOCK_TOKENS, Form, Scratch};
pub use memory::{Cache, Matrix, Tensor, Vector};

use super::device::{Buffer, Device};
use super::hop::Hop;
use super::launch::{Shape, Target, arguments, int};
use super::layout::Layout;
use super::modules;
use super::rates::Units;
use super::recording::Recordings;
use super::ring::Ring;
use super::staging::Staged;
use crate::backend::Logits;
use crate::backend::batch::Batch;
use crate::backend::error::{AllocationError, DeviceError, DeviceFault, ForwardError, NumberError};
use crate::backend::limits::Limits;
use crate::backend::ops::{
    Activation, Attention, CacheShape, Care, Gated, MatrixError, Norm, Ops, Output, Product, ProductAdd,
    RopePairs, RotateStore,
};
use crate::backend::sample::{SampleSpec, Sampled};
use crate::weights::{file::MatrixRows, quants::TensorType};

/// Bytes that a check writes: a word.
const BEAT_BYTES: usize = 4;
/// The smallest magnitude that makes an activation no finite number.
const FINITE: f32 = f32::INFINITY;

/// The operations on one card.
pub struct CudaOps {
    device: Device,
    units: Units,
    reserved: Option<Reserved>,
    sampled: Sampled,
    /// Logits that were asked for, on the host.
    logits: Vec<f32>,
    recordings: Recordings,
    /// What weights stream through, while they do.
    ring: Arc<Mutex<Option<Ring>>>,
}

/// Buffers that [`Ops::reserve`] makes.
struct Reserved {
    vocabulary: usize,
    /// What a check writes to.
    beat: Buffer,
    staged: Staged,
    scratch: Scratch,
}

impl CudaOps {
    fn reserved(&mut self) -> Result<&mut Reserved, DeviceError> {
        self.reserved.as_mut().ok_or_else(|| DeviceError {
            fault: DeviceFault::Failed,
            what: "a step before memory was reserved".to_owned(),
        })
    }

    /// Device, staged batch and scratch memory of a step.
    fn parts(&mut self) -> Result<(&mut Device, &Staged, &Scratch), DeviceError> {
        self.reserved()?;
        let Self {
            device,
            reserved: Some(reserved),
            ..
        } = self
        else {
            return Err(DeviceError {
                fault: DeviceFault::Failed,
                what: "a step before memory was reserved".to_owned(),
            });
        };
        Ok((device, &reserved.staged, &reserved.scratch))
    }

    /// Waits for the step, and reads which of its rows are no finite numbers and what was chosen.
    fn read_results(&mut self) -> Result<Vec<u32>, DeviceError> {
        self.reserved()?;
        let Self {
            device,
            reserved: Some(Reserved { staged, scratch, .. }),
            sampled,
            ..
        } = self
        else {
            return Ok(Vec::new());
        };
        let waited = staged
            .collect(device, &scratch.samples)
            .and_then(|()| device.synchronize());
        let mut bad = Vec::new();
        sampled.clear();
        if waited.is_ok() {
            bad = staged.results.faulty();
            for (sample, row) in staged.results.samples() {
                if sample.bad {
                    bad.push(row);
                }
                sampled.ids.push(sample.token);
                sampled.logprobs.push(sample.log_probability());
            }
        }
        staged.end();
        waited.map(|()| bad)
    }
}

/// What the squares of a row may reach without overflow, as on every machine.
#[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
fn square_limit(width: usize) -> f32 {
    (f32::MAX / width as f32).sqrt()
}

impl Ops for CudaOps {
    type Matrix = Matrix;
    type Vector = Vector;
    type Tensor = Tensor;
    type Cache = Cache;
    type Hop = Hop;

    fn describe(&self) -> String {
        let (major, minor) = self.device.capability();
        format!("{}, compute capability {major}.{minor}", self.device.name())
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        self.reserved()?;
        if let Some(Reserved { beat, .. }) = &mut self.reserved {
            self.device.upload(beat, 0, &[0; BEAT_BYTES])?;
        }
        self.device.synchronize()
    }

    fn block_tokens(&self) -> usize {
        BLOCK_TOKENS
    }

    fn available(&self) -> u64 {
        self.device.memory().0
    }

    fn matrix_bytes(&self, kind: TensorType, rows: usize, columns: usize) -> u64 {
        Layout::of(kind, rows, columns).bytes() as u64
    }

    fn tensor_bytes(&self, rows: usize, width: usize) -> u64 {
        (rows * width * size_of::<f32>()) as u64
    }

    fn cache_bytes(&self, shape: CacheShape) -> u64 {
        2 * Cache::plane_bytes(shape) as u64
    }

    fn reserve_bytes(&self, limits: &Limits, width: usize) -> u64 {
        (Scratch::bytes(limits, width) + 4 * Staged::words(limits) + BEAT_BYTES) as u64
    }

    fn matrices(
        machines: &mut [&mut Self],
        source: &MatrixRows<'_>,
        care: Care,
    ) -> Result<Vec<Matrix>, MatrixError> {
        let layout = Layout::of(source.kind, source.rows, source.columns);
        let allocated = machines
            .iter()
            .map(|machine| machine.device.allocate(layout.bytes(), "a weight matrix"));
        let buffers: Vec<Buffer> = allocated.collect::<Result<_, _>>()?;
        let devices = machines.iter().map(|machine| &machine.device);
        let targets: Vec<(&Device, &Buffer)> = devices.zip(&buffers).collect();
        if let Some(first) = machines.first() {
            let mut ring = first.ring.lock().unwrap_or_else(PoisonError::into_inner);
            memory::stream(&mut ring, source, layout, &targets)?;
        }
        let matrix = |weights| Matrix {
            layout,
            weights,
            fine: care == Care::Fine,
        };
        Ok(buffers.into_iter().map(matrix).collect())
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vector, AllocationError> {
        Vector::new(&self.device, &values)
    }

    fn tensor(&mut self, rows: usize, width: usize) -> Result<Tensor, AllocationError> {
        Tensor::new(&self.device, rows, width)
    }

    fn cache(&mut self, shape: CacheShape) -> Result<Cache, AllocationError> {
        Cache::new(&self.device, shape)
    }

    fn reserve(&mut self, limits: &Limits, width: usize) -> Result<(), AllocationError> {
        // Everything is loaded.
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.reserved = Some(Reserved {
            vocabulary: limits.vocabulary,
            beat: self.device.allocate(BEAT_BYTES, "a check")?,
            staged: Staged::new(&self.device, limits)?,
            scratch: Scratch::new(&self.device, limits, width)?,
        });
        Ok(())
    }

    fn stage(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<(), DeviceError> {
        self.reserved()?;
        if let Some(reserved) = &mut self.reserved {
            let Reserved {
                vocabulary,
                staged,
                scratch,
                ..
            } = reserved;
            staged.stage(&self.device, batch, specs, *vocabulary, &scratch.samples)?;
        }
        Ok(())
    }

    fn begin(&mut self, repeats: bool) -> Result<bool, DeviceError> {
        let (_, staged, scratch) = self.parts()?;
        let key = staged
            .key()
            .filter(|key| repeats && scratch.holds_partial(key.rows * key.chunks));
        self.recordings.begin(&self.device, key)
    }

    fn end(&mut self) -> Result<(), DeviceError> {
        self.recordings.end(&self.device)
    }

    fn embed(&mut self, table: &Matrix, scale: f32, out: &mut Tensor) -> Result<(), DeviceError> {
        let (device, staged, _) = self.parts()?;
        let rows = staged.batch().rows();
        let layout = table.layout;
        let arguments = arguments![
            table.weights.address(),
            int(layout.rows),
            int(layout.blocks),
            staged.tokens,
            int(out.width),
            scale,
            out.address()
        ];
        device.launch(
            modules::EMBED,
            modules::embed_kernel(layout.format),
            Shape::rows(rows),
            arguments,
        )?;
        out.hold(rows, Form::Floats)
    }

    fn hop_bytes(&self, rows: usize, width: usize) -> u64 {
        Hop::bytes(rows, width * size_of::<f32>()) as u64
    }

    fn hop(from: &mut Self, to: &mut Self, rows: usize, width: usize) -> Result<Hop, AllocationError> {
        Hop::new(&from.device, &to.device, rows, width * size_of::<f32>())
    }

    fn receive(
        &mut self,
        from: &Self,
        x: &Tensor,
        hop: &mut Hop,
        out: &mut Tensor,
    ) -> Result<(), DeviceError> {
        // What the other device says of its rows may be of an earlier batch, if it has replayed this one.
        let rows = self.parts()?.1.batch().rows();
        out.hold(rows, Form::Floats)?;
        hop.pass((&from.device, &x.values), (&self.device, &out.values), rows)
    }

    fn product_seconds(&self, rows: usize) -> Option<f64> {
        Some(self.units.read_seconds(rows))
    }

    fn norm_products<const N: usize>(
        &mut self,
        x: &Tensor,
        norm: Norm<'_, Self>,
        products: [Product<'_, Self>; N],
    ) -> Result<(), DeviceError> {
        self.normalise(x, Some(&norm), None)?;
        let mut targets = Vec::with_capacity(N);
        for Product { matrix, bias, out } in products {
            out.hold(x.rows, Form::Floats)?;
            let bias = bias.map_or(0, |bias| bias.values.address());
            targets.push((
                matrix,
                Target {
                    bias,
                    ..matrix.target(out.address())
                },
            ));
        }
        let activations = self.parts()?.2.normed.activations();
        self.products(activations, x.rows, &targets)
    }

    fn rotate_store(
        &mut self,
        what: RotateStore<'_, Self>,
        queries: &mut Tensor,
        keys: &mut Tensor,
        values: &Tensor,
        cache: &mut Cache,
    ) -> Result<(), DeviceError> {
        let (device, staged, _) = self.parts()?;
        let size = what.rotation.head_size;
        let (heads, kv_heads) = (queries.width / size, keys.width / size);
        let weights = what.norms.as_ref();
        let norm = |index: usize| weights.map_or(0, |norms| norms[index].weight.values.address());
        let (key_plane, value_plane) = cache.layer(what.layer);
        let arguments = arguments![
            queries.address(),
            keys.address(),
            values.address(),
            int(heads),
            int(kv_heads),
            int(size),
            norm(0),
            norm(1),
            weights.map_or(0.0, |norms| norms[0].epsilon),
            what.table.values.address(),
            int(what.rotation.size),
            i32::from(what.rotation.pairs == RopePairs::Halves),
            staged.positions,
            staged.slots,
            key_plane,
            value_plane,
            staged.faults
        ];
        let shape = Shape::rotate(queries.rows, heads + 2 * kv_heads, size);
        device.launch(modules::ATTENTION, "rotate_store", shape, arguments)
    }

    fn attend(
        &mut self,
        attention: Attention,
        cache: &Cache,
        layer: usize,
        queries: &Tensor,
        out: &mut Tensor,
    ) -> Result<(), DeviceError> {
        self.attend_all(attention, cache.layer(layer), queries, out)
    }

    fn product_add(
        &mut self,
        x: &Tensor,
        what: ProductAdd<'_, Self>,
        sum: &mut Tensor,
    ) -> Result<(), DeviceError> {
        let activations = match x.form {
            Form::Floats => {
                self.normalise(x, None, None)?;
                self.parts()?.2.normed.activations()
            }
            Form::Quantised => self.parts()?.2.between.activations(),
        };
        let Some(norm) = what.norm else {
            let target = Target {
                residual: sum.address(),
                ..what.matrix.target(sum.address())
            };
            return self.products(activations, x.rows, &[(what.matrix, target)]);
        };
        let between = self.parts()?.2.floats.address();
        self.products(activations, x.rows, &[(what.matrix, what.matrix.target(between))])?;
        let (device, staged, _) = self.parts()?;
        let arguments = arguments![
            between,
            norm.weight.values.address(),
            norm.epsilon,
            square_limit(sum.width),
            int(sum.width),
            sum.address(),
            staged.faults
        ];
        device.launch(modules::ROWS, "norm_add", Shape::rows(x.rows), arguments)
    }

    fn gated(&mut self, x: &Tensor, what: Gated<'_, Self>, out: &mut Tensor) -> Result<(), DeviceError> {
        self.normalise(x, Some(&what.norm), None)?;
        let activation = match what.activation {
            Activation::Silu => 0,
            Activation::Gelu => 1,
        };
        self.gated_product(what.gate, what.up, activation, x.rows, out)?;
        out.hold(x.rows, Form::Quantised)
    }

    fn logits(&mut self, x: &Tensor, what: Output<'_, Self>, out: &mut Tensor) -> Result<(), DeviceError> {
        let (_, staged, _) = self.parts()?;
        let (outputs, rows) = (staged.outputs, staged.batch().outputs.len());
        out.hold(rows, Form::Floats)?;
        if rows == 0 {
            return Ok(());
        }
        self.normalise(x, Some(&what.norm), Some((outputs, rows)))?;
        let activations = self.parts()?.2.normed.activations();
        let target = what.matrix.target(out.address());
        self.products(activations, rows, &[(what.matrix, target)])?;
        if let Some(cap) = what.soft_cap {
            let count = rows * out.width;
            let arguments = arguments![out.address(), cap, count as u64];
            self.device
                .launch(modules::SAMPLING, "soft_cap", Shape::values(count), arguments)?;
        }
        Ok(())
    }

    fn sample(&mut self, logits: &Tensor) -> Result<(), DeviceError> {
        let (device, staged, scratch) = self.parts()?;
        if logits.rows == 0 {
            return Ok(());
        }
        let arguments = arguments![
            logits.address(),
            scratch.penalised.address(),
            int(logits.width),
            staged.specs,
            staged.seen,
            staged.masks,
            scratch.samples.address()
        ];
        device.launch(modules::SAMPLING, "sample", Shape::sample(logits.rows), arguments)
    }

    fn finish(&mut self) -> Result<&Sampled, ForwardError> {
        finite(self.read_results()?)?;
        Ok(&self.sampled)
    }

    fn read<'a>(&'a mut self, logits: &'a Tensor) -> Result<Logits<'a>, ForwardError> {
        let outputs = self.parts()?.1.batch().outputs.clone();
        let mut bad = self.read_results()?;
        let mut bytes = vec![0; logits.rows * logits.width * size_of::<f32>()];
        self.device.download(&logits.values, 0, &mut bytes)?;
        self.logits.clear();
        let floats = bytes.as_chunks::<4>().0.iter();
        self.logits.extend(floats.map(|bytes| f32::from_le_bytes(*bytes)));
        for (row, values) in outputs.iter().zip(self.logits.chunks_exact(logits.width)) {
            if values.iter().any(|value| !value.is_finite()) {
                bad.push(*row);
            }
        }
        finite(bad)?;
        Ok(Logits::new(&self.logits, logits.width))
    }
}

/// An error that names these rows, if there are any.
fn finite(mut bad: Vec<u32>) -> Result<(), NumberError> {
    bad.sort_unstable();
    bad.dedup();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(NumberError { rows: bad })
    }
}
