//! Why a download failed.

use cocoon_api::agent::FetchFault;

use crate::cache::CacheError;

/// Why a download failed: the code that goes further, and words for the log of the farm.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct FetchError {
    fault: FetchFault,
    words: String,
    #[source]
    source: Option<CacheError>,
}

impl FetchError {
    /// A failure of what was attempted.
    pub fn new(fault: FetchFault, words: impl Into<String>) -> Self {
        Self {
            fault,
            words: words.into(),
            source: None,
        }
    }

    /// What it is to whoever may know no more.
    pub fn fault(&self) -> FetchFault {
        self.fault
    }

    /// A failure of the library for HTTP, without the address, which its words repeat.
    pub(super) fn of_client(host: &str, error: reqwest::Error) -> Self {
        let fault = if is_of_tls(&error) {
            FetchFault::TlsRefused
        } else if error.is_connect() {
            FetchFault::Unreachable
        } else {
            FetchFault::Broken
        };
        let words = format!(
            "the download from {host} failed: {:#}",
            anyhow::Error::new(error.without_url())
        );
        Self::new(fault, words)
    }
}

impl From<CacheError> for FetchError {
    fn from(error: CacheError) -> Self {
        let is_full = |source: &std::io::Error| {
            matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            )
        };
        let fault = match &error {
            CacheError::NoRoom { .. } => FetchFault::TooLarge,
            CacheError::DiskFull { .. } => FetchFault::DiskFull,
            CacheError::Io { source, .. } if is_full(source) => FetchFault::DiskFull,
            CacheError::Io { .. } | CacheError::Foreign { .. } => FetchFault::CacheUnusable,
        };
        Self {
            fault,
            words: "cannot keep the model".to_owned(),
            source: Some(error),
        }
    }
}

fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || matches!(inner, Some(inner) if inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
