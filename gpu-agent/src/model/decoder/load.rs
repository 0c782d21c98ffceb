//! From a file's tensors to weights on one device or several.

use super::tensors::{LoadError, Tensors};
use crate::{
    backend::ops::{Care, Ops},
    model::spec::{DecoderSpec, LayerSpec},
    weights::file::ModelFile,
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
    /// A tensor is missing, has another shape than the hyperparameters say, holds what is no finite number, or is not part
    /// of the architecture; or the device has too little memory.
    pub fn load(file: &ModelFile, spec: DecoderSpec, ops: O) -> Result<Self, LoadError> {
        let layers = spec.layers.len();
        Self::load_split(file, spec, vec![(ops, layers)])
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
        let mut tensors = Tensors::new(file);
        let mut first = 0;
        let mut segments = Vec::with_capacity(count);
        for (index, (ops, layers)) in devices.into_iter().enumerate() {
            let ends = [index == 0, index + 1 == count];
            segments.push(Segment::load(
                &mut tensors,
                &spec,
                ops,
                first..first + layers,
                ends,
            )?);
            first += layers;
        }
        let pairs = spec
            .layers
            .iter()
            .map(|layer| layer.rope.size / 2)
            .max()
            .unwrap_or(0);
        let rope_factors = tensors.optional_floats("rope_freqs.weight", pairs)?;
        tensors.refuse_unused()?;
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

impl<O: Ops> Segment<O> {
    fn load(
        tensors: &mut Tensors<'_>,
        spec: &DecoderSpec,
        mut ops: O,
        layers: std::ops::Range<usize>,
        [is_first, is_last]: [bool; 2],
    ) -> Result<Self, LoadError> {
        let shape = [spec.vocabulary, spec.width];
        let mut embedding = None;
        if is_first {
            embedding = Some(tensors.matrix(&mut ops, "token_embd.weight", Care::Fine, shape)?);
        }
        let weights = layers
            .map(|index| Layer::load(tensors, &mut ops, spec, index))
            .collect::<Result<_, _>>()?;
        let mut head = None;
        if is_last {
            let matrix = tensors.optional_matrix(&mut ops, "output.weight", Care::Fine, shape)?;
            if matrix.is_none() && embedding.is_none() {
                embedding = Some(tensors.matrix(&mut ops, "token_embd.weight", Care::Fine, shape)?);
            }
            let norm = tensors.vector(&mut ops, "output_norm.weight", spec.width)?;
            head = Some(Head { norm, matrix });
        }
        Ok(Self {
            ops,
            layers: weights,
            embedding,
            head,
        })
    }
}

impl<O: Ops> Layer<O> {
    fn load(
        tensors: &mut Tensors<'_>,
        ops: &mut O,
        spec: &DecoderSpec,
        index: usize,
    ) -> Result<Self, LoadError> {
        let DecoderSpec { width, hidden, .. } = *spec;
        let layer = spec.layers[index];
        let (query, kv) = (spec.query_width(), spec.kv_width());
        let name = |part: &str| format!("blk.{index}.{part}");
        let post_norm = |ops: &mut O, tensors: &mut Tensors<'_>, part: &str| {
            layer
                .post_norms
                .then(|| tensors.vector(ops, &name(part), width))
                .transpose()
        };
        Ok(Self {
            spec: layer,
            attention_norm: tensors.vector(ops, &name("attn_norm.weight"), width)?,
            query: tensors.matrix(ops, &name("attn_q.weight"), Care::Plain, [query, width])?,
            query_bias: tensors.optional_vector(ops, &name("attn_q.bias"), query)?,
            key: tensors.matrix(ops, &name("attn_k.weight"), Care::Fine, [kv, width])?,
            key_bias: tensors.optional_vector(ops, &name("attn_k.bias"), kv)?,
            value: tensors.matrix(ops, &name("attn_v.weight"), Care::Fine, [kv, width])?,
            value_bias: tensors.optional_vector(ops, &name("attn_v.bias"), kv)?,
            query_key_norms: if layer.query_key_norms {
                let head_size = spec.head_size;
                Some([
                    tensors.vector(ops, &name("attn_q_norm.weight"), head_size)?,
                    tensors.vector(ops, &name("attn_k_norm.weight"), head_size)?,
                ])
            } else {
                None
            },
            attention_output: tensors.matrix(
                ops,
                &name("attn_output.weight"),
                Care::Plain,
                [width, query],
            )?,
            attention_post_norm: post_norm(ops, tensors, "post_attention_norm.weight")?,
            feed_forward_norm: tensors.vector(ops, &name("ffn_norm.weight"), width)?,
            gate: tensors.matrix(ops, &name("ffn_gate.weight"), Care::Plain, [hidden, width])?,
            up: tensors.matrix(ops, &name("ffn_up.weight"), Care::Plain, [hidden, width])?,
            down: tensors.matrix(ops, &name("ffn_down.weight"), Care::Plain, [width, hidden])?,
            feed_forward_post_norm: post_norm(ops, tensors, "post_ffw_norm.weight")?,
        })
    }
}
