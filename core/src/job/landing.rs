//! What has landed of a job: its results with their tokens, and beside them the receipts that bill them.
//!
//! They live together in one page of the job's results and are written together, so a request is billed if and only if
//! its result was delivered. What arrives twice, from the same attempt or from another, changes nothing. Of pages that
//! are closed only what must be known of them stays in memory ([`Index`]).
//!
//! A result that is not delivered, because it does not fit or because another attempt's was first, is free. Its receipt
//! is kept apart, so that every agent's chain of receipts still verifies from its start.

mod error;
mod index;
mod page;
mod pages;
mod record;
mod room;
mod terms;
mod text;

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon, Usage,
    agent::{FailureCode, Outcome, ResultLine},
    crd::{channel::Counter, output::OutputPage},
    json::Fault,
    receipt::{AnswerTokens, ChainId, Receipt, ReceiptChain, Sha256Digest, root_of_digests},
    units::UnitError,
};
use serde_json::value::RawValue;

use index::Index;
use page::Page;
use pages::Pages;

pub use error::LandingError;
pub use index::Entry;
pub use pages::{ClosedPage, closed_pages};
pub use record::{ErrorRecord, ResponseRecord, ResultRecord, TokensRecord};
pub use room::{LIMITS, Limits};
pub use terms::Terms;
pub use text::{HeadText, PageText};

/// What a line did to the landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Added.
    Landed,
    /// Its receipt was added, and its result was not.
    Undelivered,
    /// Known already.
    Known,
    /// A failure that another attempt may mend; not stored.
    Retryable,
}

impl Accepted {
    /// Whether there is something new to store.
    pub fn is_news(self) -> bool {
        matches!(self, Self::Landed | Self::Undelivered)
    }
}

/// Everything that has landed of one job.
#[derive(Debug, Clone, Default)]
pub struct Landing {
    index: Index,
    pages: Pages,
    open: Page,
}

/// Reads what is stored, one page after the other.
#[derive(Debug)]
pub struct Reading {
    landing: Landing,
    left: std::vec::IntoIter<OutputPage>,
    open: Page,
}

impl Reading {
    /// Begins with the open page, where there is one, and with what the job's status lists.
    pub fn new(head: Option<&HeadText>, known: &[OutputPage]) -> Result<Self, LandingError> {
        Ok(Self {
            landing: Landing::default(),
            left: closed_pages(head, known)?.into_iter(),
            open: head.map_or_else(|| Ok(Page::default()), |head| Page::parse(&head.page))?,
        })
    }

    /// The closed page to read next.
    pub fn wanted(&self) -> Option<&str> {
        self.left.as_slice().first().map(|page| page.name.as_str())
    }

    /// Takes its texts, which must be those that were written.
    pub fn take(&mut self, text: &PageText) -> Result<(), LandingError> {
        let Some(page) = self.left.next() else {
            return Ok(());
        };
        if text.digest().to_string() != page.sha256 {
            return Err(LandingError::Page { name: page.name });
        }
        self.landing.index.add_page(&Page::parse(text)?);
        self.landing.pages.add(page, text.len());
        Ok(())
    }

    /// What is stored, once every page was taken.
    pub fn landing(self) -> Landing {
        let Self {
            mut landing, open, ..
        } = self;
        landing.index.add_page(&open);
        landing.open = open;
        landing
    }
}

impl Landing {
    /// The texts of the open page.
    pub fn head(&self) -> HeadText {
        HeadText {
            page: self.open.render(),
            pages: text::jsonl(self.pages.closed()),
        }
    }

    /// Pages that are closed and written.
    pub fn closed(&self) -> &[OutputPage] {
        self.pages.closed()
    }

    /// Whether a page is full: it is written before anything more is taken, so that no more of a job is in memory.
    pub fn is_closing(&self) -> bool {
        self.pages.is_closing()
    }

    /// The page to write before the open one, of the job with this name and UID.
    pub fn next_page(&self, job: &str, uid: &str) -> Option<ClosedPage> {
        self.pages.next(job, uid)
    }

    /// The page is stored under this name.
    pub fn page_written(&mut self, name: String) {
        self.pages.written(name);
    }

    /// Something else has that name. Answers whether there is another name for the page.
    pub fn page_is_taken(&mut self) -> bool {
        self.pages.is_taken()
    }

    /// Verifies the next line of an attempt against its chain and adds it.
    pub fn accept(
        &mut self,
        chain: &mut ReceiptChain,
        line: ResultLine,
        terms: &Terms,
    ) -> Result<Accepted, LandingError> {
        let ResultLine {
            position,
            index,
            outcome,
        } = line;
        let custom_id = terms
            .name(index)
            .ok_or(LandingError::Index { position, index })?
            .to_owned();
        match outcome {
            Outcome::Succeeded {
                body,
                tokens,
                receipt,
            } => {
                chain
                    .push(&receipt)
                    .map_err(|source| LandingError::Receipt { position, source })?;
                let answer = Answer {
                    position,
                    index,
                    body,
                    tokens,
                    receipt: *receipt,
                };
                answer.check(terms)?;
                self.add_answer(answer, terms)
            }
            Outcome::Failed { code, .. } if code.is_retryable() => Ok(Accepted::Retryable),
            Outcome::Failed { code, message } => {
                if self.has(index) {
                    return Ok(Accepted::Known);
                }
                let record = ResultRecord::failed(index, custom_id, code, &message);
                self.turn_page(room::line(&record), terms);
                self.add_record(record);
                self.close_if_full(terms);
                Ok(Accepted::Landed)
            }
        }
    }

    fn add_answer(&mut self, answer: Answer, terms: &Terms) -> Result<Accepted, LandingError> {
        let Answer {
            position,
            index,
            body,
            tokens,
            receipt,
        } = answer;
        if self.index.is_known(position, &receipt)? {
            return Ok(Accepted::Known);
        }
        let receipt_bytes = room::line(&receipt);
        if self.has(index) {
            let is_full = self.index.entries().len() >= room::MAX_RECEIPTS;
            if is_full || !self.has_room(receipt_bytes, index, terms) {
                return Err(LandingError::Full { position });
            }
            self.turn_page(receipt_bytes, terms);
            self.add_receipt(receipt, false);
            self.close_if_full(terms);
            return Ok(Accepted::Undelivered);
        }
        let length = body.len();
        let body = RawValue::from_string(body).map_err(|error| LandingError::Body {
            position,
            source: Fault::of(&error),
        })?;
        let name = terms.name(index).unwrap_or_default().to_owned();
        let mut record = ResultRecord::answered(index, name.clone(), body);
        let tokens = TokensRecord::new(index, tokens);
        let bytes = receipt_bytes + room::line(&record) + room::line(&tokens);
        let refusal = if self.exceeds(&receipt, terms)? {
            Some(refuse_beyond_budget())
        } else if bytes > terms.limits.most_of_page || !self.has_room(bytes, index, terms) {
            Some(refuse_too_large(length, terms.limits))
        } else {
            None
        };
        let is_delivered = refusal.is_none();
        if let Some((code, message)) = refusal {
            record = ResultRecord::failed(index, name, code, &message);
            self.turn_page(receipt_bytes + room::line(&record), terms);
        } else {
            self.turn_page(bytes, terms);
            self.open.add_tokens(tokens);
        }
        self.add_record(record);
        self.add_receipt(receipt, is_delivered);
        self.close_if_full(terms);
        Ok(if is_delivered {
            Accepted::Landed
        } else {
            Accepted::Undelivered
        })
    }

    /// Whether the job would cost more than it may. An agent keeps within the budget by itself; that none is billed who
    /// does not, is seen to here.
    fn exceeds(&self, receipt: &Receipt, terms: &Terms) -> Result<bool, UnitError> {
        let Some(budget) = terms.budget else {
            return Ok(false);
        };
        Ok(self.nano()?.checked_add(receipt.nano)? > budget)
    }

    fn add_record(&mut self, record: ResultRecord) {
        self.index
            .end(record.index, record.error.as_ref().map(|error| error.code));
        self.open.add_record(record);
    }

    fn add_receipt(&mut self, receipt: Receipt, is_billed: bool) {
        self.index.add(&receipt, is_billed);
        self.open.add_receipt(receipt, is_billed);
    }

    /// Closes the open page where so many bytes more do not fit it.
    fn turn_page(&mut self, bytes: usize, terms: &Terms) {
        if self.open.bytes() + bytes > terms.limits.most_of_page && !self.open.is_empty() {
            self.close();
        }
    }

    fn close_if_full(&mut self, terms: &Terms) {
        if self.open.bytes() >= terms.limits.page {
            self.close();
        }
    }

    fn close(&mut self) {
        self.pages.close(&std::mem::take(&mut self.open));
    }

    /// Whether so many bytes can be added for request `index`, and every request that has not ended can still end.
    fn has_room(&self, bytes: usize, index: u32, terms: &Terms) -> bool {
        let open = (0..)
            .zip(&terms.custom_ids)
            .filter(|(other, _)| *other != index && !self.has(*other));
        let reserved: usize = open.map(|(_, name)| room::to_end(name)).sum();
        self.pages.bytes() + self.open.bytes() + bytes + reserved <= terms.limits.job
    }

    /// Whether a receipt of this chain is stored.
    pub fn has_chain(&self, chain: &ChainId) -> bool {
        self.index.has_chain(chain)
    }

    /// Whether the request has ended.
    pub fn has(&self, index: u32) -> bool {
        self.index.has_ended(index)
    }

    /// Requests that were answered.
    pub fn succeeded(&self) -> u32 {
        count(self.index.ended().filter(|(_, failure)| failure.is_none()))
    }

    /// Requests that failed for good.
    pub fn failed(&self) -> u32 {
        count(self.index.ended().filter(|(_, failure)| failure.is_some()))
    }

    /// The first request that failed, and why. What the agent said about it stays with the results.
    pub fn first_failure(&self) -> Option<(u32, FailureCode)> {
        self.index
            .ended()
            .find_map(|(request, failure)| Some((request, failure?)))
    }

    /// Whether a request failed with this code.
    pub fn has_failure(&self, code: FailureCode) -> bool {
        self.index.ended().any(|(_, failure)| failure == Some(code))
    }

    /// What is known of the receipts of delivered results, in the order of landing: what is billed.
    pub fn billed(&self) -> impl Iterator<Item = &Entry> {
        self.index.billed().map(|(_, entry)| entry)
    }

    /// Tokens of delivered results.
    pub fn usage(&self) -> Result<Usage, UnitError> {
        self.billed()
            .try_fold(Usage::default(), |sum, entry| sum.checked_add(entry.usage))
    }

    /// `NanoTON` of delivered results.
    pub fn nano(&self) -> Result<NanoTon, UnitError> {
        NanoTon::sum(self.billed().map(|entry| entry.nano))
    }

    /// Digest over the receipts of delivered results.
    pub fn root(&self) -> Sha256Digest {
        let billed = self.index.billed();
        root_of_digests(billed.map(|(chain, entry)| ((entry.request, &chain.subject), entry.digest)))
    }

    /// What the receipts add to the ledger of a channel, one counter for each chain. Only receipts of delivered
    /// results count.
    pub fn counters(&self, name: &str) -> Result<Vec<Counter>, UnitError> {
        let mut counters: BTreeMap<&ChainId, Counter> = BTreeMap::new();
        for (chain, entry) in self.index.billed().filter(|(chain, _)| chain.channel.is_some()) {
            let counter = counters.entry(chain).or_insert_with(|| Counter {
                agent: chain.agent.to_string(),
                subject: chain.subject.clone(),
                name: name.to_owned(),
                count: 0,
                usage: Usage::default(),
                nano: NanoTon::ZERO,
                head: String::new(),
            });
            counter.count += 1;
            counter.usage = counter.usage.checked_add(entry.usage)?;
            counter.nano = counter.nano.checked_add(entry.nano)?;
            counter.head = entry.digest.to_string();
        }
        Ok(counters.into_values().collect())
    }
}

/// An answer whose receipt continues its chain.
struct Answer {
    position: u32,
    index: u32,
    body: String,
    tokens: AnswerTokens,
    receipt: Receipt,
}

impl Answer {
    /// Whether the receipt is about this answer, is what was agreed, and is signed by an agent that the provider
    /// answers for.
    fn check(&self, terms: &Terms) -> Result<(), LandingError> {
        let Self {
            position,
            index,
            body,
            tokens,
            receipt,
        } = self;
        let position = *position;
        let mismatch = |what| Err(LandingError::Mismatch { position, what });
        if receipt.request != *index {
            return mismatch("request");
        }
        if !terms.is_certified(receipt) {
            return Err(LandingError::Uncertified { position });
        }
        if let Some(what) = terms.disagreement(receipt) {
            return Err(LandingError::Disagreed { position, what });
        }
        if receipt.result != Sha256Digest::of(body.as_bytes()) {
            return mismatch("body");
        }
        tokens
            .check(receipt.tokens_root, &receipt.usage)
            .map_err(|source| LandingError::Tokens { position, source })
    }
}

fn refuse_too_large(length: usize, limits: Limits) -> (FailureCode, String) {
    let message = format!(
        "the answer of {length} bytes does not fit with its tokens: a page of results holds {} bytes, and all results of a \
         job {}: split the job into several or lower max_tokens; this request is free",
        limits.most_of_page, limits.job
    );
    (FailureCode::ResultTooLarge, message)
}

fn refuse_beyond_budget() -> (FailureCode, String) {
    let message = "the answer costs more than is left of billing.maxNano; this request is free";
    (FailureCode::BudgetExceeded, message.to_owned())
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
