//! Shape of a Llama-family model, read from the metadata and checked before anything is allocated.

use crate::backend::ops::Rotation;
use crate::weights::file::{ModelError, ModelFile};

/// Most layers: far above any published model.
const MAX_LAYERS: u32 = 1024;
/// Widest residual stream or hidden layer: four times the largest published one.
const MAX_WIDTH: u32 = 1 << 18;
/// Largest vocabulary: four times the largest in use.
const MAX_VOCABULARY: usize = 1 << 20;
/// Longest context that is accepted from a file.
const MAX_CONTEXT: u32 = 1 << 20;

/// Which elements of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Elements `2i` and `2i + 1`, as Llama weights are stored in GGUF.
    Adjacent,
    /// Elements `i` and `i + d/2`.
    Halves,
}

/// Hyperparameters of a Llama-family model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head, even.
    pub head_size: usize,
    /// Elements of a head that rotate, even, at most `head_size`.
    pub rope_size: usize,
    /// Base of the rotation frequencies.
    pub rope_base: f32,
    /// Positions are divided by this (linear scaling); 1 for most models.
    pub rope_scale: f32,
    /// Which elements rotate together.
    pub rope_pairs: RopePairs,
    /// ε of RMSNorm.
    pub epsilon: f32,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Tokens that the model was trained to attend over.
    pub context: usize,
}

impl Config {
    /// Reads the shape from a file of a supported architecture.
    ///
    /// # Errors
    /// Another architecture, or a field that is missing, out of range or contradicts another.
    pub fn read(file: &ModelFile) -> Result<Self, ModelError> {
        let header = file.header();
        let text = |key| header.text(key).map_err(|error| file.wrap(error));
        let architecture =
            text("general.architecture")?.ok_or_else(|| file.refuse("general.architecture", "is missing"))?;
        let rope_pairs = match architecture {
            "llama" => RopePairs::Adjacent,
            "qwen2" => RopePairs::Halves,
            other => {
                let (path, architecture) = (file.path().to_owned(), other.to_owned());
                return Err(ModelError::Architecture { path, architecture });
            }
        };
        let fields = Fields { file, architecture };
        fields.refuse_experts()?;

        let vocabulary = header
            .require("tokenizer.ggml.tokens")
            .map_err(|error| file.wrap(error))?;
        let vocabulary = vocabulary.as_strings().map_or(0, <[String]>::len);
        if !(1..=MAX_VOCABULARY).contains(&vocabulary) {
            return Err(file.refuse(
                "tokenizer.ggml.tokens",
                &format!("is no list of 1 to {MAX_VOCABULARY} strings"),
            ));
        }
        let width = fields.count("embedding_length", None, MAX_WIDTH)?;
        let heads = fields.count("attention.head_count", None, MAX_WIDTH)?;
        let kv_heads = fields.count("attention.head_count_kv", Some(heads), MAX_WIDTH)?;
        let head_size = fields.count("attention.key_length", Some(width / heads), MAX_WIDTH)?;
        let value_size = fields.count("attention.value_length", Some(head_size), MAX_WIDTH)?;
        let rope_size = fields.count("rope.dimension_count", Some(head_size), MAX_WIDTH)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(fields.refuse(
                "attention.head_count_kv",
                &format!("is {kv_heads}, no divisor of {heads} heads"),
            ));
        }
        if value_size != head_size || !head_size.is_multiple_of(2) {
            return Err(fields.refuse(
                "attention.value_length",
                &format!("is {value_size} with keys of {head_size}"),
            ));
        }
        if rope_size > head_size || !rope_size.is_multiple_of(2) {
            return Err(fields.refuse(
                "rope.dimension_count",
                &format!("is {rope_size} with heads of {head_size}"),
            ));
        }
        Ok(Self {
            layers: fields.count("block_count", None, MAX_LAYERS)?,
            width,
            hidden: fields.count("feed_forward_length", None, MAX_WIDTH)?,
            heads,
            kv_heads,
            head_size,
            rope_size,
            rope_base: fields.float("rope.freq_base", Some(10_000.0))?,
            rope_scale: fields.rope_scale()?,
            rope_pairs,
            epsilon: fields.float("attention.layer_norm_rms_epsilon", None)?,
            vocabulary,
            context: fields.count("context_length", None, MAX_CONTEXT)?,
        })
    }

    /// How positions rotate queries and keys.
    pub fn rotation(&self) -> Rotation {
        Rotation {
            size: self.rope_size,
            head_size: self.head_size,
            pairs: self.rope_pairs,
        }
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key heads together, which is that of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }
}

/// Reads `<architecture>.<name>` fields.
struct Fields<'a> {
    file: &'a ModelFile,
    architecture: &'a str,
}

impl Fields<'_> {
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
            Some(value) if value > 0.0 => Ok(value),
            Some(value) => Err(self.refuse(name, &format!("is {value}, which is not positive"))),
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
                &format!("is {other}, which is not supported"),
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
