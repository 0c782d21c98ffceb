//! Carries out the next step of a provider's settlement.

use std::{collections::BTreeMap, time::Duration};

use cocoon_api::{
    NanoTon,
    conditions::SettlementFailed,
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement, SettlementSpec},
    names::PROVIDER_LABEL,
};
use cocoon_core::settlement::{Candidate, Ended, Next, Waiting, ended_at, lags, next_name, superfluous};
use kube::{
    Resource as _, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use scopeguard::ScopeGuard;
use tracing::{debug, info, warn};

use super::{
    Account, Claim, Settlements,
    account::affordable,
    claims, message,
    observe::{Flight, Seen},
    plan::{Plan, Step},
    status::{self, Outcome},
};
use crate::{
    chain::ChainError,
    error::{Error, KubeContext as _, Result, describe},
};

/// While a message is in flight: a block or two, so that a settlement is confirmed within seconds.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(700);
/// While only the rest of the attached value is on its way: it is in the next block, about 0.4 s later.
const REST_INTERVAL: Duration = Duration::from_millis(300);
/// After a message was stored or ended: the next step is there already.
const NEXT_STEP: Duration = Duration::from_millis(50);
/// Where something is due that the chain or the wallet does not allow now.
const BLOCKED_INTERVAL: Duration = Duration::from_secs(5);
/// Where nothing is due; a channel that changes wakes the provider before.
const QUIET_INTERVAL: Duration = Duration::from_secs(30);

/// Carries out the plan and answers when to look again.
pub(super) async fn apply(
    provider: &CocoonProvider,
    seen: &Seen,
    plan: Plan,
    shared: &Settlements,
) -> Result<Duration> {
    match plan {
        Plan::Advance(flight) => {
            let (flight, step) = *flight;
            advance(flight, step, shared).await
        }
        Plan::Sign(candidates) => sign(provider, seen, candidates, shared).await,
        Plan::Rest(wait) => {
            forget_superfluous(provider, seen, shared).await?;
            let now = shared.ctx.now().as_second();
            let due = wait
                .due_at
                .map(|at| Duration::from_secs(at.saturating_sub(now).max(1).unsigned_abs()));
            Ok(due.map_or(QUIET_INTERVAL, |due| due.min(QUIET_INTERVAL)))
        }
    }
}

async fn advance(flight: Flight, step: Step, shared: &Settlements) -> Result<Duration> {
    let Flight {
        settlement,
        message,
        look,
    } = flight;
    let next = match step {
        Step::Blind(why) => {
            debug!(settlement = describe(&settlement), "not seen: {why}");
            status::waiting(&settlement, &why, shared).await?;
            return Ok(BLOCKED_INTERVAL);
        }
        Step::Unreadable(why) => {
            Next::Failed(SettlementFailed::Superseded, format!("nothing was sent: {why}"))
        }
        Step::Sender(next) => next,
    };
    match next {
        Next::Wait(_, waiting) => {
            status::waiting(&settlement, waiting.describe(), shared).await?;
            Ok(match waiting {
                Waiting::Rest => REST_INTERVAL,
                _ => FLIGHT_INTERVAL,
            })
        }
        Next::Send(in_flight) => {
            let chain = shared.chain(&settlement).await?;
            if let (Ok((_, message)), Some(chain)) = (message, chain) {
                status::note_claims(&settlement, shared).await?;
                shared.note_sent(&settlement, in_flight.sent_at);
                // The bytes are stored; whether these arrive, only the chain tells.
                if let Err(error) = chain.send(&message.boc).await {
                    info!(
                        settlement = describe(&settlement),
                        "an endpoint did not take the message: {error}"
                    );
                }
            }
            status::sent(&settlement, in_flight.attempts, shared).await?;
            Ok(FLIGHT_INTERVAL)
        }
        Next::Confirmed(landed) => {
            let fee = look.as_ref().map(|look| look.fee).unwrap_or_default();
            status::ended(
                &settlement,
                Outcome::Confirmed {
                    transaction: landed.hash,
                    fee,
                },
                shared,
            )
            .await?;
            Ok(NEXT_STEP)
        }
        Next::Failed(reason, why) => {
            let unpaid = look.as_ref().map_or_else(
                |_| Vec::new(),
                |look| unpaid(&settlement, &look.sighting.redeemed),
            );
            let landed = look
                .ok()
                .and_then(|look| Some((look.sighting.landed?.hash, look.fee)));
            let outcome = Outcome::Failed {
                reason,
                why,
                landed,
                unpaid,
            };
            status::ended(&settlement, outcome, shared).await?;
            Ok(NEXT_STEP)
        }
    }
}

async fn sign(
    provider: &CocoonProvider,
    seen: &Seen,
    candidates: Vec<Candidate>,
    shared: &Settlements,
) -> Result<Duration> {
    let account = match Account::of(provider, &shared.ctx).await? {
        Ok(account) => account,
        Err(missing) => {
            debug!(
                provider = describe(provider),
                "nothing is signed: {}", missing.message
            );
            return Ok(BLOCKED_INTERVAL);
        }
    };
    let Some(wallet) = shared.take_wallet(&account, provider) else {
        debug!(
            provider = describe(provider),
            "another provider's message from the same wallet is in flight"
        );
        return Ok(BLOCKED_INTERVAL);
    };
    let spec = match prepare(provider, &account, &seen.channels, candidates, shared).await {
        Ok(Some(spec)) => spec,
        Ok(None) => return Ok(BLOCKED_INTERVAL),
        Err(error) => {
            debug!(provider = describe(provider), "nothing is signed: {error}");
            return Ok(BLOCKED_INTERVAL);
        }
    };
    let spec = sign_message(provider, &account, spec)?;
    if let Some(stored) = store(provider, spec, &seen.settlements, shared).await? {
        ScopeGuard::into_inner(wallet);
        status::signed(&stored, shared).await?;
    }
    Ok(NEXT_STEP)
}

/// What is signed: the wallet's number, the chain's time, and claims that the chain would pay now.
struct Prepared {
    seqno: u32,
    time: u32,
    claims: Vec<Claim>,
}

async fn prepare(
    provider: &CocoonProvider,
    account: &Account,
    channels: &[PaymentChannel],
    candidates: Vec<Candidate>,
    shared: &Settlements,
) -> std::result::Result<Option<Prepared>, ChainError> {
    let chain = &account.chain;
    let time = chain.time().await?;
    if lags(time, shared.ctx.now().as_second()) {
        return Err(ChainError::Unavailable(format!(
            "the chain's newest block is of {time}"
        )));
    }
    let payee = account.wallet.address();
    let wallet = chain.wallet(&payee).await?;
    let home = provider.namespace().unwrap_or_default();
    let by_name: BTreeMap<String, &PaymentChannel> = channels
        .iter()
        .map(|channel| (FullName::of(channel).seen_from(&home), channel))
        .collect();
    let checks = candidates
        .into_iter()
        .take(affordable(wallet.balance))
        .filter_map(|candidate| Some((*by_name.get(&candidate.name)?, candidate)))
        // The status that the plan was made from may be older than what is known of the contract's holder.
        .filter(|(channel, _)| !shared.ctx.contracts.is_held_by_another(channel))
        .map(|(channel, candidate)| Claim::check(candidate, channel, chain, &payee, time));
    let mut claims = Vec::new();
    for checked in claims::in_time(checks).await? {
        match checked {
            Ok(claim) => claims.push(claim),
            Err(why) => info!(provider = describe(provider), "not claimed now: {why}"),
        }
    }
    if claims.is_empty() {
        debug!(
            provider = describe(provider),
            balance = wallet.balance.nano(),
            "no claim can be made now"
        );
        return Ok(None);
    }
    Ok(Some(Prepared {
        seqno: wallet.seqno,
        time,
        claims,
    }))
}

fn sign_message(provider: &CocoonProvider, account: &Account, prepared: Prepared) -> Result<SettlementSpec> {
    let Prepared { seqno, time, claims } = prepared;
    let signed = message::sign(
        &provider.name_any(),
        &account.wallet,
        &account.key,
        seqno,
        time,
        claims,
    );
    signed.map_err(|source| Error::Chain {
        action: "sign a settlement",
        network: account.chain.network().name().to_owned(),
        source: Box::new(source),
    })
}

/// Stores the signed message before it is ever sent. Its name says which number of which wallet it uses up, and for which
/// time, so that of two operators that sign for the same number at the same moment one is refused and reads again: none.
async fn store(
    provider: &CocoonProvider,
    spec: SettlementSpec,
    settlements: &[Settlement],
    shared: &Settlements,
) -> Result<Option<Settlement>> {
    let taken = settlements
        .iter()
        .filter_map(|other| other.metadata.name.as_deref());
    let name = next_name(&provider.name_any(), &spec.wallet, spec.seqno, taken);
    let mut settlement = Settlement::new(&name, spec);
    settlement.metadata.owner_references = provider.owner_ref(&()).map(|owner| vec![owner]);
    settlement
        .labels_mut()
        .insert(PROVIDER_LABEL.to_owned(), label(&provider.name_any()));
    let api = shared.api(&provider.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), &settlement).await {
        Ok(stored) => {
            info!(
                settlement = describe(&stored),
                claimed = stored.spec.claimed,
                "signed"
            );
            Ok(Some(stored))
        }
        Err(kube::Error::Api(response)) if response.code == 409 => {
            warn!(
                settlement = describe(&settlement),
                "somebody else signed for this number; reading again"
            );
            Ok(None)
        }
        Err(kube::Error::Api(response)) if is_terminating(&response) => {
            settlement.metadata.namespace = provider.namespace();
            settlement.metadata.uid = Some(format!("unstored/{}", settlement.spec.message_hash));
            shared.memory.keep(describe(provider), settlement.clone());
            info!(
                settlement = describe(&settlement),
                claimed = settlement.spec.claimed,
                "signed, and kept in memory: the namespace is being deleted"
            );
            Ok(Some(settlement))
        }
        Err(error) => Err(error).attempt("store", describe(&settlement)),
    }
}

/// Whether the API server stores nothing new because the namespace is being deleted.
fn is_terminating(refusal: &kube::core::Status) -> bool {
    let causes = refusal.details.iter().flat_map(|details| &details.causes);
    refusal.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Channels that do not show what was claimed of them, in the order of the claims.
fn unpaid(settlement: &Settlement, redeemed: &[NanoTon]) -> Vec<String> {
    let home = settlement.namespace().unwrap_or_default();
    let redeems = settlement.spec.redeems.iter();
    redeems
        .zip(redeemed)
        .filter(|(redeem, redeemed)| **redeemed < redeem.cumulative_nano)
        .map(|(redeem, _)| redeem.full_name(&home).seen_from(&home))
        .collect()
}

/// A name as the value of a label, which is shorter.
fn label(name: &str) -> String {
    const MAX_LABEL: usize = 63;
    let label: String = name.chars().take(MAX_LABEL).collect();
    label.trim_end_matches(['.', '-']).to_owned()
}

async fn forget_superfluous(provider: &CocoonProvider, seen: &Seen, shared: &Settlements) -> Result<()> {
    let ended = seen
        .settlements
        .iter()
        .filter_map(|settlement| {
            Some(Ended {
                name: settlement.name_any(),
                at: ended_at(settlement)?,
            })
        })
        .collect();
    let api = shared.api(&provider.namespace().unwrap_or_default());
    for name in superfluous(ended, shared.ctx.now().as_second()) {
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(response)) if response.code == 404 => {}
            other => drop(other.attempt("delete Settlement", &name)?),
        }
    }
    Ok(())
}
