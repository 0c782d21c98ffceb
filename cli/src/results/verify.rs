//! Checks every receipt of a job: the agent's signature and chain, price times tokens, the model, prices and requests
//! that were agreed, the very bytes of the answer, and the tokens that are billed, by their number and by the root over
//! them.
//!
//! An agent's key is believed where the provider's wallet signed for it: the key and its certificate are in the job's
//! status.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cocoon_api::{
    NanoTon, Prices, Subject,
    crd::{
        InferenceJob,
        job::{Assignment, BillingMode},
    },
    receipt::{Receipt, ReceiptChain, ReceiptError, Sha256Digest, receipts_root},
};
use cocoon_core::job::certificate;
use cocoon_ton::Address;

use super::records::Delivered;

/// What the receipts of a job must say.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// UID of the job.
    job: String,
    /// Whether a channel pays.
    is_paid: bool,
    /// Address of the channel's contract, where it is known.
    contract: Option<String>,
    /// Keys of the agents that worked on it, with the attempt.
    agents: BTreeSet<(u32, String)>,
    /// What is wrong with the certificates of agents, by attempt.
    uncertified: BTreeMap<u32, String>,
    /// What was agreed when the job was accepted.
    agreed: Option<Agreed>,
    /// SHA-256 of the bodies of the job's input by index, where that can still be read.
    requests: BTreeMap<u32, Sha256Digest>,
    /// What the job cost, once it has ended.
    cost: Option<NanoTon>,
    /// Digest over all receipts, once it has ended.
    root: Option<String>,
}

/// What was agreed when the job was accepted.
#[derive(Debug, Clone)]
struct Agreed {
    /// SHA-256 of the model's file, as hexadecimal digits.
    model: String,
    prices: Prices,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A receipt does not verify.
    Receipt { request: u32, why: String },
    /// Nobody who is paid answers for an agent.
    Agent { attempt: u32, why: String },
    /// An answer has no receipt.
    Unbilled { custom_id: String },
    /// A page of results is gone or changed.
    Page(String),
    /// The sums of the receipts are not the job's.
    Sum {
        what: &'static str,
        receipts: String,
        job: String,
    },
}

/// The outcome.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Receipts with no fault.
    pub verified: usize,
    pub faults: Vec<Fault>,
}

impl Expectations {
    /// What the job's object says; `contract` is the address in its channel, where that still exists, `wallet` that of
    /// the provider, where that does, and `requests` are the digests of the bodies of its input, where that can be
    /// read.
    pub fn of(
        job: &InferenceJob,
        contract: Option<String>,
        wallet: Option<&Address>,
        requests: BTreeMap<u32, Sha256Digest>,
    ) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let has_ended = status.receipts_root.is_some();
        let is_paid = job.spec.billing.mode == BillingMode::Channel;
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let uncertified = |wallet: &Address| {
            let refused = |assignment: &Assignment| {
                let why = certificate::verify(assignment, namespace, wallet).err()?;
                Some((assignment.attempt, why.to_string()))
            };
            status.assignments.iter().filter_map(refused).collect()
        };
        Self {
            job: job.metadata.uid.clone().unwrap_or_default(),
            is_paid,
            uncertified: wallet.filter(|_| is_paid).map(uncertified).unwrap_or_default(),
            contract,
            requests,
            agreed: status.agreed.map(|agreed| Agreed {
                model: agreed.model_sha256,
                prices: agreed.prices,
            }),
            agents: status
                .assignments
                .iter()
                .map(|assignment| (assignment.attempt, assignment.agent.clone()))
                .collect(),
            cost: has_ended.then_some(status.cost.spent_nano),
            root: status.receipts_root,
        }
    }
}

/// Verifies everything and names all that does not fit.
pub fn verify(delivered: &Delivered, expected: &Expectations) -> Verdict {
    let (mut verified, mut faults) = (0, Vec::new());
    let mut chains = BTreeMap::new();
    let mut billed = BTreeSet::new();
    for Signed { receipt, is_billed } in in_order(delivered) {
        let chain = chains
            .entry(&receipt.chain)
            .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()));
        let checked = continues(chain, receipt)
            .and_then(|()| belongs(receipt, expected))
            .and_then(|()| is_as_agreed(receipt, expected))
            .and_then(|()| {
                if is_billed {
                    covers(receipt, delivered)
                        .and_then(|()| counts(receipt, delivered))
                        .and_then(|()| bill(receipt, &mut billed))
                } else {
                    is_free(receipt, delivered)
                }
            });
        match checked {
            Ok(()) => verified += usize::from(is_billed),
            Err(why) => faults.push(Fault::Receipt {
                request: receipt.request,
                why,
            }),
        }
    }
    let receipted: BTreeSet<u32> = delivered.receipts.iter().map(|receipt| receipt.request).collect();
    for record in delivered
        .records
        .iter()
        .filter(|record| record.response.is_some())
    {
        if !receipted.contains(&record.index) {
            faults.push(Fault::Unbilled {
                custom_id: record.custom_id.clone(),
            });
        }
    }
    let signed: BTreeSet<u32> = delivered
        .receipts
        .iter()
        .filter_map(|receipt| receipt.chain.subject.attempt())
        .collect();
    for (&attempt, why) in expected
        .uncertified
        .iter()
        .filter(|(attempt, _)| signed.contains(attempt))
    {
        let why = why.clone();
        faults.push(Fault::Agent { attempt, why });
    }
    faults.extend(sums(&delivered.receipts, expected));
    Verdict { verified, faults }
}

/// A receipt as it is stored.
struct Signed<'a> {
    receipt: &'a Receipt,
    is_billed: bool,
}

/// All receipts in the order of their chains, to which those of answers that were not delivered belong as well.
fn in_order(delivered: &Delivered) -> Vec<Signed<'_>> {
    let signed = |is_billed| move |receipt| Signed { receipt, is_billed };
    let billed = delivered.receipts.iter().map(signed(true));
    let free = delivered.undelivered.iter().map(signed(false));
    let mut all: Vec<Signed<'_>> = billed.chain(free).collect();
    all.sort_by_key(|signed| (&signed.receipt.chain, signed.receipt.sequence));
    all
}

/// Signature, place in the chain, and price times tokens.
fn continues(chain: &mut ReceiptChain, receipt: &Receipt) -> Result<(), String> {
    chain.push(receipt).map_err(|error| match error {
        ReceiptError::Signature => "the agent did not sign it".to_owned(),
        other => other.to_string(),
    })
}

fn belongs(receipt: &Receipt, expected: &Expectations) -> Result<(), String> {
    let chain = &receipt.chain;
    let attempt = match &chain.subject {
        Subject::Job { uid, attempt } if *uid == expected.job => *attempt,
        Subject::Job { .. } => return Err("it is of another job".to_owned()),
        Subject::Session { .. } => return Err("it is of a session".to_owned()),
    };
    if !expected.agents.contains(&(attempt, chain.agent.to_string())) {
        return Err(format!(
            "no agent with the key {} worked on attempt {attempt}",
            chain.agent
        ));
    }
    match (&chain.channel, expected.is_paid, &expected.contract) {
        (None, true, _) => Err("it bills no channel".to_owned()),
        (Some(channel), false, _) => Err(format!("it bills the channel {channel} for a free job")),
        (Some(channel), true, Some(contract)) if channel != contract => {
            Err(format!("it bills another channel, {channel}"))
        }
        _ => Ok(()),
    }
}

/// Model, price and request are those that were agreed on: a receipt is not only checked against itself.
fn is_as_agreed(receipt: &Receipt, expected: &Expectations) -> Result<(), String> {
    let Some(agreed) = &expected.agreed else {
        return Err("the job says nothing of what was agreed".to_owned());
    };
    if receipt.model.to_string() != agreed.model {
        return Err("its model is not the one that was agreed".to_owned());
    }
    if receipt.prices != agreed.prices {
        return Err("its price is not the one that was agreed".to_owned());
    }
    match expected.requests.get(&receipt.request) {
        Some(body) if *body != receipt.request_sha256 => {
            Err("it is of another request than the job's input has".to_owned())
        }
        _ => Ok(()),
    }
}

fn covers(receipt: &Receipt, delivered: &Delivered) -> Result<(), String> {
    let record = delivered
        .records
        .iter()
        .find(|record| record.index == receipt.request);
    let Some(response) = record.and_then(|record| record.response.as_ref()) else {
        return Err("its request has no answer".to_owned());
    };
    if receipt.result != Sha256Digest::of(response.body.get().as_bytes()) {
        return Err("the answer is not the one that was delivered".to_owned());
    }
    Ok(())
}

/// The tokens that came with the answer are those that the receipt bills and names the root of.
fn counts(receipt: &Receipt, delivered: &Delivered) -> Result<(), String> {
    let Some(tokens) = delivered.tokens.get(&receipt.request) else {
        return Err("the tokens that it bills are not kept with the answer".to_owned());
    };
    let checked = tokens.check(receipt.tokens_root, &receipt.usage);
    checked.map_err(|error| error.to_string())
}

fn bill(receipt: &Receipt, billed: &mut BTreeSet<u32>) -> Result<(), String> {
    if billed.insert(receipt.request) {
        Ok(())
    } else {
        Err("the request is billed twice".to_owned())
    }
}

/// An answer that was not delivered is not among the results: its request failed, or another agent's answer is there.
fn is_free(receipt: &Receipt, delivered: &Delivered) -> Result<(), String> {
    let is_billed = |billed: &Receipt| billed.chain == receipt.chain && billed.request == receipt.request;
    if delivered.receipts.iter().any(is_billed) {
        return Err("it is billed and said to be free".to_owned());
    }
    if delivered
        .records
        .iter()
        .any(|record| record.index == receipt.request)
    {
        Ok(())
    } else {
        Err("it is of an answer that was not delivered, and its request has no result".to_owned())
    }
}

fn sums(receipts: &[Receipt], expected: &Expectations) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut compare = |what, receipts: String, job: Option<String>| {
        if let Some(job) = job.filter(|job| *job != receipts) {
            faults.push(Fault::Sum { what, receipts, job });
        }
    };
    let total = NanoTon::sum(receipts.iter().map(|receipt| receipt.nano));
    let total = total.map_or_else(|error| error.to_string(), |total| total.to_string());
    compare("nanoTON", total, expected.cost.map(|cost| cost.to_string()));
    compare(
        "digest of all receipts",
        receipts_root(receipts).to_string(),
        expected.root.clone(),
    );
    faults
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receipt { request, why } => write!(f, "receipt of request {request}: {why}"),
            Self::Agent { attempt, why } => write!(f, "agent of attempt {attempt}: {why}"),
            Self::Page(what) => f.write_str(what),
            Self::Unbilled { custom_id } => write!(f, "answer {custom_id:?}: it has no receipt"),
            Self::Sum { what, receipts, job } => {
                write!(f, "{what}: the receipts say {receipts}, the job says {job}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
