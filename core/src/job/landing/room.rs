//! How much of a job is kept, in how many pages, and what stays free so that every request can still end.

use cocoon_api::{agent::MAX_REQUESTS, crd::output::MAX_PAGES};

use super::record::MAX_MESSAGE_BYTES;
use crate::job::input::MAX_INPUT_BYTES;

/// How much a job's results may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one page at most.
    pub most_of_page: usize,
    /// Bytes from which on a page is closed.
    pub page: usize,
    /// Bytes of all pages together at most.
    pub job: usize,
}

/// The limits of every job.
pub const LIMITS: Limits = Limits {
    // A Secret holds 1 MiB of data, counted before base64, and etcd takes 1.5 MiB of an object. The 40 KiB less are for
    // the list of closed pages, and for what encryption at rest and an admission webhook may add.
    most_of_page: 984 * 1024,
    // The open page is written again with each second's news: a quarter of a MiB bounds what that costs etcd.
    page: 256 * 1024,
    // 256 answers of 8,192 tokens: six bytes of text and four of ids for each token, which is more than any but the
    // oddest text takes, make 20 MiB; prompts, receipts and names are less than 2 MiB.
    job: 32 * 1024 * 1024,
};

// A page that is closed holds `page` bytes, or with the next one more than `most_of_page`.
const _: () = assert!(LIMITS.job / LIMITS.page <= MAX_PAGES && LIMITS.most_of_page >= 2 * LIMITS.page);

/// Receipts of one job at most, delivered or not: one for each request, and three times as many of answers that came
/// twice.
pub(super) const MAX_RECEIPTS: usize = 4 * MAX_REQUESTS;

/// Bytes of one receipt as a line, at most: fixed texts, five digests, a key, a signature, a job's UID, an address of
/// 67 characters, the name of an arithmetic, two decimals and sixteen numbers, which a test fills to their ranges.
pub(super) const MAX_RECEIPT_BYTES: usize = 1_664;

/// Bytes of a failure as a line, at most, without the request's name: the message and 112 bytes around it.
const MAX_FAILURE_BYTES: usize = MAX_MESSAGE_BYTES + 112;

/// What a request takes whose result is not delivered, without its name: the failure and the receipt.
const UNDELIVERED_BYTES: usize = MAX_FAILURE_BYTES + MAX_RECEIPT_BYTES;

// A job may have 256 requests, whose names are part of its input, and all of their results may be too large.
const _: () = assert!(MAX_REQUESTS * UNDELIVERED_BYTES + MAX_INPUT_BYTES <= LIMITS.job);

/// What must stay free so that a request of this name can still end.
pub(super) fn to_end(name: &str) -> usize {
    UNDELIVERED_BYTES + line(&name)
}

/// Bytes of a value as one line of JSON.
pub(super) fn line(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len() + 1)
}
