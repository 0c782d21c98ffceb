//! Model families: each fills a [`DecoderSpec`] from a file's metadata.

mod fields;
mod llama;
mod qwen2;
mod qwen3;

use fields::Fields;

use super::spec::DecoderSpec;
use crate::weights::file::{ModelError, ModelFile};

/// Reads the shape of a model from a file of a supported architecture; nothing is allocated by what a file says before
/// it is checked.
///
/// # Errors
/// Another architecture, or a field that is missing, out of range or contradicts another.
pub fn read(file: &ModelFile) -> Result<DecoderSpec, ModelError> {
    let name = file
        .header()
        .text("general.architecture")
        .map_err(|error| file.wrap(error))?
        .ok_or_else(|| file.refuse("general.architecture", "is missing"))?;
    let fields = Fields::new(file, name);
    match name {
        "llama" => llama::read(&fields),
        "qwen2" => qwen2::read(&fields),
        "qwen3" => qwen3::read(&fields),
        other => Err(ModelError::Architecture {
            path: file.path().to_owned(),
            architecture: other.to_owned(),
        }),
    }
}
