//! Why a line of an agent's results is not accepted.

use cocoon_api::{receipt::ReceiptError, units::UnitError};

/// Why a line of an agent's results is not accepted. The agent broke the protocol: nothing more is taken from it.
#[derive(Debug, thiserror::Error)]
pub enum LandingError {
    /// The receipt does not continue the chain.
    #[error("result {position}: receipt refused")]
    Receipt {
        /// Position of the line.
        position: u32,
        /// Why.
        #[source]
        source: ReceiptError,
    },
    /// The receipt is for another request or body.
    #[error("result {position}: receipt is not about the {what} it came with")]
    Mismatch {
        /// Position of the line.
        position: u32,
        /// What differs.
        what: &'static str,
    },
    /// The body is no JSON.
    #[error("result {position}: body is not JSON")]
    Body {
        /// Position of the line.
        position: u32,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The index is not one of the job's requests.
    #[error("result {position}: no request has index {index}")]
    Index {
        /// Position of the line.
        position: u32,
        /// The index.
        index: u32,
    },
    /// The receipt is of a result that another attempt delivered before, and nothing more can be stored.
    #[error("result {position}: no room is left for the receipt of a result that was delivered before")]
    Full {
        /// Position of the line.
        position: u32,
    },
    /// The stored text cannot be read.
    #[error("stored {what} line {line} cannot be read")]
    Stored {
        /// Key of the Secret.
        what: &'static str,
        /// Number of the line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Amounts do not add up.
    #[error(transparent)]
    Unit(#[from] UnitError),
}
