//! Qwen3 (Yang et al. 2025): as Qwen2 without biases, and with every head of queries and keys normalised.

use super::fields::Fields;
use crate::{
    backend::ops::RopePairs,
    model::spec::{DecoderSpec, LayerSpec},
    weights::file::ModelError,
};

/// Qwen3, dense.
pub(super) fn read(fields: &Fields<'_>) -> Result<DecoderSpec, ModelError> {
    let mut spec = fields.decoder(RopePairs::Halves)?;
    let normed = |layer: &LayerSpec| LayerSpec {
        query_key_norms: true,
        ..*layer
    };
    spec.layers = spec.layers.iter().map(normed).collect();
    Ok(spec)
}
