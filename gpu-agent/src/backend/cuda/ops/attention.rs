//! Attention: sequences with one new token by chunks, side by side; others by tiles of query heads.

use crate::backend::cuda::launch::{Activations, Shape, attend_chunk_kernel};
use crate::backend::cuda::modules;
use crate::backend::error::{DeviceError, DeviceFault};
use crate::backend::ops::Attention;

use super::memory::Form;
use super::{CudaOps, Reserved, Tensor, arguments, int};

/// Planes of keys and values of one layer.
type Planes = (u64, u64);

impl CudaOps {
    pub(super) fn attend_all(
        &mut self,
        attention: Attention,
        planes: Planes,
        queries: &Tensor,
        out: &mut Tensor,
    ) -> Result<(), DeviceError> {
        let (_, staged, scratch) = self.parts()?;
        let items = staged.singles;
        let partial = items * attention.heads * staged.chunks * (attention.head_size + 2) * size_of::<f32>();
        let by_chunks = items > 0 && partial <= scratch.partial.bytes();
        let all = items == staged.batch().sequences();
        let quantised = by_chunks && all && attention.head_size.is_multiple_of(32);
        if by_chunks {
            self.attend_singles(&attention, planes, queries, out, quantised)?;
        }
        if !(by_chunks && all) {
            self.attend_tiles(&attention, planes, queries, out, !by_chunks)?;
        }
        let form = if quantised { Form::Quantised } else { Form::Floats };
        out.hold(queries.rows, form)
    }

    fn attend_singles(
        &mut self,
        attention: &Attention,
        (keys, values): Planes,
        queries: &Tensor,
        out: &Tensor,
        quantised: bool,
    ) -> Result<(), DeviceError> {
        let (device, staged, scratch) = self.parts()?;
        let Attention {
            heads,
            kv_heads,
            head_size,
            scale,
            ..
        } = *attention;
        let (items, chunks, group) = (staged.singles, staged.chunks, heads / kv_heads);
        let window = int(attention.window.unwrap_or(0));
        let sums = scratch.partial.address();
        let stats = sums + (items * heads * chunks * head_size * size_of::<f32>()) as u64;
        let arguments = arguments![
            queries.address(),
            int(heads),
            int(kv_heads),
            int(head_size),
            keys,
            values,
            staged.single_rows,
            staged.single_sequences,
            staged.positions,
            staged.blocks,
            staged.tables,
            window,
            scale,
            attention.soft_cap.unwrap_or(0.0),
            int(chunks),
            sums,
            stats
        ];
        let shape = Shape::attend_chunk(items, kv_heads, group, head_size, chunks);
        device.launch(modules::ATTENTION, attend_chunk_kernel(group), shape, arguments)?;
        let to = if quantised {
            scratch.between.activations()
        } else {
            Activations::default()
        };
        let arguments = arguments![
            int(heads),
            int(head_size),
            staged.single_rows,
            staged.positions,
            window,
            int(chunks),
            sums,
            stats,
            out.address(),
            to,
            staged.faults
        ];
        let shape = Shape::attend_combine(items, heads, head_size);
        device.launch(modules::ATTENTION, "attend_combine", shape, arguments)
    }

    /// `all`: those with one new token too.
    fn attend_tiles(
        &mut self,
        attention: &Attention,
        (keys, values): Planes,
        queries: &Tensor,
        out: &Tensor,
        all: bool,
    ) -> Result<(), DeviceError> {
        let group = attention.heads / attention.kv_heads;
        self.reserved()?;
        let Self {
            device,
            reserved: Some(reserved),
            ..
        } = self
        else {
            return Ok(());
        };
        let Reserved { staged, scratch, .. } = reserved;
        let Some(tiles) = staged.bring_tiles(device, &mut scratch.tiles, group, all)? else {
            return Err(DeviceError {
                fault: DeviceFault::Failed,
                what: format!("attention with {group} query heads to a key head"),
            });
        };
        let arguments = arguments![
            queries.address(),
            int(attention.heads),
            int(attention.kv_heads),
            int(attention.head_size),
            keys,
            values,
            scratch.tiles.address(),
            staged.starts,
            staged.positions,
            staged.blocks,
            staged.tables,
            int(attention.window.unwrap_or(0)),
            attention.scale,
            attention.soft_cap.unwrap_or(0.0),
            out.address()
        ];
        let shape = Shape::attend_rows(tiles, attention.kv_heads, attention.head_size);
        device.launch(modules::ATTENTION, "attend_rows", shape, arguments)
    }
}
