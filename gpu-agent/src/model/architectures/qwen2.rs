//! Qwen2 (Yang et al. 2024): as Llama with biases on queries, keys and values, which the file has or has not.

use super::fields::Fields;
use crate::{backend::ops::RopePairs, model::spec::DecoderSpec, weights::file::ModelError};

/// Qwen2: the halves of a head rotate together.
pub(super) fn read(fields: &Fields<'_>) -> Result<DecoderSpec, ModelError> {
    fields.decoder(RopePairs::Halves)
}
