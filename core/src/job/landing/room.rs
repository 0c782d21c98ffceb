//! How much one Secret takes, and what of it is kept free so that every request can still end.

use cocoon_api::{agent::MAX_REQUESTS, receipt::Receipt};

use super::record::{MAX_MESSAGE_BYTES, ResultRecord};
use crate::job::input::MAX_INPUT_BYTES;

/// Bytes of all keys of a job's Secret at most. A Secret holds 1 MiB of data, counted before base64, and etcd takes 1.5 MiB
/// of an object; the 24 KiB less are for what encryption at rest and an admission webhook may add.
pub const MAX_LANDED_BYTES: usize = 1000 * 1024;

/// Bytes of one receipt as a line, at most: fixed texts, five digests, a key, a signature, a job's UID, an address of 67
/// characters, the name of an arithmetic, two decimals and sixteen numbers, which a test fills to their ranges.
pub(super) const MAX_RECEIPT_BYTES: usize = 1_664;

/// Bytes of one usage statement as a line, at most, as [`MAX_RECEIPT_BYTES`].
pub(super) const MAX_STATEMENT_BYTES: usize = 704;

/// Bytes of a failure as a line, at most, without the request's name: the message and 112 bytes around it.
const MAX_FAILURE_BYTES: usize = MAX_MESSAGE_BYTES + 112;

/// What a request takes whose result is not delivered, without its name: the failure, the receipt, and the statement of
/// another agent.
const UNDELIVERED_BYTES: usize = MAX_FAILURE_BYTES + MAX_RECEIPT_BYTES + MAX_STATEMENT_BYTES;

// A job may have 256 requests, whose names are part of its input, and all of their results may be too large.
const _: () = assert!(MAX_REQUESTS * UNDELIVERED_BYTES + MAX_INPUT_BYTES <= MAX_LANDED_BYTES);

/// What must stay free so that a request of this name can still end.
pub(super) fn to_end(name: &str) -> usize {
    UNDELIVERED_BYTES + line(&name)
}

/// What a receipt adds, with the statement of its chain where that is the first.
pub(super) fn receipt_bytes(receipt: &Receipt, is_first_of_chain: bool) -> usize {
    line(receipt) + if is_first_of_chain { MAX_STATEMENT_BYTES } else { 0 }
}

pub(super) fn record_bytes(record: &ResultRecord) -> usize {
    line(record)
}

/// Bytes of a value as one line of JSON.
fn line(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len() + 1)
}
