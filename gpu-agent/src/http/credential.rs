//! The token by which the operator recognises this pod. The kubelet renews the file; it is read whenever it is asked
//! for, and no copy of it stays.

use std::path::PathBuf;

use cocoon_api::agent::{Credential, MAX_TOKEN_BYTES};
use tokio::io::AsyncReadExt as _;

/// Where the token lies.
#[derive(Debug, Clone)]
pub(super) struct TokenFile(pub(super) PathBuf);

/// Why there is no token. The words hold nothing of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("cannot read the token that the pod was given")]
    Read(#[from] std::io::Error),
    #[error("the token that the pod was given is empty, no text, or has more than {MAX_TOKEN_BYTES} bytes")]
    Unusable,
}

impl TokenFile {
    /// What it holds now.
    pub(super) async fn read(&self) -> Result<Credential, CredentialError> {
        let mut bytes = Vec::new();
        let most = MAX_TOKEN_BYTES as u64 + 1;
        let file = tokio::fs::File::open(&self.0).await?;
        file.take(most).read_to_end(&mut bytes).await?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialError::Unusable)?;
        let token = text.trim();
        if token.is_empty() || text.len() > MAX_TOKEN_BYTES {
            return Err(CredentialError::Unusable);
        }
        Ok(Credential {
            token: token.to_owned(),
        })
    }
}
