//! A decoder-only transformer as data: all that the forward pass asks an architecture.

use crate::backend::ops::{Activation, Attention, RopePairs, Rotation};

/// A decoder-only transformer, apart from its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
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
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Tokens that the model was trained to attend over.
    pub context: usize,
    /// ε of every RMSNorm.
    pub epsilon: f32,
    /// Embeddings are multiplied by this; 1 for most models.
    pub embedding_scale: f32,
    /// Logits become `cap · tanh(logit / cap)`.
    pub output_soft_cap: Option<f32>,
    /// The layers, in order.
    pub layers: Vec<LayerSpec>,
}

/// What layers differ in, from model to model or within one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerSpec {
    /// Attention scores are multiplied by this.
    pub scale: f32,
    /// Tokens that a token sees, itself included; absent: all before it.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// How positions rotate queries and keys.
    pub rope: Rope,
    /// Every head of queries and keys is normalised.
    pub query_key_norms: bool,
    /// What each half-layer computes is normalised before it is added.
    pub post_norms: bool,
    /// What gates the feed-forward layer.
    pub activation: Activation,
}

/// How positions rotate queries and keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Elements of a head that rotate, even, at most a head.
    pub size: usize,
    /// Which elements rotate together.
    pub pairs: RopePairs,
    /// Base of the rotation frequencies.
    pub base: f32,
    /// Positions are divided by this (linear scaling); 1 for most models.
    pub scale: f32,
}

impl DecoderSpec {
    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Width of all key heads together, which is that of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Attention of a layer, as a machine computes it.
    pub fn attention(&self, layer: &LayerSpec) -> Attention {
        Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            scale: layer.scale,
            window: layer.window,
            soft_cap: layer.soft_cap,
        }
    }

    /// Rotation of a layer, as a machine computes it.
    pub fn rotation(&self, layer: &LayerSpec) -> Rotation {
        Rotation {
            size: layer.rope.size,
            head_size: self.head_size,
            pairs: layer.rope.pairs,
        }
    }
}

impl Rope {
    /// `(cos, sin)` of every position and frequency, `[context, size / 2, 2]`. Frequencies are divided by `factors`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "positions are small; the table is f32"
    )]
    pub fn table(&self, context: usize, factors: Option<&[f32]>) -> Vec<f32> {
        let pairs = self.size / 2;
        let frequency = |pair: usize| {
            let exponent = -2.0 * pair as f64 / self.size as f64;
            let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
            libm::pow(f64::from(self.base), exponent) / factor / f64::from(self.scale)
        };
        let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
        let mut table = Vec::with_capacity(context * pairs * 2);
        for position in 0..context {
            for frequency in &frequencies {
                let angle = position as f64 * frequency;
                table.extend([libm::cos(angle) as f32, libm::sin(angle) as f32]);
            }
        }
        table
    }
}
