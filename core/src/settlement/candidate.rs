//! A channel as settlement sees it: what can be claimed, and how much it hurries.

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon, Subject,
    crd::{
        FullName, PaymentChannel, PaymentChannelStatus,
        channel::{ChannelState, Counter, MAX_LEDGER_ENTRIES},
        settlement::{CoveredJob, Redeem},
    },
    receipt::Sha256Digest,
    units::UnitError,
};

use crate::{funds, ledger};

/// A voucher this close to its end is redeemed early: five times the 120 s that one settlement may take.
const VOUCHER_MARGIN_SECONDS: i64 = 600;

/// Smallest step that the contract takes; `MIN_STEP` in `contracts/fees.tolk`.
const MIN_STEP: u64 = 1_000;

/// Why a channel does not wait for threshold, age and fee ratio. The most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The payer is closing it.
    Closing,
    /// Its object, or the provider's, is being deleted.
    Leaving,
    /// Its voucher runs out.
    VoucherExpiring,
    /// Its ledger fills up.
    LedgerFilling,
}

/// A channel with something to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The channel as the provider's namespace names it.
    pub name: String,
    /// UID of its object.
    pub uid: String,
    /// Address of its contract, as its specification gives it.
    pub contract_address: String,
    /// What is claimed in all.
    pub claim: NanoTon,
    /// What was redeemed before.
    pub redeemed: NanoTon,
    /// When the oldest amount appeared, in Unix seconds.
    pub accruing_since: i64,
    /// Why it does not wait.
    pub urgency: Option<Urgency>,
    /// Unix second at which it is not paid any more.
    pub until: i64,
    /// What the claim commits to: see [`ledger::receipts_root`].
    pub receipts_root: Sha256Digest,
    /// Jobs that the claim covers wholly.
    pub jobs: Vec<CoveredJob>,
}

impl Candidate {
    /// What a channel offers to claim at `now` (Unix seconds of the chain); none where there is nothing, or the
    /// contract would not pay. `provider_leaves` says whether the provider is being deleted.
    pub fn of(channel: &PaymentChannel, provider_leaves: bool, now: i64) -> Result<Option<Self>, UnitError> {
        let Some(status) = &channel.status else {
            return Ok(None);
        };
        if !funds::redeemable(status, now) {
            return Ok(None);
        }
        let accrued = ledger::accrued(status)?;
        let claim = funds::claim(status, now)?;
        let redeemed = status.redeemed_nano;
        if claim.saturating_sub(redeemed).nano() < MIN_STEP {
            return Ok(None);
        }
        let leaves = provider_leaves || channel.metadata.deletion_timestamp.is_some();
        Ok(Some(Self {
            name: FullName::of(channel).seen_from(&pays(channel).namespace),
            uid: channel.metadata.uid.clone().unwrap_or_default(),
            contract_address: channel.spec.contract_address.clone(),
            claim,
            redeemed,
            accruing_since: status.accruing_since.unwrap_or(now),
            urgency: urgency(status, leaves, now),
            until: until(status, now),
            receipts_root: ledger::receipts_root(status),
            jobs: if claim == accrued {
                covered(&status.counters)?
            } else {
                Vec::new()
            },
        }))
    }

    /// What the claim brings.
    pub fn step(&self) -> NanoTon {
        self.claim.saturating_sub(self.redeemed)
    }

    /// The claim as a settlement stores it.
    pub fn redeem(self) -> Redeem {
        let Self {
            name,
            uid,
            contract_address,
            claim,
            redeemed,
            receipts_root,
            jobs,
            accruing_since: _,
            urgency: _,
            until: _,
        } = self;
        let (channel, namespace) = match name.split_once('/') {
            Some((namespace, name)) => (name.to_owned(), Some(namespace.to_owned())),
            None => (name, None),
        };
        Redeem {
            channel,
            namespace,
            channel_uid: uid,
            contract_address,
            cumulative_nano: claim,
            redeemed_before_nano: redeemed,
            receipts_root: Some(receipts_root.to_string()),
            jobs,
        }
    }
}

/// The provider that a channel pays.
pub fn pays(channel: &PaymentChannel) -> FullName {
    let home = channel.metadata.namespace.as_deref().unwrap_or_default();
    channel.spec.provider.full_name(home)
}

/// When voucher or challenge window end.
fn until(status: &PaymentChannelStatus, now: i64) -> i64 {
    let voucher = funds::evidence(status, now).map_or(now, |voucher| i64::from(voucher.valid_until));
    match status.state {
        Some(ChannelState::Closing) => status.challenge_ends_at.map_or(voucher, |end| end.min(voucher)),
        _ => voucher,
    }
}

fn urgency(status: &PaymentChannelStatus, leaves: bool, now: i64) -> Option<Urgency> {
    let expiring = funds::evidence(status, now)
        .is_some_and(|voucher| i64::from(voucher.valid_until) < now.saturating_add(VOUCHER_MARGIN_SECONDS));
    let reasons = [
        (status.state == Some(ChannelState::Closing), Urgency::Closing),
        (leaves, Urgency::Leaving),
        (expiring, Urgency::VoucherExpiring),
        (ledger::is_filling(status), Urgency::LedgerFilling),
    ];
    reasons
        .into_iter()
        .find(|(applies, _)| *applies)
        .map(|(_, urgency)| urgency)
}

/// What each job used over all its agents and attempts, ordered by job: sessions have no object that asks. At most as
/// many jobs as a settlement's schema takes for one channel, which is as many as a ledger takes.
fn covered(counters: &[Counter]) -> Result<Vec<CoveredJob>, UnitError> {
    let mut jobs: BTreeMap<&str, CoveredJob> = BTreeMap::new();
    for counter in counters {
        let Subject::Job { uid, .. } = &counter.subject else {
            continue;
        };
        let job = jobs.entry(uid).or_insert_with(|| CoveredJob {
            name: counter.name.clone(),
            uid: uid.clone(),
            nano: NanoTon::ZERO,
        });
        job.nano = job.nano.checked_add(counter.nano)?;
    }
    Ok(jobs.into_values().take(MAX_LEDGER_ENTRIES).collect())
}
