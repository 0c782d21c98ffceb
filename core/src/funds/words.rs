//! What is said about a channel's contract and its clock.

use cocoon_api::{
    NanoTon,
    conditions::{ClockInStep, Closing, Funded, Observation, Ready, Reason as _},
    crd::{FullName, PaymentChannelSpec, PaymentChannelStatus, ProviderReference, channel::ChannelState},
};

use super::{
    escrow::{Escrow, Stage},
    facts::{Clock, Facts, MAX_SKEW_SECONDS, MIN_CHALLENGE_SECONDS, Sight},
};

pub(super) fn funded(spec: &PaymentChannelSpec, facts: &Facts, sight: &Sight) -> Observation {
    let address = &spec.contract_address;
    let provider = named(spec);
    let escrow = match sight {
        Sight::Escrow(escrow) => escrow,
        Sight::NotDeployed => {
            return Funded::NotDeployed
                .condition(format!("waiting for a contract at {address} on {}", spec.network));
        }
        Sight::Foreign(what) => return Funded::ForeignCode.condition(what.clone()),
        Sight::Unavailable(why) => return Funded::EndpointUnavailable.condition(why.clone()),
        Sight::Unbound => {
            return Funded::Unbound.condition(
                "spec.binding is not signed by payerPublicKey for this network, contract, namespace and name",
            );
        }
        Sight::InUse(why) => return Funded::ContractInUse.condition(why.clone()),
        Sight::WrongNetwork(why) => return Funded::WrongNetwork.condition(why.clone()),
        Sight::NotGranted => return Funded::ProviderNotGranted.condition(not_granted(&provider)),
        Sight::ProviderNotFound if FullName::is_elsewhere(&provider) => {
            return Funded::ProviderNotGranted.condition(not_granted(&provider));
        }
        Sight::ProviderNotFound => {
            return Funded::ProviderNotFound.condition(format!("waiting for CocoonProvider {provider}"));
        }
    };
    if escrow.payer_key != spec.payer_public_key {
        let message = format!(
            "the contract names payer key {}, payerPublicKey is another",
            escrow.payer_key
        );
        return Funded::ForeignParties.condition(message);
    }
    let Some(payee) = &facts.payee else {
        let message = format!("payout.address or payout.claimer of CocoonProvider {provider} is no address");
        return Funded::ForeignParties.condition(message);
    };
    if let Err(foreign) = payee.owns(escrow) {
        return Funded::ForeignParties.condition(format!("CocoonProvider {provider}: {foreign}"));
    }
    // What it owes is claimed all the same.
    if !facts.granted {
        return Funded::ProviderNotGranted.condition(not_granted(&provider));
    }
    let least = facts.terms.min_challenge_seconds.max(MIN_CHALLENGE_SECONDS);
    if escrow.challenge_period < least {
        let message = format!(
            "the contract's challenge window is {} s, and CocoonProvider {provider} works for {least} s or more",
            escrow.challenge_period
        );
        return Funded::ChallengeTooShort.condition(message);
    }
    if let Some(why) = &facts.wallet {
        let message = format!("the wallet of CocoonProvider {provider} cannot redeem: {why}");
        return Funded::WalletNotReady.condition(message);
    }
    if escrow.available == NanoTon::ZERO {
        return Funded::InsufficientDeposit.condition("waiting for a deposit: nothing is left to claim");
    }
    Funded::Funded.condition(format!("{} TON can be claimed", escrow.available.to_ton_string()))
}

/// The provider as the channel names it.
fn named(spec: &PaymentChannelSpec) -> String {
    let ProviderReference { name, namespace } = &spec.provider;
    match namespace {
        Some(namespace) => FullName::new(namespace, name).to_string(),
        None => name.clone(),
    }
}

/// Says that a provider of another namespace is not there for this one. The words are the same where it does not exist,
/// so that nobody learns by a reference what there is in a namespace that is closed to them.
pub fn not_granted(provider: &str) -> String {
    format!(
        "CocoonProvider {provider} does not exist, or does not allow this namespace: its owner can add the namespace to \
         spec.allowedNamespaces"
    )
}

pub(super) fn closing(escrow: Option<&Escrow>, before: &PaymentChannelStatus) -> Observation {
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

pub(super) fn ready(leaving: bool, parts: &[&Observation], closing: &Observation) -> Observation {
    if leaving {
        return Ready::NotReady.condition("it is being deleted");
    }
    let against = parts
        .iter()
        .find(|part| !part.status)
        .or_else(|| Some(&closing).filter(|closing| closing.status));
    match against {
        Some(seen) => Ready::NotReady.condition(seen.message.clone()),
        None => Ready::Ready.condition("jobs can reserve their budgets"),
    }
}

/// Whether the clocks agree. A chain that is ahead is followed; one that is behind is not believed.
pub(super) fn in_step(clock: Clock) -> Observation {
    if clock.chain.is_none() {
        return ClockInStep::Unknown.condition("the chain's time is not known");
    }
    let lag = clock.lag();
    if lag.abs() <= MAX_SKEW_SECONDS {
        return ClockInStep::InStep.condition("the operator's clock agrees with the chain's");
    }
    let side = if lag > 0 { "ahead of" } else { "behind" };
    ClockInStep::OutOfStep.condition(format!(
        "the operator's clock is {} s {side} the chain's newest block: set its node's clock, or look at the endpoint; the later \
         of the two counts",
        lag.abs()
    ))
}
