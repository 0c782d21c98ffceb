//! Why the chain gave no answer.

/// The chain could not be asked, or its answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint's address or key cannot be used; nothing was sent. Repeats neither, since both may hold secrets.
    #[error("the chain endpoint cannot be used: {reason}")]
    InvalidEndpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// No answer, or an answer that tells of trouble on the endpoint's side. Worth trying again later.
    #[error("{method} failed on {endpoint} in {attempts} attempts: {reason}")]
    EndpointUnavailable {
        /// The RPC method.
        method: &'static str,
        /// The endpoint's address.
        endpoint: String,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong the last time.
        reason: String,
    },
    /// The endpoint wants fewer requests. Try again later, or configure an API key.
    #[error(
        "{method} was refused by {endpoint} in {attempts} attempts: too many requests, configure an API key"
    )]
    RateLimited {
        /// The RPC method.
        method: &'static str,
        /// The endpoint's address.
        endpoint: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The endpoint answered something that its interface does not allow. Do not act on it.
    #[error("{method} was answered with no valid {what}")]
    BadResponse {
        /// The RPC method.
        method: &'static str,
        /// What is missing or malformed.
        what: &'static str,
    },
    /// The endpoint understood the request and refuses it.
    #[error("{method} was rejected: {reason}")]
    Rejected {
        /// The RPC method.
        method: &'static str,
        /// The endpoint's words, shortened.
        reason: String,
    },
    /// The endpoint serves another network than the one configured.
    #[error("{endpoint} serves the network with global id {found}, not {name} with global id {expected}")]
    WrongNetwork {
        /// The endpoint's address.
        endpoint: String,
        /// Global id of the configured network.
        expected: i32,
        /// Name of the configured network.
        name: String,
        /// Global id that the endpoint answered.
        found: i32,
    },
    /// The account runs another contract than the caller takes it for.
    #[error("{account} is no {expected}")]
    OtherContract {
        /// The account, raw.
        account: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An account has too many transactions to look through.
    #[error("no answer within the last {searched} transactions of {account}: search again from a later time")]
    SearchLimit {
        /// The account, raw.
        account: String,
        /// How many were looked at.
        searched: usize,
    },
}

impl ClientError {
    /// Whether trying again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::EndpointUnavailable { .. } | Self::RateLimited { .. } | Self::BadResponse { .. }
        )
    }
}
