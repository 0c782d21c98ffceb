//! Which tensors of a file each part of a decoder is made of.

use crate::{backend::ops::Care, model::spec::DecoderSpec};

pub(super) const EMBEDDING: &str = "token_embd.weight";
pub(super) const OUTPUT: &str = "output.weight";
pub(super) const OUTPUT_NORM: &str = "output_norm.weight";
/// Divisors of the rotation frequencies, which not every file has.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What a tensor must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[rows, columns]`
    Matrix { rows: usize, columns: usize, care: Care },
    /// `[length]`
    Vector { length: usize },
}

/// A tensor that a part is made of, if the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) form: Form,
}

fn matrix(name: impl Into<String>, care: Care, [rows, columns]: [usize; 2]) -> Wanted {
    let form = Form::Matrix { rows, columns, care };
    let name = name.into();
    Wanted { name, form }
}

fn vector(name: impl Into<String>, length: usize) -> Wanted {
    let form = Form::Vector { length };
    let name = name.into();
    Wanted { name, form }
}

/// The name of a layer's tensor.
pub(super) fn name_of(layer: usize, part: &str) -> String {
    format!("blk.{layer}.{part}")
}

/// The table of embeddings, which serves as output too where there is no other.
pub(super) fn embedding(spec: &DecoderSpec) -> Wanted {
    matrix(EMBEDDING, Care::Fine, [spec.vocabulary, spec.width])
}

/// The output layer.
pub(super) fn head(spec: &DecoderSpec) -> [Wanted; 2] {
    [
        vector(OUTPUT_NORM, spec.width),
        matrix(OUTPUT, Care::Fine, [spec.vocabulary, spec.width]),
    ]
}

/// One layer.
pub(super) fn layer(spec: &DecoderSpec, index: usize) -> Vec<Wanted> {
    let DecoderSpec { width, hidden, .. } = *spec;
    let (query, kv) = (spec.query_width(), spec.kv_width());
    let layer = spec.layers[index];
    let name = |part: &str| name_of(index, part);
    let mut wanted = vec![
        vector(name("attn_norm.weight"), width),
        matrix(name("attn_q.weight"), Care::Plain, [query, width]),
        vector(name("attn_q.bias"), query),
        matrix(name("attn_k.weight"), Care::Fine, [kv, width]),
        vector(name("attn_k.bias"), kv),
        matrix(name("attn_v.weight"), Care::Fine, [kv, width]),
        vector(name("attn_v.bias"), kv),
        matrix(name("attn_output.weight"), Care::Plain, [width, query]),
        vector(name("ffn_norm.weight"), width),
        matrix(name("ffn_gate.weight"), Care::Plain, [hidden, width]),
        matrix(name("ffn_up.weight"), Care::Plain, [hidden, width]),
        matrix(name("ffn_down.weight"), Care::Plain, [width, hidden]),
    ];
    if layer.query_key_norms {
        wanted.push(vector(name("attn_q_norm.weight"), spec.head_size));
        wanted.push(vector(name("attn_k_norm.weight"), spec.head_size));
    }
    if layer.post_norms {
        wanted.push(vector(name("post_attention_norm.weight"), width));
        wanted.push(vector(name("post_ffw_norm.weight"), width));
    }
    wanted
}
