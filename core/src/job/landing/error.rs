//! Why a line of an agent's results is not accepted.

use cocoon_api::{
    json::Fault,
    receipt::{ReceiptError, TokensError},
    units::UnitError,
};

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
    /// The receipt is about other tokens than those that came with it.
    #[error("result {position}: receipt refused")]
    Tokens {
        /// Position of the line.
        position: u32,
        /// Why.
        #[source]
        source: TokensError,
    },
    /// The provider's wallet did not sign for the agent's key.
    #[error("result {position}: no wallet of the provider signed for the key of its agent")]
    Uncertified {
        /// Position of the line.
        position: u32,
    },
    /// The receipt says something else than what was agreed when the job was accepted.
    #[error("result {position}: the {what} of the receipt is not the one that was agreed")]
    Disagreed {
        /// Position of the line.
        position: u32,
        /// What differs.
        what: &'static str,
    },
    /// The line is not the next one.
    #[error("result {position} came where {expected} was due")]
    Position {
        /// Position of the line.
        position: u32,
        /// The position that was due.
        expected: u32,
    },
    /// The body is no JSON.
    #[error("result {position}: body is not JSON")]
    Body {
        /// Position of the line.
        position: u32,
        /// Why.
        #[source]
        source: Fault,
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
    /// The closed pages that the open one lists are not those of the job's status, or too many.
    #[error("the list of pages is not the one that the operator wrote")]
    Pages,
    /// A closed page holds something else than was written.
    #[error("page {name} is not as the operator wrote it")]
    Page {
        /// Name of its Secret.
        name: String,
    },
    /// The stored text is no UTF-8.
    #[error("stored {what} are no UTF-8 text from byte {at} on")]
    Encoding {
        /// Key of the Secret.
        what: &'static str,
        /// Bytes before it.
        at: usize,
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
        source: Fault,
    },
    /// Amounts do not add up.
    #[error(transparent)]
    Unit(#[from] UnitError),
}
