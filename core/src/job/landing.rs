//! What has landed of a job: its results, and beside them the receipts that bill them.
//!
//! Both live in one Secret and are written together, so a request is billed if and only if its result was
//! delivered. What arrives twice, from the same attempt or from another, changes nothing.
//!
//! A result that is not delivered, because it does not fit or because another attempt's was first, is free. Its receipt is
//! kept apart, so that every agent's chain of receipts still verifies from its start.

mod error;
mod record;
mod room;
mod terms;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use cocoon_api::{
    NanoTon, Usage,
    agent::{FailureCode, Outcome, ResultLine},
    crd::channel::Counter,
    json::Fault,
    receipt::{ChainId, Receipt, ReceiptChain, Sha256Digest, UsageStatement, receipts_root},
    units::UnitError,
};
use serde_json::value::RawValue;

pub use error::LandingError;
pub use record::{ErrorRecord, ResponseRecord, ResultRecord};
pub use room::MAX_LANDED_BYTES;
pub use terms::Terms;
pub use text::LandedText;

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
    /// Bodies are shared between clones: whoever only looks costs no memory.
    records: BTreeMap<u32, Arc<ResultRecord>>,
    receipts: Vec<Receipt>,
    undelivered: Vec<Receipt>,
    statements: BTreeMap<ChainId, UsageStatement>,
    /// Of everything as it is rendered; a statement, whose figures grow, counts with the most that it can take.
    bytes: usize,
}

impl Landing {
    /// Reads what was stored.
    pub fn parse(stored: &LandedText) -> Result<Self, LandingError> {
        let LandedText {
            results,
            receipts,
            undelivered,
            statements,
        } = stored;
        let records: BTreeMap<u32, Arc<ResultRecord>> = text::lines("results", results)
            .map(|record| record.map(|record: ResultRecord| (record.index, Arc::new(record))))
            .collect::<Result<_, _>>()?;
        let statements: BTreeMap<_, _> = text::lines("statements", statements)
            .map(|statement| statement.map(|statement: UsageStatement| (statement.chain.clone(), statement)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bytes: results.len()
                + receipts.len()
                + undelivered.len()
                + statements.len() * room::MAX_STATEMENT_BYTES,
            records,
            receipts: text::lines("receipts", receipts).collect::<Result<_, _>>()?,
            undelivered: text::lines("undelivered", undelivered).collect::<Result<_, _>>()?,
            statements,
        })
    }

    /// The texts to store.
    pub fn render(&self) -> LandedText {
        LandedText {
            results: text::jsonl(self.records()),
            receipts: text::jsonl(&self.receipts),
            undelivered: text::jsonl(&self.undelivered),
            statements: text::jsonl(self.statements.values()),
        }
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
                receipt,
                statement,
            } => {
                chain
                    .push(&receipt)
                    .map_err(|source| LandingError::Receipt { position, source })?;
                if receipt.request != index {
                    return Err(LandingError::Mismatch {
                        position,
                        what: "request",
                    });
                }
                if let Some(what) = terms.disagreement(&receipt) {
                    return Err(LandingError::Disagreed { position, what });
                }
                if receipt.result != Sha256Digest::of(body.as_bytes()) {
                    return Err(LandingError::Mismatch {
                        position,
                        what: "body",
                    });
                }
                Self::check_statement(position, chain, &statement)?;
                let answer = Answer {
                    position,
                    index,
                    body,
                    receipt: *receipt,
                };
                let accepted = self.add_answer(answer, terms)?;
                if accepted.is_news() {
                    self.statements.insert(statement.chain.clone(), *statement);
                }
                Ok(accepted)
            }
            Outcome::Failed { code, .. } if code.is_retryable() => Ok(Accepted::Retryable),
            Outcome::Failed { code, message } => {
                if self.has(index) {
                    return Ok(Accepted::Known);
                }
                self.add_record(ResultRecord::failed(index, custom_id, code, &message));
                Ok(Accepted::Landed)
            }
        }
    }

    fn check_statement(
        position: u32,
        chain: &ReceiptChain,
        statement: &UsageStatement,
    ) -> Result<(), LandingError> {
        let says = (
            &statement.chain,
            statement.count,
            statement.usage,
            statement.nano,
            statement.head,
        );
        if says
            != (
                chain.id(),
                chain.count(),
                chain.usage(),
                chain.nano(),
                chain.head(),
            )
        {
            return Err(LandingError::Mismatch {
                position,
                what: "statement",
            });
        }
        statement
            .verify()
            .map_err(|source| LandingError::Receipt { position, source })
    }

    fn add_answer(&mut self, answer: Answer, terms: &Terms) -> Result<Accepted, LandingError> {
        let Answer {
            position,
            index,
            body,
            receipt,
        } = answer;
        if self.is_known(position, &receipt)? {
            return Ok(Accepted::Known);
        }
        let receipt_bytes = room::receipt_bytes(&receipt, !self.has_chain(&receipt.chain));
        if self.has(index) {
            if !self.has_room(receipt_bytes, index, terms) {
                return Err(LandingError::Full { position });
            }
            self.bytes += receipt_bytes;
            self.undelivered.push(receipt);
            return Ok(Accepted::Undelivered);
        }
        let length = body.len();
        let body = RawValue::from_string(body).map_err(|error| LandingError::Body {
            position,
            source: Fault::of(&error),
        })?;
        let name = terms.name(index).unwrap_or_default().to_owned();
        let record = ResultRecord::answered(index, name.clone(), body);
        let refusal = if self.exceeds(&receipt, terms)? {
            Some(refuse_beyond_budget())
        } else if !self.has_room(receipt_bytes + room::record_bytes(&record), index, terms) {
            Some(refuse_too_large(length))
        } else {
            None
        };
        self.bytes += receipt_bytes;
        if let Some((code, message)) = refusal {
            self.add_record(ResultRecord::failed(index, name, code, &message));
            self.undelivered.push(receipt);
            return Ok(Accepted::Undelivered);
        }
        self.add_record(record);
        self.receipts.push(receipt);
        Ok(Accepted::Landed)
    }

    /// Whether the job would cost more than it may. An agent keeps within the budget by itself; that none is billed who does
    /// not, is seen to here.
    fn exceeds(&self, receipt: &Receipt, terms: &Terms) -> Result<bool, UnitError> {
        let Some(budget) = terms.budget else {
            return Ok(false);
        };
        Ok(self.nano()?.checked_add(receipt.nano)? > budget)
    }

    /// Whether this receipt is stored. An agent that signs two different ones for one place of its chain, or delivers one
    /// request twice in an attempt, breaks the protocol.
    fn is_known(&self, position: u32, receipt: &Receipt) -> Result<bool, LandingError> {
        let of_chain = self
            .receipts
            .iter()
            .chain(&self.undelivered)
            .filter(|stored| stored.chain == receipt.chain);
        for stored in of_chain {
            if stored == receipt {
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

    fn add_record(&mut self, record: ResultRecord) {
        self.bytes += room::record_bytes(&record);
        self.records.insert(record.index, Arc::new(record));
    }

    /// Whether so many bytes can be added for request `index`, and every request that has not ended can still end.
    fn has_room(&self, bytes: usize, index: u32, terms: &Terms) -> bool {
        let open = (0..)
            .zip(&terms.custom_ids)
            .filter(|(other, _)| *other != index && !self.records.contains_key(other));
        let reserved: usize = open.map(|(_, name)| room::to_end(name)).sum();
        self.bytes + bytes + reserved <= MAX_LANDED_BYTES
    }

    /// Whether a receipt of this chain is stored.
    pub fn has_chain(&self, chain: &ChainId) -> bool {
        self.statements.contains_key(chain)
    }

    /// Whether the request has ended.
    pub fn has(&self, index: u32) -> bool {
        self.records.contains_key(&index)
    }

    /// Requests that were answered.
    pub fn succeeded(&self) -> u32 {
        count(self.records.values().filter(|record| record.response.is_some()))
    }

    /// Requests that failed for good.
    pub fn failed(&self) -> u32 {
        count(self.records.values().filter(|record| record.error.is_some()))
    }

    /// The first request that failed, and why. What the agent said about it stays with the results.
    pub fn first_failure(&self) -> Option<(u32, FailureCode)> {
        self.records
            .values()
            .find_map(|record| Some((record.index, record.error.as_ref()?.code)))
    }

    /// Whether a request failed with this code.
    pub fn has_failure(&self, code: FailureCode) -> bool {
        self.records
            .values()
            .any(|record| record.error.as_ref().is_some_and(|error| error.code == code))
    }

    /// Receipts of delivered results, in the order of landing: what is billed.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Receipts of results that were not delivered: nobody pays for them.
    pub fn undelivered(&self) -> &[Receipt] {
        &self.undelivered
    }

    /// Results by index.
    pub fn records(&self) -> impl Iterator<Item = &ResultRecord> {
        self.records.values().map(AsRef::as_ref)
    }

    /// Tokens of delivered results.
    pub fn usage(&self) -> Result<Usage, UnitError> {
        self.receipts
            .iter()
            .try_fold(Usage::default(), |sum, receipt| sum.checked_add(receipt.usage))
    }

    /// `NanoTON` of delivered results.
    pub fn nano(&self) -> Result<NanoTon, UnitError> {
        NanoTon::sum(self.receipts.iter().map(|receipt| receipt.nano))
    }

    /// Digest over the receipts of delivered results.
    pub fn root(&self) -> Sha256Digest {
        receipts_root(&self.receipts)
    }

    /// What the receipts add to the ledger of a channel, one counter for each chain. Only receipts of delivered
    /// results count, whatever the agent's statement sums up.
    pub fn counters(&self, name: &str) -> Result<Vec<Counter>, UnitError> {
        let mut counters: BTreeMap<&ChainId, Counter> = BTreeMap::new();
        for receipt in self
            .receipts
            .iter()
            .filter(|receipt| receipt.chain.channel.is_some())
        {
            let counter = counters.entry(&receipt.chain).or_insert_with(|| Counter {
                agent: receipt.chain.agent.to_string(),
                job: receipt.chain.job.clone(),
                name: name.to_owned(),
                attempt: receipt.chain.attempt,
                count: 0,
                usage: Usage::default(),
                nano: NanoTon::ZERO,
                head: String::new(),
            });
            counter.count += 1;
            counter.usage = counter.usage.checked_add(receipt.usage)?;
            counter.nano = counter.nano.checked_add(receipt.nano)?;
            counter.head = receipt.digest().to_string();
        }
        Ok(counters.into_values().collect())
    }
}

/// An answer whose receipt continues its chain.
struct Answer {
    position: u32,
    index: u32,
    body: String,
    receipt: Receipt,
}

fn refuse_too_large(length: usize) -> (FailureCode, String) {
    let message = format!(
        "the answer of {length} bytes does not fit beside the other results of the job, {MAX_LANDED_BYTES} bytes in all: \
         split the job into several or lower max_tokens; this request is free"
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
