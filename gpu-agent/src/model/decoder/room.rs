//! Working memory and cache of one device, and what they take.

use super::{
    load::Segment,
    needs::{ShareNeed, cache_shape, distinct, hops, widest, working},
};
use crate::{
    backend::{AllocationError, Limits, ops::Ops},
    model::spec::DecoderSpec,
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

/// What a device needs beside its weights, and whether it is the first and the last one; `limits.blocks` is not asked
/// for.
pub(super) fn need<O: Ops>(
    segment: &Segment<O>,
    spec: &DecoderSpec,
    limits: &Limits,
    ends: [bool; 2],
) -> ShareNeed {
    let ops = &segment.ops;
    let logits = segment
        .head
        .as_ref()
        .map_or(0, |_| ops.tensor_bytes(limits.outputs, spec.vocabulary));
    let (ropes, _) = distinct(segment.layers.iter().map(|layer| layer.spec.rope));
    ShareNeed {
        weights: 0,
        working: logits + working(ops, spec, limits) + hops(ops.hop_bytes(limits.rows, spec.width), ends),
        token: ropes
            .iter()
            .map(|rope| (rope.size * size_of::<f32>()) as u64)
            .sum(),
        block: ops.cache_bytes(cache_shape(spec, segment.layers.len(), 1)),
    }
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
        let (ropes, table_of) = distinct(segment.layers.iter().map(|layer| layer.spec.rope));
        let shape = cache_shape(spec, segment.layers.len(), limits.blocks);
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
