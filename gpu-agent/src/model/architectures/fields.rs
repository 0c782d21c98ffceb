//! Reads the metadata of one architecture, checked before anything is allocated.

use crate::{
    backend::ops::{Activation, RopePairs},
    model::spec::{DecoderSpec, LayerSpec, Rope},
    weights::file::{ModelError, ModelFile},
};

/// Most layers: far above any published model.
const MAX_LAYERS: u32 = 1024;
/// Widest residual stream or hidden layer: four times the largest published one.
const MAX_WIDTH: u32 = 1 << 18;
/// Largest vocabulary: four times the largest in use.
const MAX_VOCABULARY: usize = 1 << 20;
/// Longest context that is accepted from a file.
const MAX_CONTEXT: u32 = 1 << 20;

/// Reads `<architecture>.<name>` fields.
pub(super) struct Fields<'a> {
    file: &'a ModelFile,
    architecture: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(file: &'a ModelFile, architecture: &'a str) -> Self {
        Self { file, architecture }
    }

    /// The shape of a decoder whose layers are all alike: causal attention over everything, RMSNorm before each
    /// half-layer, gated by `x · sigmoid(x)`.
    #[expect(clippy::cast_precision_loss, reason = "heads have a few hundred elements")]
    pub(super) fn decoder(&self, pairs: RopePairs) -> Result<DecoderSpec, ModelError> {
        self.refuse_experts()?;
        let width = self.count("embedding_length", None, MAX_WIDTH)?;
        let heads = self.count("attention.head_count", None, MAX_WIDTH)?;
        let kv_heads = self.count("attention.head_count_kv", Some(heads), MAX_WIDTH)?;
        if !heads.is_multiple_of(kv_heads) {
            let problem = format!("is {kv_heads}, no divisor of {heads} heads");
            return Err(self.refuse("attention.head_count_kv", &problem));
        }
        let head_size = self.head_size(width / heads)?;
        let layer = LayerSpec {
            scale: 1.0 / (head_size as f32).sqrt(),
            window: None,
            soft_cap: None,
            rope: self.rope(head_size, pairs)?,
            query_key_norms: false,
            post_norms: false,
            activation: Activation::Silu,
        };
        Ok(DecoderSpec {
            width,
            hidden: self.count("feed_forward_length", None, MAX_WIDTH)?,
            heads,
            kv_heads,
            head_size,
            vocabulary: self.vocabulary()?,
            context: self.count("context_length", None, MAX_CONTEXT)?,
            epsilon: self.float("attention.layer_norm_rms_epsilon", None)?,
            embedding_scale: 1.0,
            output_soft_cap: None,
            layers: vec![layer; self.count("block_count", None, MAX_LAYERS)?],
        })
    }

    fn vocabulary(&self) -> Result<usize, ModelError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        let tokens = self
            .file
            .header()
            .require(TOKENS)
            .map_err(|error| self.file.wrap(error))?;
        let vocabulary = tokens.as_strings().map_or(0, <[String]>::len);
        if (1..=MAX_VOCABULARY).contains(&vocabulary) {
            return Ok(vocabulary);
        }
        let problem = format!("is no list of 1 to {MAX_VOCABULARY} strings");
        Err(self.file.refuse(TOKENS, &problem))
    }

    fn head_size(&self, default: usize) -> Result<usize, ModelError> {
        let head_size = self.count("attention.key_length", Some(default), MAX_WIDTH)?;
        let value_size = self.count("attention.value_length", Some(head_size), MAX_WIDTH)?;
        if value_size == head_size && head_size.is_multiple_of(2) {
            return Ok(head_size);
        }
        let problem = format!("is {value_size} with keys of {head_size}");
        Err(self.refuse("attention.value_length", &problem))
    }

    fn rope(&self, head_size: usize, pairs: RopePairs) -> Result<Rope, ModelError> {
        let size = self.count("rope.dimension_count", Some(head_size), MAX_WIDTH)?;
        if size > head_size || !size.is_multiple_of(2) {
            let problem = format!("is {size} with heads of {head_size}");
            return Err(self.refuse("rope.dimension_count", &problem));
        }
        Ok(Rope {
            size,
            pairs,
            base: self.float("rope.freq_base", Some(10_000.0))?,
            scale: self.rope_scale()?,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn refuse(&self, name: &str, problem: &str) -> ModelError {
        self.file.refuse(&self.key(name), problem)
    }

    /// A number from 1 to `most`.
    fn count(&self, name: &str, default: Option<usize>, most: u32) -> Result<usize, ModelError> {
        let read = self
            .file
            .header()
            .u32(&self.key(name))
            .map_err(|error| self.file.wrap(error))?;
        match (read, default) {
            (Some(value), _) if (1..=most).contains(&value) => Ok(value as usize),
            (Some(value), _) => Err(self.refuse(name, &format!("is {value}, not 1 to {most}"))),
            (None, Some(value)) if value > 0 => Ok(value),
            (None, _) => Err(self.refuse(name, "is missing")),
        }
    }

    /// A positive number.
    fn float(&self, name: &str, default: Option<f32>) -> Result<f32, ModelError> {
        let read = self
            .file
            .header()
            .f32(&self.key(name))
            .map_err(|error| self.file.wrap(error))?;
        match read.or(default) {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            Some(value) => Err(self.refuse(name, &format!("is {value}, which is no positive number"))),
            None => Err(self.refuse(name, "is missing")),
        }
    }

    fn rope_scale(&self) -> Result<f32, ModelError> {
        let kind = self
            .file
            .header()
            .text(&self.key("rope.scaling.type"))
            .map_err(|error| self.file.wrap(error))?;
        match kind {
            None | Some("none") => Ok(1.0),
            Some("linear") => self.float("rope.scaling.factor", None),
            Some(other) => Err(self.refuse(
                "rope.scaling.type",
                &format!("is {other}, which is not supported; supported are none and linear"),
            )),
        }
    }

    fn refuse_experts(&self) -> Result<(), ModelError> {
        let experts = self
            .file
            .header()
            .u32(&self.key("expert_count"))
            .map_err(|error| self.file.wrap(error))?;
        match experts {
            None | Some(0) => Ok(()),
            Some(count) => Err(self.refuse(
                "expert_count",
                &format!("is {count}, but mixtures of experts are not supported"),
            )),
        }
    }
}
