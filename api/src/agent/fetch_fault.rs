//! Why a model could not be downloaded, in a word.

use super::last_word::last_word;

/// Why a model could not be downloaded: a closed list, so that neither a server's words nor a URL go further. The word
/// stands where that of a [`StartFault`](super::StartFault) does: `error: DigestMismatch: …`,
/// `error: HttpStatus 404: …`. The words do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FetchFault {
    /// The server answers with this status, which is no success.
    HttpStatus(u16),
    /// The host has no address, or nobody answers there.
    Unreachable,
    /// The server's certificate cannot be verified.
    TlsRefused,
    /// Too many redirects, or one from https to http, or one without an address.
    RedirectRefused,
    /// Fewer bytes come than are worth to wait for.
    Stalled,
    /// The connection broke, time and again.
    Broken,
    /// The server's answer contradicts itself or the one before.
    Malformed,
    /// The server encodes what it sends, for example compresses it, although it was asked not to.
    Encoded,
    /// The file is larger than all that models may take of the node's disk.
    TooLarge,
    /// The whole file came, and has another digest.
    DigestMismatch,
    /// The node's disk is full.
    DiskFull,
    /// The folder of models on the node cannot be used.
    CacheUnusable,
    /// The Secret with headers holds something that is no header.
    HeadersUnusable,
}

/// How [`FetchFault::HttpStatus`] begins.
const STATUS: &str = "HttpStatus ";

impl FetchFault {
    /// All without a number.
    pub const PLAIN: [Self; 12] = [
        Self::Unreachable,
        Self::TlsRefused,
        Self::RedirectRefused,
        Self::Stalled,
        Self::Broken,
        Self::Malformed,
        Self::Encoded,
        Self::TooLarge,
        Self::DigestMismatch,
        Self::DiskFull,
        Self::CacheUnusable,
        Self::HeadersUnusable,
    ];

    /// The word.
    pub fn word(self) -> String {
        match self {
            Self::HttpStatus(status) => format!("{STATUS}{status}"),
            plain => format!("{plain:?}"),
        }
    }

    /// What it means, and what the farm can do.
    pub fn words(self) -> String {
        match self {
            Self::HttpStatus(status) => format!("the server answers HTTP {status}: {}", advice(status)),
            Self::Unreachable => {
                "the server cannot be reached: look at the host of source.url, and at what the node and its NetworkPolicies let \
                 through"
                    .to_owned()
            }
            Self::TlsRefused => {
                "the server's certificate cannot be verified: correct the host of source.url, or the server's certificate"
                    .to_owned()
            }
            Self::RedirectRefused => {
                "the server redirects too often, or from https to http: give the address that it ends at as source.url"
                    .to_owned()
            }
            Self::Stalled => "the server sends less than a kilobyte a second; the download goes on where it stopped".to_owned(),
            Self::Broken => "the connection breaks time and again; the download goes on where it stopped".to_owned(),
            Self::Malformed => {
                "the server's answer contradicts itself: look at what serves source.url, or give another address".to_owned()
            }
            Self::Encoded => {
                "the server compresses the file or encodes it otherwise (Content-Encoding), although it was asked not to: have it \
                 serve the file as it is, or give another address"
                    .to_owned()
            }
            Self::TooLarge => {
                "the file is larger than all models of a node may be: raise the chart's models.cache.size".to_owned()
            }
            Self::DigestMismatch => {
                "the file has another sha256 than the offer says: correct source.sha256, or source.url; it was removed".to_owned()
            }
            Self::DiskFull => {
                "the node's disk is full: make room, or choose another place with the chart's models.cache.path".to_owned()
            }
            Self::CacheUnusable => {
                "the folder of models on the node cannot be used: it and its files must be root's, and nobody else may write there"
                    .to_owned()
            }
            Self::HeadersUnusable => {
                "the Secret of source.headersFrom holds what is no header of a request: each key is a header's name, and its \
                 text the header's value"
                    .to_owned()
            }
        }
    }

    /// The fault that a download's last words name, whatever else they say.
    pub fn of_last_words(words: &str) -> Option<Self> {
        let word = last_word(words)?;
        if let Some(status) = word.strip_prefix(STATUS) {
            let is_number = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
            return status.parse().ok().filter(|_| is_number).map(Self::HttpStatus);
        }
        Self::PLAIN.into_iter().find(|fault| fault.word() == word)
    }
}

/// What can be done about a status.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 | 407 => {
            "it asks for credentials: name a Secret with the header that it wants in source.headersFrom, or renew what it holds"
        }
        404 | 410 => "there is no file at source.url: correct it",
        408 | 425 | 429 | 500.. => "the server is busy or fails; it is asked again",
        _ => "correct source.url, or ask who runs the server",
    }
}

#[cfg(test)]
mod tests {
    use super::FetchFault;
    use crate::agent::{GpuFault, StartFault};

    fn all() -> impl Iterator<Item = FetchFault> {
        FetchFault::PLAIN
            .into_iter()
            .chain([301, 401, 404, 416, 429, 503].map(FetchFault::HttpStatus))
    }

    #[test]
    fn every_fault_is_read_back_from_last_words_and_says_what_to_do() {
        for fault in all() {
            let words = format!("a line\nerror: {}: a sentence: why\n", fault.word());
            assert_eq!(FetchFault::of_last_words(&words), Some(fault));
            assert_eq!(
                StartFault::of_last_words(&words),
                None,
                "no word means two things"
            );
            assert_eq!(GpuFault::of_last_words(&words), None, "no word means two things");
            assert!(
                fault.words().contains(':') || fault.words().contains(';'),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn a_status_is_named_with_its_advice() {
        for (status, advice) in [
            (403, "source.headersFrom"),
            (404, "source.url"),
            (503, "asked again"),
        ] {
            let words = FetchFault::HttpStatus(status).words();
            assert!(
                words.contains(&status.to_string()) && words.contains(advice),
                "{words}"
            );
        }
        for words in [
            "error: HttpStatus 4x4: why",
            "error: HttpStatus 40400: why",
            "error: HttpStatus: why",
        ] {
            assert_eq!(FetchFault::of_last_words(words), None, "{words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_download_says_is_read_without_a_panic(words: String) {
            let _ = FetchFault::of_last_words(&words);
            let _ = FetchFault::of_last_words(&format!("error: HttpStatus {words}"));
        }
    }
}
