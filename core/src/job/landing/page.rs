//! What one page holds: results, their tokens, and the receipts that bill them.

use std::{collections::BTreeMap, sync::Arc};

use cocoon_api::receipt::Receipt;

use super::{
    error::LandingError,
    record::{ResultRecord, TokensRecord},
    room,
    text::{PageText, jsonl, lines},
};

/// The content of one page.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    /// Bodies and tokens are shared between clones: whoever only looks costs no memory.
    records: BTreeMap<u32, Arc<ResultRecord>>,
    tokens: BTreeMap<u32, Arc<TokensRecord>>,
    receipts: Vec<Receipt>,
    undelivered: Vec<Receipt>,
    /// Of everything as it is rendered.
    bytes: usize,
}

impl Page {
    /// Reads what was stored.
    pub(super) fn parse(text: &PageText) -> Result<Self, LandingError> {
        let PageText {
            results,
            receipts,
            undelivered,
            tokens,
        } = text;
        let records = lines("results", results)
            .map(|record| record.map(|record: ResultRecord| (record.index, Arc::new(record))))
            .collect::<Result<_, _>>()?;
        let tokens = lines("tokens", tokens)
            .map(|tokens| tokens.map(|tokens: TokensRecord| (tokens.index, Arc::new(tokens))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            records,
            tokens,
            receipts: lines("receipts", receipts).collect::<Result<_, _>>()?,
            undelivered: lines("undelivered", undelivered).collect::<Result<_, _>>()?,
            bytes: text.len(),
        })
    }

    /// The texts to store.
    pub(super) fn render(&self) -> PageText {
        PageText {
            results: jsonl(self.records.values().map(AsRef::as_ref)),
            receipts: jsonl(&self.receipts),
            undelivered: jsonl(&self.undelivered),
            tokens: jsonl(self.tokens.values().map(AsRef::as_ref)),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn add_record(&mut self, record: ResultRecord) {
        self.bytes += room::line(&record);
        self.records.insert(record.index, Arc::new(record));
    }

    pub(super) fn add_tokens(&mut self, tokens: TokensRecord) {
        self.bytes += room::line(&tokens);
        self.tokens.insert(tokens.index, Arc::new(tokens));
    }

    pub(super) fn add_receipt(&mut self, receipt: Receipt, is_billed: bool) {
        self.bytes += room::line(&receipt);
        if is_billed {
            self.receipts.push(receipt);
        } else {
            self.undelivered.push(receipt);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &ResultRecord> {
        self.records.values().map(AsRef::as_ref)
    }

    pub(super) fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    pub(super) fn undelivered(&self) -> &[Receipt] {
        &self.undelivered
    }
}
