//! What is known of everything that has landed, of whichever page: enough to refuse what is there already and to add it
//! all up, and no byte of an answer.

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon, Usage,
    agent::FailureCode,
    receipt::{ChainId, Receipt, Sha256Digest},
};

use super::{error::LandingError, page::Page};

/// What is kept of one receipt.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Place of its chain in the index.
    chain: usize,
    /// Number of the attempt that delivered it; a session has none.
    pub attempt: Option<u32>,
    /// Place in its chain.
    pub sequence: u32,
    /// Index of the request.
    pub request: u32,
    /// What the next receipt names as `previous`.
    pub digest: Sha256Digest,
    /// Tokens.
    pub usage: Usage,
    /// What they cost.
    pub nano: NanoTon,
    /// Whether its result was delivered, so that it is paid for.
    pub is_billed: bool,
}

/// What is known of all pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// How each request that ended did: none for an answer.
    ended: BTreeMap<u32, Option<FailureCode>>,
    chains: Vec<ChainId>,
    /// In the order of landing.
    entries: Vec<Entry>,
}

impl Index {
    /// Takes note of all that a page holds.
    pub(super) fn add_page(&mut self, page: &Page) {
        for record in page.records() {
            self.end(record.index, record.error.as_ref().map(|error| error.code));
        }
        for receipt in page.receipts() {
            self.add(receipt, true);
        }
        for receipt in page.undelivered() {
            self.add(receipt, false);
        }
    }

    /// Notes how a request ended.
    pub(super) fn end(&mut self, request: u32, failure: Option<FailureCode>) {
        self.ended.insert(request, failure);
    }

    /// Takes note of a receipt.
    pub(super) fn add(&mut self, receipt: &Receipt, is_billed: bool) {
        let chain = self.chain(&receipt.chain).unwrap_or_else(|| {
            self.chains.push(receipt.chain.clone());
            self.chains.len() - 1
        });
        self.entries.push(Entry {
            chain,
            attempt: receipt.chain.subject.attempt(),
            sequence: receipt.sequence,
            request: receipt.request,
            digest: receipt.digest(),
            usage: receipt.usage,
            nano: receipt.nano,
            is_billed,
        });
    }

    /// Whether this receipt is stored. An agent that signs two different ones for one place of its chain, or delivers
    /// one request twice in an attempt, breaks the protocol.
    pub(super) fn is_known(&self, position: u32, receipt: &Receipt) -> Result<bool, LandingError> {
        let Some(chain) = self.chain(&receipt.chain) else {
            return Ok(false);
        };
        let digest = receipt.digest();
        for stored in self.entries.iter().filter(|stored| stored.chain == chain) {
            if stored.digest == digest {
                return Ok(true);
            }
            let what = if stored.sequence == receipt.sequence {
                "place in the chain"
            } else if stored.request == receipt.request {
                "only delivery of the request in this attempt"
            } else {
                continue;
            };
            return Err(LandingError::Mismatch { position, what });
        }
        Ok(false)
    }

    pub(super) fn has_chain(&self, chain: &ChainId) -> bool {
        self.chain(chain).is_some()
    }

    pub(super) fn has_ended(&self, request: u32) -> bool {
        self.ended.contains_key(&request)
    }

    pub(super) fn ended(&self) -> impl Iterator<Item = (u32, Option<FailureCode>)> {
        self.ended.iter().map(|(request, failure)| (*request, *failure))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Entries that are billed, each with its chain, in the order of landing.
    pub(super) fn billed(&self) -> impl Iterator<Item = (&ChainId, &Entry)> {
        let billed = self.entries.iter().filter(|entry| entry.is_billed);
        billed.map(|entry| (&self.chains[entry.chain], entry))
    }

    fn chain(&self, chain: &ChainId) -> Option<usize> {
        self.chains.iter().position(|known| known == chain)
    }
}
