//! Carries out the next step of a provider's settlement.

use std::time::Duration;

use cocoon_api::{
    NanoTon,
    conditions::SettlementFailed,
    crd::{CocoonProvider, Settlement},
};
use cocoon_core::settlement::{Ended, Next, Waiting, ended_at, superfluous};
use kube::{ResourceExt as _, api::DeleteParams};
use tracing::{debug, info};

use super::{
    Settlements,
    observe::{Flight, Seen},
    plan::{Plan, Step},
    sign::{Signing, sign},
    status::{self, Outcome},
};
use crate::error::{KubeContext as _, Result, describe};

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
        Plan::Sign(order) => match sign(provider, seen, order, shared).await? {
            Signing::Done => Ok(NEXT_STEP),
            Signing::Blocked => Ok(BLOCKED_INTERVAL),
        },
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
