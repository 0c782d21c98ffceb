//! The paged key/value cache: blocks of 16 tokens, in floats of full or half precision.
//!
//! Within a block, keys of one head are stored `[element, token]`, so that one query element meets 16 tokens at
//! once; values are stored `[token, element]`.

use half::{
    f16,
    slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _},
};

use super::{Precision, Tensor};
use crate::backend::{batch::Batch, ops::CacheShape};

/// Tokens of one block: as many as the widest register has floats.
pub(super) const BLOCK_TOKENS: usize = 16;

/// Floats that are rounded to half precision in one call.
const CONVERTED: usize = 64;

/// Keys and values of all layers.
#[derive(Debug)]
pub struct Cache {
    shape: CacheShape,
    keys: Store,
    values: Store,
}

/// `[layers, blocks, heads, 16 · head_size]`
#[derive(Debug)]
enum Store {
    Single(Vec<f32>),
    /// Bits of half-precision floats: zeros of integers cost no memory until they are written.
    Half(Vec<u16>),
}

impl Cache {
    /// Exact computation keeps full precision; fast computation halves the memory.
    pub(super) fn new(shape: CacheShape, precision: Precision) -> Self {
        let length = Self::elements(shape);
        let store = || match precision {
            Precision::Exact => Store::Single(vec![0.0; length]),
            Precision::Fast => Store::Half(vec![0; length]),
        };
        Self {
            shape,
            keys: store(),
            values: store(),
        }
    }

    /// Elements of all keys, which are as many as those of all values.
    pub(super) fn elements(shape: CacheShape) -> usize {
        shape.layers * shape.blocks * shape.heads * shape.head_size * BLOCK_TOKENS
    }

    pub(super) fn shape(&self) -> CacheShape {
        self.shape
    }

    /// Writes the batch's keys and values, `[rows, heads · head_size]` each, to their slots.
    pub(super) fn store(&mut self, layer: usize, keys: &Tensor, values: &Tensor, batch: &Batch) {
        let CacheShape { heads, head_size, .. } = self.shape;
        for (row, slot) in batch.slots.iter().enumerate() {
            let (block, place) = (*slot as usize / BLOCK_TOKENS, *slot as usize % BLOCK_TOKENS);
            for head in 0..heads {
                let at = self.offset(layer, block, head);
                let key = &keys.row(row)[head * head_size..][..head_size];
                self.keys.write(at + place, BLOCK_TOKENS, key);
                let value = &values.row(row)[head * head_size..][..head_size];
                self.values.write(at + place * head_size, 1, value);
            }
        }
    }

    /// Keys of one head in one block, `[head_size, 16]`; `room` holds them if they must be converted.
    pub(super) fn keys<'a>(
        &'a self,
        layer: usize,
        block: usize,
        head: usize,
        room: &'a mut [f32],
    ) -> &'a [f32] {
        self.keys.read(self.offset(layer, block, head), room)
    }

    /// Values of one head in one block, `[16, head_size]`; `room` holds them if they must be converted.
    pub(super) fn values<'a>(
        &'a self,
        layer: usize,
        block: usize,
        head: usize,
        room: &'a mut [f32],
    ) -> &'a [f32] {
        self.values.read(self.offset(layer, block, head), room)
    }

    fn offset(&self, layer: usize, block: usize, head: usize) -> usize {
        let CacheShape {
            blocks,
            heads,
            head_size,
            ..
        } = self.shape;
        ((layer * blocks + block) * heads + head) * head_size * BLOCK_TOKENS
    }
}

impl Store {
    fn write(&mut self, at: usize, stride: usize, values: &[f32]) {
        match self {
            Self::Single(store) => {
                store[at..]
                    .iter_mut()
                    .step_by(stride)
                    .zip(values)
                    .for_each(|(slot, value)| *slot = *value);
            }
            Self::Half(store) => {
                let mut slots = store[at..].iter_mut().step_by(stride);
                for values in values.chunks(CONVERTED) {
                    let mut halves = [f16::ZERO; CONVERTED];
                    let halves = &mut halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    for (half, slot) in halves.iter().zip(&mut slots) {
                        *slot = half.to_bits();
                    }
                }
            }
        }
    }

    fn read<'a>(&'a self, at: usize, room: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::Single(store) => &store[at..][..room.len()],
            Self::Half(store) => {
                store[at..][..room.len()]
                    .reinterpret_cast::<f16>()
                    .convert_to_f32_slice(room);
                room
            }
        }
    }
}
