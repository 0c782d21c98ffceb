//! What a model takes on a kind of machine, part by part: read off its header, before anything is loaded.

use std::ops::Range;

use super::manifest::{self, Form, Wanted};
use crate::{
    backend::{
        Limits,
        ops::{CacheShape, Ops},
    },
    model::spec::{DecoderSpec, Rope},
    weights::{file::ModelFile, quants::TensorType},
};

/// Bytes of a model's parts on a kind of machine, for batches of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Weights of each layer.
    pub layers: Vec<u64>,
    /// The table of embeddings.
    pub embedding: u64,
    /// The output layer.
    pub head: u64,
    /// Whether the table of embeddings serves as output, so that the last device needs it too.
    pub tied: bool,
    /// Activations and staged batches of each device.
    pub working: u64,
    /// Logits, on the last device.
    pub logits: u64,
    /// One end of the way from a device to the next.
    pub hop: u64,
    /// Keys and values of a block of tokens in one layer.
    pub block: u64,
    /// Which table of rotations each layer has.
    pub tables: Vec<usize>,
    /// Each table, for a token of the context.
    pub table_token: Vec<u64>,
    /// Tokens of a block.
    pub block_tokens: usize,
}

/// What one device's share takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareNeed {
    /// Weights.
    pub weights: u64,
    /// Activations, staged batches and logits.
    pub working: u64,
    /// Tables of rotations, for a token of the context.
    pub token: u64,
    /// Keys and values of a block of tokens.
    pub block: u64,
}

impl ShareNeed {
    /// Bytes beside the weights for a context of one sequence and `blocks` blocks in all; saturating.
    pub fn room(&self, context: usize, blocks: usize) -> u64 {
        self.working
            .saturating_add(self.token.saturating_mul(context as u64))
            .saturating_add(self.block.saturating_mul(blocks as u64))
    }
}

impl Needs {
    /// What a file's model takes with such operations; `limits.blocks` is not asked for.
    pub fn of<O: Ops>(file: &ModelFile, spec: &DecoderSpec, ops: &O, limits: &Limits) -> Self {
        let bytes = |wanted: &Wanted| {
            let info = file.header().tensors.get(&wanted.name);
            info.map_or(0, |info| tensor_bytes(ops, info.kind, wanted.form))
        };
        let layers = (0..spec.layers.len())
            .map(|index| manifest::layer(spec, index).iter().map(bytes).sum())
            .collect();
        let (table_token, tables) = tables(spec);
        Self {
            layers,
            embedding: bytes(&manifest::embedding(spec)),
            head: manifest::head(spec).iter().map(bytes).sum(),
            tied: !file.header().tensors.contains_key(manifest::OUTPUT),
            working: working(ops, spec, limits),
            logits: ops.tensor_bytes(limits.outputs, spec.vocabulary),
            hop: ops.hop_bytes(limits.rows, spec.width),
            block: ops.cache_bytes(cache_shape(spec, 1, 1)),
            tables,
            table_token,
            block_tokens: limits.block_tokens,
        }
    }

    /// What a range of layers takes on one device, and what the first and the last device have beside them.
    pub fn share(&self, layers: Range<usize>, ends @ [is_first, is_last]: [bool; 2]) -> ShareNeed {
        let mut weights: u64 = self.layers[layers.clone()].iter().sum();
        if is_first || is_last && self.tied {
            weights += self.embedding;
        }
        if is_last {
            weights += self.head;
        }
        let mut tables = self.tables[layers.clone()].to_vec();
        tables.sort_unstable();
        tables.dedup();
        ShareNeed {
            weights,
            working: self.working + if is_last { self.logits } else { 0 } + hops(self.hop, ends),
            token: tables.iter().map(|table| self.table_token[*table]).sum(),
            block: self.block * layers.len() as u64,
        }
    }
}

fn tensor_bytes<O: Ops>(ops: &O, kind: TensorType, form: Form) -> u64 {
    match form {
        Form::Matrix { rows, columns, .. } => ops.matrix_bytes(kind, rows, columns),
        Form::Vector { length } => (length * size_of::<f32>()) as u64,
    }
}

/// Activations and staged batches; not the logits.
pub(super) fn working<O: Ops>(ops: &O, spec: &DecoderSpec, limits: &Limits) -> u64 {
    let widths = [
        spec.width,
        spec.query_width(),
        spec.kv_width(),
        spec.kv_width(),
        spec.query_width(),
        spec.hidden,
    ];
    let activations: u64 = widths
        .iter()
        .map(|width| ops.tensor_bytes(limits.rows, *width))
        .sum();
    activations + ops.reserve_bytes(limits, widest(spec))
}

/// Ends of ways to and from a device, which may be the first and the last one.
pub(super) fn hops(bytes: u64, ends: [bool; 2]) -> u64 {
    bytes * ends.iter().filter(|is_end| !**is_end).count() as u64
}

/// The widest activations that stand between two operations.
pub(super) fn widest(spec: &DecoderSpec) -> usize {
    spec.width.max(spec.hidden).max(spec.query_width())
}

pub(super) fn cache_shape(spec: &DecoderSpec, layers: usize, blocks: usize) -> CacheShape {
    CacheShape {
        layers,
        blocks,
        heads: spec.kv_heads,
        head_size: spec.head_size,
    }
}

/// Bytes of each table of rotations for a token, and which of them each layer has.
fn tables(spec: &DecoderSpec) -> (Vec<u64>, Vec<usize>) {
    let (ropes, of) = distinct(spec.layers.iter().map(|layer| layer.rope));
    let bytes = ropes.iter().map(|rope| (rope.size * size_of::<f32>()) as u64);
    (bytes.collect(), of)
}

/// The ways that layers rotate, and which of them each layer has.
pub(super) fn distinct(ropes: impl Iterator<Item = Rope>) -> (Vec<Rope>, Vec<usize>) {
    let mut known: Vec<Rope> = Vec::new();
    let mut of = Vec::new();
    for rope in ropes {
        let place = known.iter().position(|other| *other == rope);
        of.push(place.unwrap_or(known.len()));
        if place.is_none() {
            known.push(rope);
        }
    }
    (known, of)
}
