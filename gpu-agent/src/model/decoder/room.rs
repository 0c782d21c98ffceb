//! Working memory and cache of one device, and what they take.

use super::load::{Layer, Segment};
use crate::{
    backend::{
        AllocationError, Limits,
        ops::{CacheShape, Ops},
    },
    model::spec::{DecoderSpec, Rope},
};

/// Activations, tables and cache of one device, allocated once.
pub(super) struct Room<O: Ops> {
    /// Residual stream, `[T, D]`
    pub(super) residual: O::Tensor,
    /// `[T, Q]`
    pub(super) query: O::Tensor,
    /// `[T, K]`
    pub(super) key: O::Tensor,
    /// `[T, K]`
    pub(super) value: O::Tensor,
    /// Weighted values of all heads, `[T, Q]`
    pub(super) attended: O::Tensor,
    /// `[T, F]`
    pub(super) gate: O::Tensor,
    /// `[outputs, V]`; empty but on the last device.
    pub(super) logits: O::Tensor,
    /// Rotation tables, one for each way that layers rotate.
    pub(super) tables: Vec<O::Vector>,
    /// Which table each layer uses.
    pub(super) table_of: Vec<usize>,
    pub(super) cache: O::Cache,
}

/// What one device needs.
pub(super) struct Need {
    /// Bytes that do not depend on the context.
    pub(super) fixed: u64,
    /// Bytes of tables for each token of the context.
    pub(super) token: u64,
    /// Bytes of one block of keys and values.
    pub(super) block: u64,
}

impl Need {
    /// Bytes for a context of one sequence, which fills `blocks` blocks.
    pub(super) fn bytes(&self, context: usize, blocks: usize) -> u64 {
        self.fixed
            .saturating_add(self.token.saturating_mul(context as u64))
            .saturating_add(self.block.saturating_mul(blocks as u64))
    }
}

/// What a device needs; `limits.blocks` is not asked for.
pub(super) fn need<O: Ops>(segment: &Segment<O>, spec: &DecoderSpec, limits: &Limits) -> Need {
    let ops = &segment.ops;
    let Limits { rows, outputs, .. } = *limits;
    let widths = [
        spec.width,
        spec.query_width(),
        spec.kv_width(),
        spec.kv_width(),
        spec.query_width(),
        spec.hidden,
    ];
    let activations: u64 = widths.iter().map(|width| ops.tensor_bytes(rows, *width)).sum();
    let logits = segment
        .head
        .as_ref()
        .map_or(0, |_| ops.tensor_bytes(outputs, spec.vocabulary));
    let (ropes, _) = ropes(segment);
    Need {
        fixed: activations + logits + ops.reserve_bytes(limits, widest(spec)),
        token: ropes
            .iter()
            .map(|rope| (rope.size * size_of::<f32>()) as u64)
            .sum(),
        block: ops.cache_bytes(cache_shape(segment, spec, 1)),
    }
}

/// The widest activations that stand between two operations.
fn widest(spec: &DecoderSpec) -> usize {
    spec.width.max(spec.hidden).max(spec.query_width())
}

fn cache_shape<O: Ops>(segment: &Segment<O>, spec: &DecoderSpec, blocks: usize) -> CacheShape {
    CacheShape {
        layers: segment.layers.len(),
        blocks,
        heads: spec.kv_heads,
        head_size: spec.head_size,
    }
}

/// The ways that a device's layers rotate, and which of them each layer has.
fn ropes<O: Ops>(segment: &Segment<O>) -> (Vec<Rope>, Vec<usize>) {
    let mut ropes: Vec<Rope> = Vec::new();
    let index_of = |layer: &Layer<O>| {
        let rope = layer.spec.rope;
        let known = ropes.iter().position(|known| *known == rope);
        known.unwrap_or_else(|| {
            ropes.push(rope);
            ropes.len() - 1
        })
    };
    let of = segment.layers.iter().map(index_of).collect();
    (ropes, of)
}

impl<O: Ops> Room<O> {
    /// Allocates it.
    pub(super) fn new(
        segment: &mut Segment<O>,
        spec: &DecoderSpec,
        limits: &Limits,
        rope_factors: Option<&[f32]>,
    ) -> Result<Self, AllocationError> {
        let Limits { rows, outputs, .. } = *limits;
        let (ropes, table_of) = ropes(segment);
        let shape = cache_shape(segment, spec, limits.blocks);
        let outputs = if segment.head.is_some() { outputs } else { 0 };
        let ops = &mut segment.ops;
        ops.reserve(limits, widest(spec))?;
        Ok(Self {
            residual: ops.tensor(rows, spec.width)?,
            query: ops.tensor(rows, spec.query_width())?,
            key: ops.tensor(rows, spec.kv_width())?,
            value: ops.tensor(rows, spec.kv_width())?,
            attended: ops.tensor(rows, spec.query_width())?,
            gate: ops.tensor(rows, spec.hidden)?,
            logits: ops.tensor(outputs, spec.vocabulary)?,
            tables: ropes
                .iter()
                .map(|rope| ops.vector(rope.table(limits.context, rope_factors)))
                .collect::<Result<_, _>>()?,
            table_of,
            cache: ops.cache(shape)?,
        })
    }
}
