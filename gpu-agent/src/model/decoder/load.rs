//! From a file's tensors to weights on one device or several.

use std::{collections::BTreeSet, ops::Range};

use super::{
    manifest::{self, Wanted},
    tensors::{LoadError, Store, bring, refuse_unknown},
};
use crate::{
    backend::ops::Ops,
    model::spec::{DecoderSpec, LayerSpec},
    weights::file::{ModelError, ModelFile},
};

/// Weights of one layer.
pub(super) struct Layer<O: Ops> {
    pub(super) spec: LayerSpec,
    pub(super) attention_norm: O::Vector,
    pub(super) query: O::Matrix,
    pub(super) query_bias: Option<O::Vector>,
    pub(super) key: O::Matrix,
    pub(super) key_bias: Option<O::Vector>,
    pub(super) value: O::Matrix,
    pub(super) value_bias: Option<O::Vector>,
    /// Of queries and of keys.
    pub(super) query_key_norms: Option<[O::Vector; 2]>,
    pub(super) attention_output: O::Matrix,
    pub(super) attention_post_norm: Option<O::Vector>,
    pub(super) feed_forward_norm: O::Vector,
    pub(super) gate: O::Matrix,
    pub(super) up: O::Matrix,
    pub(super) down: O::Matrix,
    pub(super) feed_forward_post_norm: Option<O::Vector>,
}

/// The output layer.
pub(super) struct Head<O: Ops> {
    pub(super) norm: O::Vector,
    /// Absent where the embedding serves as output.
    pub(super) matrix: Option<O::Matrix>,
}

/// Weights of a range of layers, and the device that holds them.
pub(super) struct Segment<O: Ops> {
    pub(super) ops: O,
    pub(super) layers: Vec<Layer<O>>,
    /// On the first device, and on the last where it serves as output.
    pub(super) embedding: Option<O::Matrix>,
    /// On the last device.
    pub(super) head: Option<Head<O>>,
}

/// A model whose weights are on its devices.
pub struct Loaded<O: Ops> {
    pub(super) spec: DecoderSpec,
    /// At least one, in order of layers.
    pub(super) segments: Vec<Segment<O>>,
    /// Divisors of the rotation frequencies.
    pub(super) rope_factors: Option<Vec<f32>>,
}

impl<O: Ops> Loaded<O> {
    /// Loads every weight of the file onto one device.
    ///
    /// # Errors
    /// A tensor is missing, has another shape than the hyperparameters say, holds what is no finite number, or is not
    /// part of the architecture; or the device has too little memory.
    pub fn load(file: &ModelFile, spec: DecoderSpec, ops: O) -> Result<Self, LoadError> {
        let layers = spec.layers.len();
        Self::load_split(file, spec, vec![(ops, layers)])
    }

    /// As [`Loaded::load`], onto each of several devices. The file is read once.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    pub fn load_replicas(
        file: &ModelFile,
        spec: &DecoderSpec,
        devices: Vec<O>,
    ) -> Result<Vec<Self>, LoadError> {
        let whole = 0..spec.layers.len();
        let shares = devices.into_iter().map(|ops| (ops, whole.clone(), [true, true]));
        let rope_factors = rope_factors(file, spec)?;
        let segments = load_segments(file, spec, shares.collect())?;
        let loaded = segments.into_iter().map(|segment| Self {
            spec: spec.clone(),
            segments: vec![segment],
            rope_factors: rope_factors.clone(),
        });
        Ok(loaded.collect())
    }

    /// As [`Loaded::load`], onto several devices, each with a number of layers, in order; together they have all.
    ///
    /// # Errors
    /// As [`Loaded::load`].
    ///
    /// # Panics
    /// The numbers of layers do not add up, or there is no device.
    pub fn load_split(
        file: &ModelFile,
        spec: DecoderSpec,
        devices: Vec<(O, usize)>,
    ) -> Result<Self, LoadError> {
        let sum: usize = devices.iter().map(|(_, layers)| layers).sum();
        let count = devices.len();
        assert!(
            count > 0 && sum == spec.layers.len(),
            "{count} devices have {sum} of {} layers",
            spec.layers.len()
        );
        let mut first = 0;
        let shares = devices.into_iter().enumerate().map(|(index, (ops, layers))| {
            let range = first..first + layers;
            first += layers;
            (ops, range, [index == 0, index + 1 == count])
        });
        let rope_factors = rope_factors(file, &spec)?;
        let segments = load_segments(file, &spec, shares.collect())?;
        Ok(Self {
            spec,
            segments,
            rope_factors,
        })
    }

    /// What computes, for people.
    pub fn describe(&self) -> String {
        let machines: Vec<String> = self
            .segments
            .iter()
            .map(|segment| segment.ops.describe())
            .collect();
        machines.join("; ")
    }

    /// Tokens of one block of the cache.
    pub fn block_tokens(&self) -> usize {
        let blocks = self.segments.iter().map(|segment| segment.ops.block_tokens());
        blocks.max().unwrap_or(1)
    }

    /// Bytes that the device with the least has left for working memory and cache.
    pub fn available(&self) -> u64 {
        let left = self.segments.iter().map(|segment| segment.ops.available());
        left.min().unwrap_or(0)
    }
}

/// A device, the layers that it gets, and whether it is the first and the last one.
type Share<O> = (O, Range<usize>, [bool; 2]);

fn load_segments<O: Ops>(
    file: &ModelFile,
    spec: &DecoderSpec,
    shares: Vec<Share<O>>,
) -> Result<Vec<Segment<O>>, LoadError> {
    refuse_unknown_tensors(file, spec)?;
    let (mut machines, mut places) = (Vec::new(), Vec::new());
    for (ops, layers, ends) in shares {
        machines.push((ops, wanted(file, spec, layers.clone(), ends)));
        places.push((layers, ends));
    }
    let stores = bring(file, &mut machines)?;
    let parts = machines.into_iter().zip(stores).zip(places);
    parts
        .map(|(((ops, _), store), (layers, ends))| Ok(Segment::take(store, ops, spec, layers, ends)?))
        .collect()
}

/// Every tensor of a range of layers, and of what the first and the last device have beside them.
pub(super) fn wanted(
    file: &ModelFile,
    spec: &DecoderSpec,
    layers: Range<usize>,
    [is_first, is_last]: [bool; 2],
) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = layers.flat_map(|index| manifest::layer(spec, index)).collect();
    let tied = !file.header().tensors.contains_key(manifest::OUTPUT);
    if is_first || is_last && tied {
        wanted.push(manifest::embedding(spec));
    }
    if is_last {
        wanted.extend(manifest::head(spec));
    }
    wanted
}

fn refuse_unknown_tensors(file: &ModelFile, spec: &DecoderSpec) -> Result<(), ModelError> {
    let whole = wanted(file, spec, 0..spec.layers.len(), [true, true]);
    let mut known: BTreeSet<&str> = whole.iter().map(|wanted| wanted.name.as_str()).collect();
    known.insert(manifest::ROPE_FACTORS);
    refuse_unknown(file, |name| known.contains(name))
}

fn rope_factors(file: &ModelFile, spec: &DecoderSpec) -> Result<Option<Vec<f32>>, ModelError> {
    let pairs = spec.layers.iter().map(|layer| layer.rope.size / 2);
    file.vector(manifest::ROPE_FACTORS, pairs.max().unwrap_or(0))
}

impl<O: Ops> Segment<O> {
    fn take(
        mut store: Store<'_, O>,
        ops: O,
        spec: &DecoderSpec,
        layers: Range<usize>,
        [is_first, is_last]: [bool; 2],
    ) -> Result<Self, ModelError> {
        let matrix = store.optional_matrix(manifest::OUTPUT);
        let embeds = is_first || is_last && matrix.is_none();
        let embedding = embeds.then(|| store.matrix(manifest::EMBEDDING)).transpose()?;
        let head = if is_last {
            let norm = store.vector(manifest::OUTPUT_NORM)?;
            Some(Head { norm, matrix })
        } else {
            None
        };
        Ok(Self {
            layers: layers
                .map(|index| Layer::take(&mut store, spec, index))
                .collect::<Result<_, _>>()?,
            ops,
            embedding,
            head,
        })
    }
}

impl<O: Ops> Layer<O> {
    fn take(store: &mut Store<'_, O>, spec: &DecoderSpec, index: usize) -> Result<Self, ModelError> {
        let layer = spec.layers[index];
        let name = |part: &str| manifest::name_of(index, part);
        let post_norm = |store: &mut Store<'_, O>, part: &str| {
            layer.post_norms.then(|| store.vector(&name(part))).transpose()
        };
        Ok(Self {
            spec: layer,
            attention_norm: store.vector(&name("attn_norm.weight"))?,
            query: store.matrix(&name("attn_q.weight"))?,
            query_bias: store.optional_vector(&name("attn_q.bias")),
            key: store.matrix(&name("attn_k.weight"))?,
            key_bias: store.optional_vector(&name("attn_k.bias")),
            value: store.matrix(&name("attn_v.weight"))?,
            value_bias: store.optional_vector(&name("attn_v.bias")),
            query_key_norms: if layer.query_key_norms {
                Some([
                    store.vector(&name("attn_q_norm.weight"))?,
                    store.vector(&name("attn_k_norm.weight"))?,
                ])
            } else {
                None
            },
            attention_output: store.matrix(&name("attn_output.weight"))?,
            attention_post_norm: post_norm(store, "post_attention_norm.weight")?,
            feed_forward_norm: store.vector(&name("ffn_norm.weight"))?,
            gate: store.matrix(&name("ffn_gate.weight"))?,
            up: store.matrix(&name("ffn_up.weight"))?,
            down: store.matrix(&name("ffn_down.weight"))?,
            feed_forward_post_norm: post_norm(store, "post_ffw_norm.weight")?,
        })
    }
}
