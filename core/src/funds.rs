//! What a channel is worth: from what the chain shows of its contract and what its voucher allows to figures
//! and conditions.
//!
//! Wanted properties, each a test:
//! - `redeemed` never falls: an endpoint that shows less than was seen before lags or lies, and is not believed;
//! - a figure of the chain changes only with a believed look at the chain;
//! - `Ready` is true only if a job's cost could be claimed now.

mod contract;
mod departure;
mod voucher;

use cocoon_api::{
    NanoTon,
    conditions::{self, Closing, Funded, Observation, Ready, Reason as _, VoucherValid},
    crd::{PaymentChannelSpec, PaymentChannelStatus, channel::ChannelState},
    units::UnitError,
};
use k8s_openapi::jiff::Timestamp;

pub use contract::Contender;
pub use departure::{Departure, Leaving, depart};
pub use voucher::Signature;

use crate::ledger;

/// The shortest challenge window in which a settlement is sure to fit: twice the 30 s after which a quiet channel
/// is looked at again, so that signing and confirming, a matter of seconds, have as long once more.
pub const MIN_CHALLENGE_SECONDS: u32 = 60;

/// How long a voucher must still last for new work: the 90 s for which a settlement's message is valid, and 30 s
/// until the chain shows its effect.
pub const MIN_VOUCHER_SECONDS: i64 = 120;

/// What the contract's getter shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escrow {
    /// Where it stands.
    pub stage: Stage,
    /// Vouchers must name it; every closing raises it.
    pub epoch: u32,
    /// Paid to the provider since the first day.
    pub redeemed: NanoTon,
    /// What claims may still take.
    pub available: NanoTon,
    /// Public key that signs vouchers, as lower-case hexadecimal digits.
    pub payer_key: String,
    /// Address that alone may claim, in raw form.
    pub provider: String,
    /// Seconds between the payer's close and the end of claims.
    pub challenge_period: u32,
}

/// Where the contract stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Claims are paid.
    Open,
    /// Claims are paid before this Unix second.
    Closing {
        /// The first second at which nothing is paid.
        deadline: u32,
    },
    /// Nothing is paid.
    Closed,
}

/// One look at a channel's contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The contract, with the known code.
    Escrow(Escrow),
    /// There is no contract.
    NotDeployed,
    /// There is something else than a channel; the words say what.
    Foreign(String),
    /// The chain did not answer, or its endpoints disagree; the words say how.
    Unavailable(String),
    /// No endpoint serves the network; the words say why.
    WrongNetwork(String),
    /// The provider of the channel does not exist.
    ProviderNotFound,
    /// Another object holds the contract, so that this one was not looked at; the words say who, and what to do.
    InUse(String),
}

/// What is known of a channel from outside its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The contract.
    pub sight: Sight,
    /// The provider's payout address, in raw form; none where it is no address.
    pub payee: Option<String>,
    /// The voucher's signature.
    pub signature: Signature,
    /// Whether the object is being deleted.
    pub leaving: bool,
    /// Unix seconds: the chain's time where it was seen.
    pub now: i64,
}

/// What a channel is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where the contract stands; none before it was first seen.
    pub state: Option<ChannelState>,
    /// What claims may still take.
    pub deposit: NanoTon,
    /// Paid to the provider.
    pub redeemed: NanoTon,
    /// Cap of the last valid voucher.
    pub cap: NanoTon,
    /// Epoch of that voucher.
    pub cap_epoch: u32,
    /// End of the challenge window, in Unix seconds.
    pub challenge_ends_at: Option<i64>,
    /// `Funded`, `VoucherValid`, `Closing` and `Ready`.
    pub conditions: Vec<Observation>,
}

/// Judges a channel by the facts and by what was known before.
pub fn judge(spec: &PaymentChannelSpec, before: &PaymentChannelStatus, facts: &Facts) -> Standing {
    let sight = believed(&facts.sight, before);
    let escrow = match &sight {
        Sight::Escrow(escrow) => Some(escrow),
        _ => None,
    };
    let funded = funded(spec, facts, &sight);
    let (valid, cap, cap_epoch) = voucher::judge(spec, before, escrow, facts.signature, facts.now);
    let closing = closing(escrow, before);
    let ready = ready(facts, &funded, &valid, &closing);
    let usable = funded.status || funded.reason == Funded::ChallengeTooShort.name();
    let (state, deposit, challenge_ends_at) = match (&sight, escrow) {
        (_, Some(escrow)) => (
            Some(state(escrow)),
            if usable { escrow.available } else { NanoTon::ZERO },
            deadline(escrow),
        ),
        // Nothing was learned of the contract: what was known stays.
        (Sight::Unavailable(_) | Sight::WrongNetwork(_) | Sight::ProviderNotFound, None) => {
            (before.state, before.deposit_nano, before.challenge_ends_at)
        }
        // Nor here; but nothing can be reserved on it.
        (Sight::InUse(_), None) => (before.state, NanoTon::ZERO, before.challenge_ends_at),
        (_, None) => (Some(ChannelState::Unfunded), NanoTon::ZERO, None),
    };
    Standing {
        state,
        deposit,
        redeemed: escrow.map_or(before.redeemed_nano, |escrow| escrow.redeemed),
        cap,
        cap_epoch,
        challenge_ends_at,
        conditions: vec![funded, valid, closing, ready],
    }
}

impl Standing {
    /// Writes the judgement into the status and brings its figures in line.
    ///
    /// What was redeemed beyond what this ledger metered was metered by another ledger of the same contract: the
    /// object was made again, or it was not the one that held the contract ([`Contender`]). It counts as finished, so that
    /// claims, which are cumulative, go on from there.
    pub fn write(
        self,
        status: &mut PaymentChannelStatus,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Result<(), UnitError> {
        let Self {
            state,
            deposit,
            redeemed,
            cap,
            cap_epoch,
            challenge_ends_at,
            conditions,
        } = self;
        let foreign = redeemed.saturating_sub(ledger::accrued(status)?);
        status.finished_nano = status.finished_nano.checked_add(foreign)?;
        status.earlier_nano = status.earlier_nano.checked_add(foreign)?;
        status.observed_generation = generation;
        status.state = state;
        status.deposit_nano = deposit;
        status.redeemed_nano = redeemed;
        status.cap_nano = cap;
        status.cap_epoch = cap_epoch;
        status.challenge_ends_at = challenge_ends_at;
        for observation in conditions {
            conditions::set(&mut status.conditions, observation, generation, now);
        }
        ledger::recompute(status, now.as_second())
    }
}

/// A look that shows less than was seen before is not believed: `redeemed` and `epoch` only grow, and a channel's
/// reserve for rent keeps its contract alive.
fn believed(sight: &Sight, before: &PaymentChannelStatus) -> Sight {
    let shown = match sight {
        Sight::Escrow(escrow) if escrow.redeemed < before.redeemed_nano => {
            format!(
                "{} nanoTON redeemed, where {} were seen before",
                escrow.redeemed, before.redeemed_nano
            )
        }
        Sight::Escrow(escrow) if escrow.epoch < before.cap_epoch => {
            format!(
                "epoch {}, where {} was seen before",
                escrow.epoch, before.cap_epoch
            )
        }
        Sight::NotDeployed | Sight::Foreign(_) if before.redeemed_nano > NanoTon::ZERO => {
            "no channel where one was seen before".to_owned()
        }
        other => return other.clone(),
    };
    Sight::Unavailable(format!("the endpoint lags behind or lies: it shows {shown}"))
}

fn funded(spec: &PaymentChannelSpec, facts: &Facts, sight: &Sight) -> Observation {
    let address = &spec.contract_address;
    let escrow = match sight {
        Sight::Escrow(escrow) => escrow,
        Sight::NotDeployed => {
            return Funded::NotDeployed
                .condition(format!("waiting for a contract at {address} on {}", spec.network));
        }
        Sight::Foreign(what) => return Funded::ForeignCode.condition(what.clone()),
        Sight::Unavailable(why) => return Funded::EndpointUnavailable.condition(why.clone()),
        Sight::InUse(why) => return Funded::ContractInUse.condition(why.clone()),
        Sight::WrongNetwork(why) => return Funded::WrongNetwork.condition(why.clone()),
        Sight::ProviderNotFound => {
            let message = format!("waiting for CocoonProvider {}", spec.provider.name);
            return Funded::ProviderNotFound.condition(message);
        }
    };
    if escrow.payer_key != spec.payer_public_key {
        let message = format!(
            "the contract names payer key {}, payerPublicKey is another",
            escrow.payer_key
        );
        return Funded::ForeignParties.condition(message);
    }
    match &facts.payee {
        Some(payee) if *payee == escrow.provider => {}
        Some(payee) => {
            let message = format!(
                "the contract pays {}, payout.address of CocoonProvider {} is {payee}",
                escrow.provider, spec.provider.name
            );
            return Funded::ForeignParties.condition(message);
        }
        None => {
            let message = format!(
                "payout.address of CocoonProvider {} is no address",
                spec.provider.name
            );
            return Funded::ForeignParties.condition(message);
        }
    }
    if escrow.challenge_period < MIN_CHALLENGE_SECONDS {
        let message = format!(
            "the contract's challenge window is {} s, and settling may take {MIN_CHALLENGE_SECONDS} s",
            escrow.challenge_period
        );
        return Funded::ChallengeTooShort.condition(message);
    }
    if escrow.available == NanoTon::ZERO {
        return Funded::InsufficientDeposit.condition("waiting for a deposit: nothing is left to claim");
    }
    Funded::Funded.condition(format!("{} TON can be claimed", escrow.available.to_ton_string()))
}

fn closing(escrow: Option<&Escrow>, before: &PaymentChannelStatus) -> Observation {
    let stage = match (escrow, before.state) {
        (Some(escrow), _) => escrow.stage,
        (None, Some(ChannelState::Closed)) => Stage::Closed,
        (None, Some(ChannelState::Closing)) => {
            let deadline = before
                .challenge_ends_at
                .and_then(|end| u32::try_from(end).ok())
                .unwrap_or_default();
            Stage::Closing { deadline }
        }
        (None, _) => Stage::Open,
    };
    match stage {
        Stage::Open => Closing::Open.condition("the payer has not asked to close"),
        Stage::Closing { deadline } => Closing::ChallengeWindow.condition(format!(
            "the payer is closing it: claims are paid before {deadline}"
        )),
        Stage::Closed => Closing::Closed.condition("closed; a top-up by the payer opens it again"),
    }
}

fn ready(facts: &Facts, funded: &Observation, valid: &Observation, closing: &Observation) -> Observation {
    if facts.leaving {
        return Ready::NotReady.condition("it is being deleted");
    }
    let against = [(funded, false), (valid, false), (closing, true)]
        .into_iter()
        .find(|(seen, bad)| seen.status == *bad);
    match against {
        Some((seen, _)) => Ready::NotReady.condition(seen.message.clone()),
        None => Ready::Ready.condition("jobs can reserve their budgets"),
    }
}

fn state(escrow: &Escrow) -> ChannelState {
    match escrow.stage {
        Stage::Open if escrow.available == NanoTon::ZERO => ChannelState::Unfunded,
        Stage::Open => ChannelState::Open,
        Stage::Closing { .. } => ChannelState::Closing,
        Stage::Closed => ChannelState::Closed,
    }
}

fn deadline(escrow: &Escrow) -> Option<i64> {
    match escrow.stage {
        Stage::Closing { deadline } => Some(i64::from(deadline)),
        Stage::Open | Stage::Closed => None,
    }
}

/// Whether what the ledger metered could be claimed now: the contract is this channel's, the voucher is good, and the
/// contract pays.
pub fn redeemable(spec: &PaymentChannelSpec, status: &PaymentChannelStatus, now: i64) -> bool {
    let Some(voucher) = &spec.voucher else {
        return false;
    };
    let in_use = conditions::find(&status.conditions, Funded::TYPE)
        .is_some_and(|condition| condition.reason == Funded::ContractInUse.name());
    let expiring = conditions::find(&status.conditions, VoucherValid::TYPE)
        .is_some_and(|condition| condition.reason == VoucherValid::Expired.name());
    let verified = status.cap_nano == voucher.cap_nano && status.cap_epoch == voucher.epoch;
    let in_time = i64::from(voucher.valid_until) > now;
    let signed = conditions::is_true(&status.conditions, VoucherValid::TYPE) || (expiring && verified);
    let pays = match status.state {
        Some(ChannelState::Open) => true,
        Some(ChannelState::Closing) => status.challenge_ends_at.is_some_and(|end| end > now),
        Some(ChannelState::Unfunded | ChannelState::Closed) | None => false,
    };
    !in_use && signed && in_time && pays
}

#[cfg(test)]
mod tests;
