//! What has landed of a job: its results, and beside them the receipts that bill them.
//!
//! Both live in one Secret and are written together, so a request is billed if and only if its result was
//! delivered. What arrives twice, from the same attempt or from another, changes nothing.

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon, Usage,
    agent::{FailureCode, Outcome, ResultLine},
    crd::channel::Counter,
    receipt::{ChainId, Receipt, ReceiptChain, ReceiptError, Sha256Digest, UsageStatement, receipts_root},
    units::UnitError,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of results and receipts at most. A Secret holds 1 MiB; what surrounds the data and its base64 in
/// transit needs the rest.
pub const MAX_LANDED_BYTES: usize = 900 * 1024;

/// How one request ended, as it is stored: one line of `results.jsonl`, in the format of `OpenAI` batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Index in the job's input.
    pub index: u32,
    /// The name that the user gave the request.
    pub custom_id: String,
    /// The answer.
    pub response: Option<ResponseRecord>,
    /// Or the failure.
    pub error: Option<ErrorRecord>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResponseRecord {
    /// Always 200.
    pub status_code: u16,
    /// The body exactly as delivered: its digest is in the receipt.
    pub body: Box<RawValue>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

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

/// What a line did to the landing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Added.
    Landed,
    /// Known already.
    Known,
    /// A failure that another attempt may mend; not stored.
    Retryable,
}

/// Everything that has landed of one job.
#[derive(Debug, Clone, Default)]
pub struct Landing {
    records: BTreeMap<u32, ResultRecord>,
    receipts: Vec<Receipt>,
    statements: BTreeMap<ChainId, UsageStatement>,
    bytes: usize,
}

/// The texts of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandedText {
    /// One result a line, by index.
    pub results: String,
    /// One receipt a line, in the order of landing.
    pub receipts: String,
    /// The latest statement of each chain.
    pub statements: String,
}

impl Landing {
    /// Reads what was stored.
    pub fn parse(results: &str, receipts: &str, statements: &str) -> Result<Self, LandingError> {
        let mut landing = Self::default();
        for record in lines::<ResultRecord>("results", results) {
            let record = record?;
            landing.records.insert(record.index, record);
        }
        landing.receipts = lines("receipts", receipts).collect::<Result<_, _>>()?;
        for statement in lines::<UsageStatement>("statements", statements) {
            let statement = statement?;
            landing.statements.insert(statement.chain.clone(), statement);
        }
        landing.bytes = results.len() + receipts.len();
        Ok(landing)
    }

    /// Verifies the next line of an attempt against its chain and adds it. `custom_ids` names the requests.
    pub fn accept(
        &mut self,
        chain: &mut ReceiptChain,
        line: ResultLine,
        custom_ids: &[String],
    ) -> Result<Accepted, LandingError> {
        let ResultLine {
            position,
            index,
            outcome,
        } = line;
        let custom_id = usize::try_from(index)
            .ok()
            .and_then(|index| custom_ids.get(index))
            .ok_or(LandingError::Index { position, index })?
            .clone();
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
                if receipt.result != Sha256Digest::of(body.as_bytes()) {
                    return Err(LandingError::Mismatch {
                        position,
                        what: "body",
                    });
                }
                Self::check_statement(position, chain, &statement)?;
                self.add_answer(position, index, custom_id, body, *receipt, *statement)
            }
            Outcome::Failed { code, .. } if code.is_retryable() => Ok(Accepted::Retryable),
            Outcome::Failed { code, message } => {
                Ok(self.add_failure(index, custom_id, ErrorRecord { code, message }))
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

    fn add_answer(
        &mut self,
        position: u32,
        index: u32,
        custom_id: String,
        body: String,
        receipt: Receipt,
        statement: UsageStatement,
    ) -> Result<Accepted, LandingError> {
        if self.records.contains_key(&index) {
            return Ok(Accepted::Known);
        }
        let size = body.len() + serde_json::to_string(&receipt).map_or(0, |text| text.len());
        if self.bytes + size > MAX_LANDED_BYTES {
            let message =
                format!("the results of the job exceed {MAX_LANDED_BYTES} bytes: split it into several jobs");
            return Ok(self.add_failure(
                index,
                custom_id,
                ErrorRecord {
                    code: FailureCode::InvalidRequest,
                    message,
                },
            ));
        }
        let body = RawValue::from_string(body).map_err(|source| LandingError::Body { position, source })?;
        let response = Some(ResponseRecord {
            status_code: 200,
            body,
        });
        self.records.insert(
            index,
            ResultRecord {
                index,
                custom_id,
                response,
                error: None,
            },
        );
        self.receipts.push(receipt);
        self.statements.insert(statement.chain.clone(), statement);
        self.bytes += size;
        Ok(Accepted::Landed)
    }

    fn add_failure(&mut self, index: u32, custom_id: String, error: ErrorRecord) -> Accepted {
        if self.records.contains_key(&index) {
            return Accepted::Known;
        }
        self.records.insert(
            index,
            ResultRecord {
                index,
                custom_id,
                response: None,
                error: Some(error),
            },
        );
        Accepted::Landed
    }

    /// The texts to store.
    pub fn render(&self) -> LandedText {
        LandedText {
            results: jsonl(self.records.values()),
            receipts: jsonl(&self.receipts),
            statements: jsonl(self.statements.values()),
        }
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

    /// The first failure, for a message.
    pub fn first_failure(&self) -> Option<(&str, &ErrorRecord)> {
        self.records
            .values()
            .find_map(|record| Some((record.custom_id.as_str(), record.error.as_ref()?)))
    }

    /// Whether a request failed with this code.
    pub fn has_failure(&self, code: FailureCode) -> bool {
        self.records
            .values()
            .any(|record| record.error.as_ref().is_some_and(|error| error.code == code))
    }

    /// Receipts in the order of landing.
    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Results by index.
    pub fn records(&self) -> impl Iterator<Item = &ResultRecord> {
        self.records.values()
    }

    /// Tokens of all receipts.
    pub fn usage(&self) -> Result<Usage, UnitError> {
        self.receipts
            .iter()
            .try_fold(Usage::default(), |sum, receipt| sum.checked_add(receipt.usage))
    }

    /// `NanoTON` of all receipts.
    pub fn nano(&self) -> Result<NanoTon, UnitError> {
        NanoTon::sum(self.receipts.iter().map(|receipt| receipt.nano))
    }

    /// Digest over all receipts.
    pub fn root(&self) -> Sha256Digest {
        receipts_root(&self.receipts)
    }

    /// What the receipts add to the ledger of a channel, one counter for each chain. Only landed receipts count,
    /// whatever the agent's statement sums up.
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

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn lines<'a, T: Deserialize<'a>>(
    what: &'static str,
    text: &'a str,
) -> impl Iterator<Item = Result<T, LandingError>> {
    text.lines().enumerate().map(move |(index, line)| {
        serde_json::from_str(line).map_err(|source| LandingError::Stored {
            what,
            line: index + 1,
            source,
        })
    })
}

fn jsonl<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(&item).expect("records are JSON"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
