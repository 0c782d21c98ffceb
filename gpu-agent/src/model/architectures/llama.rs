//! Llama (Touvron et al. 2023; grouped queries: Ainslie et al. 2023), and what is built like it.

use super::fields::Fields;
use crate::{backend::ops::RopePairs, model::spec::DecoderSpec, weights::file::ModelError};

/// Llama as GGUF stores it: neighbouring elements rotate together.
pub(super) fn read(fields: &Fields<'_>) -> Result<DecoderSpec, ModelError> {
    fields.decoder(RopePairs::Adjacent)
}
