//! A ledger from what is left of it: the receipts that were kept, the payer's vouchers, and what the contract redeemed.
//!
//! A restored backup knows less than the contract paid for. Receipts prove what was delivered meanwhile. Of a job that
//! has not ended nothing is booked: it hands over its usage by itself, and what it was paid for work that is lost
//! counts as paid when it does that work again. Jobs that are gone or finished hand over nothing, so that their
//! receipts are booked.
//!
//! Wanted properties, each a test:
//! - no request is counted twice, whoever answered it;
//! - what is booked makes the payer owe no more than was delivered: above `redeemed` only what no sum can hold already;
//! - a `redeemed` that receipts do not explain is refused, with the amount that is missing.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use cocoon_api::{
    Bill, NanoTon, Subject,
    conditions::{self, Reason as _, Settled},
    crd::{InferenceJob, PaymentChannelStatus, provider::Rebuilt},
    receipt::{AgentKey, Receipt, ReceiptError},
    units::UnitError,
};

/// Where the job or session of a receipt stands toward a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not ended, or the ledger holds entries of it: it may come to this much.
    Open(NanoTon),
    /// It handed over all that it used: the ledger's sum of finished jobs should hold it.
    Finished,
    /// Another object of the channel's name held its budget.
    Elsewhere,
    /// It is gone, and the ledger holds no entry of it.
    Gone,
}

/// What the receipts of one subject on one agent add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is billed.
    pub subject: Subject,
    /// The agent's key.
    pub agent: AgentKey,
    /// How many receipts.
    pub receipts: u32,
    /// What they cost.
    pub nano: NanoTon,
    /// Where its job or session stands.
    pub standing: Standing,
}

/// What receipts prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// By subject and agent.
    pub rows: Vec<Row>,
    /// For the provider's ruling.
    pub rebuilt: Rebuilt,
    /// What the ledger says was metered, before.
    pub metered: NanoTon,
    /// What is added to that.
    pub added: NanoTon,
}

/// Why a ledger cannot be rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The ledger explains everything.
    #[error(
        "the ledger explains all of the {redeemed} nanoTON that were redeemed: there is nothing to rebuild"
    )]
    UpToDate {
        /// What the contract shows.
        redeemed: NanoTon,
    },
    /// No voucher of the payer allows as much as was redeemed.
    #[error(
        "{redeemed} nanoTON were redeemed, and the payer's vouchers allow {cap} at most: the endpoint is wrong"
    )]
    BeyondVouchers {
        /// What the contract is said to show.
        redeemed: NanoTon,
        /// The highest verified cap.
        cap: NanoTon,
    },
    /// A receipt is not believed.
    #[error("receipt {sequence} of {subject}: {source}")]
    Receipt {
        /// What it bills.
        subject: Subject,
        /// Its place in the chain.
        sequence: u32,
        /// Why.
        source: ReceiptError,
    },
    /// Nobody answers for the agent.
    #[error(
        "receipts of {bill} are signed by {agent}, which is no agent of this provider as far as anything says"
    )]
    UnknownAgent {
        /// What they bill.
        bill: Bill,
        /// The key.
        agent: AgentKey,
    },
    /// One place of a chain has two receipts.
    #[error("agent {agent} signed two receipts {sequence} in {subject}")]
    Forked {
        /// What they bill.
        subject: Subject,
        /// The key.
        agent: AgentKey,
        /// The place.
        sequence: u32,
    },
    /// The receipts do not account for what was redeemed.
    #[error(
        "{redeemed} nanoTON were redeemed, and ledger and receipts account for {explained}: {missing} are missing; give more \
         receipts, or let the provider acknowledge what was redeemed",
        missing = redeemed.saturating_sub(*explained)
    )]
    Short {
        /// What the contract shows.
        redeemed: NanoTon,
        /// What is accounted for.
        explained: NanoTon,
    },
    /// An amount left its range.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// What a ledger is rebuilt from.
#[derive(Debug, Clone, Copy)]
pub struct Remains<'a> {
    /// The ledger as it is, with the payer's kept vouchers.
    pub ledger: &'a PaymentChannelStatus,
    /// UID of its object.
    pub channel_uid: &'a str,
    /// Address of the contract, as the channel's specification gives it.
    pub contract: &'a str,
    /// The jobs that are there, by UID.
    pub jobs: &'a BTreeMap<String, InferenceJob>,
    /// Keys of agents that are known to be the provider's.
    pub agents: &'a BTreeSet<AgentKey>,
    /// Receipts of delivered answers, in any order and as often as they were found; those of other contracts are passed
    /// over.
    pub receipts: &'a [Receipt],
    /// What the contract shows.
    pub redeemed: NanoTon,
}

/// Proves what the ledger lost.
pub fn prove(remains: &Remains<'_>) -> Result<Proof, Refusal> {
    let &Remains { ledger, redeemed, .. } = remains;
    if ledger.unexplained_nano.is_none() && redeemed <= ledger.claimed_nano {
        return Err(Refusal::UpToDate { redeemed });
    }
    let caps = ledger.vouchers.iter().map(|voucher| voucher.cap_nano);
    let cap = caps.fold(ledger.cap_nano, NanoTon::max);
    if redeemed > cap.max(ledger.claimed_nano) {
        return Err(Refusal::BeyondVouchers { redeemed, cap });
    }
    let rows = rows(remains)?;
    let sum = |standing| {
        let of_standing = rows.iter().filter(|row| row.standing == standing);
        NanoTon::sum(of_standing.map(|row| row.nano))
    };
    let rebuilt = Rebuilt {
        redeemed_nano: redeemed,
        finished_nano: sum(Standing::Finished)?,
        gone_nano: sum(Standing::Gone)?,
        open_nano: open(&rows, ledger)?,
    };
    let added = explain(ledger, rebuilt, redeemed)??;
    Ok(Proof {
        rows,
        rebuilt,
        metered: super::accrued(&at(ledger, redeemed))?,
        added,
    })
}

/// What is booked as finished where `rebuilt` explains what the contract shows.
pub fn explain(
    ledger: &PaymentChannelStatus,
    rebuilt: Rebuilt,
    redeemed: NanoTon,
) -> Result<Result<NanoTon, Refusal>, UnitError> {
    let Rebuilt {
        redeemed_nano,
        finished_nano,
        gone_nano,
        open_nano,
    } = rebuilt;
    let ledger = at(ledger, redeemed);
    let accrued = super::accrued(&ledger)?;
    // The ledger's sum may hold these jobs, or some. So they count only as far as it cannot hold them, and beyond that
    // as far as they were paid: what it does not hold of finished ones, and all of those that are gone.
    let surely = finished_nano
        .checked_add(gone_nano)?
        .saturating_sub(ledger.finished_nano);
    let own = ledger.finished_nano.saturating_sub(ledger.earlier_nano);
    let most = finished_nano.saturating_sub(own).checked_add(gone_nano)?;
    let added = redeemed.saturating_sub(accrued).clamp(surely, most);
    let explained = accrued.checked_add(added)?.checked_add(open_nano)?;
    if redeemed > redeemed_nano || redeemed > explained {
        return Ok(Err(Refusal::Short { redeemed, explained }));
    }
    Ok(Ok(added))
}

/// The ledger when the contract shows this.
fn at(ledger: &PaymentChannelStatus, redeemed: NanoTon) -> PaymentChannelStatus {
    PaymentChannelStatus {
        redeemed_nano: redeemed,
        ..ledger.clone()
    }
}

/// Where a job or session stands. Of a session there is no object: one that left the ledger is gone.
fn standing(bill: &Bill, remains: &Remains<'_>) -> Result<Standing, UnitError> {
    let Remains { ledger, .. } = remains;
    if super::holds(ledger, bill) {
        let (held, used) = (super::reserved(ledger, bill), super::used(ledger, bill)?);
        return Ok(Standing::Open(held.unwrap_or_default().max(used)));
    }
    let Some(job) = bill.job_uid().and_then(|uid| remains.jobs.get(uid)) else {
        return Ok(Standing::Gone);
    };
    let status = job.status.clone().unwrap_or_default();
    if status
        .channel_uid
        .is_some_and(|channel| channel != remains.channel_uid)
    {
        return Ok(Standing::Elsewhere);
    }
    let is_over = status.metered || conditions::is_true(&status.conditions, Settled::TYPE);
    Ok(if is_over {
        Standing::Finished
    } else {
        Standing::Open(job.spec.billing.max_nano.unwrap_or_default())
    })
}

/// The believable receipts of this contract, each request of a job or session once.
fn rows(remains: &Remains<'_>) -> Result<Vec<Row>, Refusal> {
    let mut places = BTreeMap::new();
    for receipt in remains.receipts {
        let chain = &receipt.chain;
        if chain.channel.as_deref() != Some(remains.contract) {
            continue;
        }
        receipt.verify().map_err(|source| Refusal::Receipt {
            subject: chain.subject.clone(),
            sequence: receipt.sequence,
            source,
        })?;
        if !remains.agents.contains(&chain.agent) {
            return Err(Refusal::UnknownAgent {
                bill: chain.subject.bill(),
                agent: chain.agent,
            });
        }
        let place = (&chain.subject, chain.agent, receipt.sequence);
        if places
            .insert(place, receipt)
            .is_some_and(|other| other.digest() != receipt.digest())
        {
            return Err(Refusal::Forked {
                subject: chain.subject.clone(),
                agent: chain.agent,
                sequence: receipt.sequence,
            });
        }
    }
    let mut requests = BTreeSet::new();
    let mut rows: BTreeMap<(&Subject, AgentKey), Row> = BTreeMap::new();
    for receipt in places.into_values() {
        let chain = &receipt.chain;
        let bill = chain.subject.bill();
        if !requests.insert((bill.clone(), receipt.request)) {
            continue;
        }
        let row = match rows.entry((&chain.subject, chain.agent)) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(place) => place.insert(Row {
                subject: chain.subject.clone(),
                agent: chain.agent,
                receipts: 0,
                nano: NanoTon::ZERO,
                standing: standing(&bill, remains)?,
            }),
        };
        row.receipts += 1;
        row.nano = row.nano.checked_add(receipt.nano)?;
    }
    Ok(rows.into_values().collect())
}

/// What jobs and sessions that may still hand over usage were worth beyond what the ledger counts of them, within what
/// they may come to.
fn open(rows: &[Row], ledger: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    let mut sum = NanoTon::ZERO;
    for of_bill in rows.chunk_by(|a, b| a.subject.bill() == b.subject.bill()) {
        let [
            Row {
                subject, standing, ..
            },
            ..,
        ] = of_bill
        else {
            continue;
        };
        if let Standing::Open(most) = *standing {
            let proven = NanoTon::sum(of_bill.iter().map(|row| row.nano))?;
            let beyond = proven
                .min(most)
                .saturating_sub(super::used(ledger, &subject.bill())?);
            sum = sum.checked_add(beyond)?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
