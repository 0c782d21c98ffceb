//! Writes where a settlement stands, and what it means for its channels.

use cocoon_api::{
    NanoTon,
    conditions::{self, Confirmed, Observation, Reason as _, SettlementFailed},
    crd::{
        PaymentChannel, Settlement, SettlementStatus,
        settlement::{Redeem, SettlementState, Sweep},
    },
};
use cocoon_core::settlement::steps;
use kube::{Api, ResourceExt as _, runtime::events::EventType};
use tracing::{info, warn};

use super::Settlements;
use crate::{
    error::{Error, Result, describe},
    events, ledger,
    status::apply,
};

/// How a settlement ended.
pub(super) enum Outcome {
    Confirmed {
        transaction: String,
        fee: NanoTon,
    },
    Failed {
        reason: SettlementFailed,
        why: String,
        landed: Option<(String, NanoTon)>,
        /// Channels that do not show their claim, although the wallet took the message.
        unpaid: Vec<String>,
    },
}

pub(super) async fn signed(settlement: &Settlement, shared: &Settlements) -> Result<()> {
    let status = SettlementStatus {
        state: Some(SettlementState::Signed),
        ..stored(settlement)
    };
    write(
        settlement,
        status,
        vec![Confirmed::Signed.condition("signed and stored; not yet sent")],
        shared,
    )
    .await
}

pub(super) async fn sent(settlement: &Settlement, attempts: u32, shared: &Settlements) -> Result<()> {
    let status = SettlementStatus {
        state: Some(SettlementState::Broadcast),
        attempts,
        ..stored(settlement)
    };
    write(
        settlement,
        status,
        vec![Confirmed::Broadcast.condition("sent; waiting for a block")],
        shared,
    )
    .await
}

/// Repeats what it waits for; its state stays.
pub(super) async fn waiting(settlement: &Settlement, what: &str, shared: &Settlements) -> Result<()> {
    let status = stored(settlement);
    let reason = match status.state {
        Some(SettlementState::Broadcast) => Confirmed::Broadcast,
        _ => Confirmed::Signed,
    };
    let status = SettlementStatus {
        state: status.state.or(Some(SettlementState::Signed)),
        ..status
    };
    write(settlement, status, vec![reason.condition(what)], shared).await
}

/// Ends a settlement. Its channels are written first, so that whoever sees it confirmed sees them paid; all of it can
/// be repeated after a crash.
pub(super) async fn ended(settlement: &Settlement, outcome: Outcome, shared: &Settlements) -> Result<()> {
    let metrics = &shared.ctx.metrics;
    match outcome {
        Outcome::Confirmed { transaction, fee } => confirmed(settlement, transaction, fee, shared).await?,
        Outcome::Failed {
            reason,
            why,
            landed,
            unpaid,
        } => {
            let (transaction, fee_nano) =
                landed.map_or((None, NanoTon::ZERO), |(hash, fee)| (Some(hash), fee));
            let status = SettlementStatus {
                state: Some(SettlementState::Failed),
                transaction,
                fee_nano,
                unpaid,
                ..stored(settlement)
            };
            let observations = vec![
                Confirmed::Failed.condition(why.clone()),
                reason.condition(why.clone()),
            ];
            write(settlement, status, observations, shared).await?;
            warn!(
                settlement = describe(settlement),
                reason = reason.name(),
                "failed: {why}"
            );
            metrics.settlements.with_label_values(&[reason.name()]).inc();
            events::publish(
                &shared.ctx,
                settlement,
                EventType::Warning,
                reason.name(),
                "Settle",
                why,
            )
            .await;
        }
    }
    shared.forget_sent(settlement);
    Ok(())
}

/// Ends a settlement that took effect: its channels are written first.
async fn confirmed(
    settlement: &Settlement,
    transaction: String,
    fee: NanoTon,
    shared: &Settlements,
) -> Result<()> {
    let metrics = &shared.ctx.metrics;
    let confirmed_nano = step(settlement)?;
    let ton = confirmed_nano.to_ton_string();
    credit(settlement, shared).await?;
    let status = SettlementStatus {
        state: Some(SettlementState::Confirmed),
        transaction: Some(transaction.clone()),
        fee_nano: fee,
        confirmed_nano,
        ..stored(settlement)
    };
    let swept = settlement.spec.sweep.as_ref();
    let (reason, message) = match swept {
        None => (
            Confirmed::Redeemed,
            format!("{ton} TON redeemed in transaction {transaction}"),
        ),
        Some(Sweep { to, nano }) => (
            Confirmed::Swept,
            format!(
                "{} TON sent on to {to} in transaction {transaction}",
                nano.to_ton_string()
            ),
        ),
    };
    write(
        settlement,
        status,
        vec![reason.condition(message.clone())],
        shared,
    )
    .await?;
    info!(
        settlement = describe(settlement),
        nano = confirmed_nano.nano(),
        fee = fee.nano(),
        "confirmed"
    );
    metrics.settled_nano.inc_by(confirmed_nano.nano());
    metrics
        .swept_nano
        .inc_by(swept.map_or(0, |sweep| sweep.nano.nano()));
    metrics.settlements.with_label_values(&["Confirmed"]).inc();
    events::publish(
        &shared.ctx,
        settlement,
        EventType::Normal,
        "Confirmed",
        "Settle",
        message,
    )
    .await;
    Ok(())
}

/// Notes in the channels what a signed message claims, before it is sent: what is redeemed by it is theirs, whoever
/// sees it first.
pub(super) async fn note_claims(settlement: &Settlement, shared: &Settlements) -> Result<()> {
    for (redeem, namespace) in claims(settlement, |namespace| shared.ctx.is_gone(namespace)) {
        let channels: Api<PaymentChannel> = Api::namespaced(shared.ctx.client.clone(), &namespace);
        ledger::update(&channels, &redeem.channel, |channel, status| {
            if redeem.cumulative_nano <= status.claimed_nano || !is_meant(channel, redeem) {
                return Ok(false);
            }
            status.claimed_nano = redeem.cumulative_nano;
            Ok(true)
        })
        .await?;
    }
    Ok(())
}

/// The claims whose channels may be there, each with its namespace. Where that is gone the channel is as well, and the
/// other claims of the message are not to wait for it.
fn claims(settlement: &Settlement, is_gone: impl Fn(&str) -> bool) -> Vec<(&Redeem, String)> {
    let home = settlement.namespace().unwrap_or_default();
    let redeems = settlement.spec.redeems.iter();
    redeems
        .map(|redeem| (redeem, redeem.full_name(&home).namespace))
        .filter(|(_, namespace)| !is_gone(namespace))
        .collect()
}

/// Whether the claim was made for this object: another one of its name has another ledger. Where no UID was noted, the
/// contract tells.
fn is_meant(channel: &PaymentChannel, redeem: &Redeem) -> bool {
    let uid = channel.metadata.uid.as_deref();
    channel.spec.contract_address == redeem.contract_address
        && (redeem.channel_uid.is_empty() || uid == Some(redeem.channel_uid.as_str()))
}

/// Raises what the channels show as redeemed, which the getters have shown.
async fn credit(settlement: &Settlement, shared: &Settlements) -> Result<()> {
    for (redeem, namespace) in claims(settlement, |namespace| shared.ctx.is_gone(namespace)) {
        let channels: Api<PaymentChannel> = Api::namespaced(shared.ctx.client.clone(), &namespace);
        ledger::update(&channels, &redeem.channel, |channel, status| {
            let step = redeem.cumulative_nano.saturating_sub(status.redeemed_nano);
            if step == NanoTon::ZERO || !is_meant(channel, redeem) {
                return Ok(false);
            }
            status.redeemed_nano = redeem.cumulative_nano;
            status.deposit_nano = status.deposit_nano.saturating_sub(step);
            Ok(true)
        })
        .await?;
    }
    Ok(())
}

/// What a settlement claims beyond what was redeemed before.
fn step(settlement: &Settlement) -> Result<NanoTon> {
    steps(settlement).map_err(|source| Error::Money {
        object: describe(settlement),
        source,
    })
}

fn stored(settlement: &Settlement) -> SettlementStatus {
    settlement.status.clone().unwrap_or_default()
}

async fn write(
    settlement: &Settlement,
    mut status: SettlementStatus,
    observations: Vec<Observation>,
    shared: &Settlements,
) -> Result<()> {
    let now = shared.ctx.now();
    for observation in observations {
        conditions::set(
            &mut status.conditions,
            observation,
            settlement.metadata.generation,
            now,
        );
    }
    if shared.memory.write_unstored(settlement, &status) {
        return Ok(());
    }
    let api = shared.api(&settlement.namespace().unwrap_or_default());
    apply(&api, settlement, settlement.status.as_ref(), &status)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_of_a_namespace_that_is_gone_keeps_no_other_of_its_message_waiting() {
        let claim = |channel: &str, namespace: Option<&str>| {
            json!({"channel": channel, "namespace": namespace, "contractAddress": "0:ab", "cumulativeNano": 1,
                   "redeemedBeforeNano": 0})
        };
        let redeems = [
            claim("a", Some("team")),
            claim("b", Some("gone")),
            claim("c", None),
        ];
        let settlement: Settlement = serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement", "metadata": {"name": "s", "namespace": "farm"},
            "spec": {"providerRef": {"name": "p"}, "wallet": "0:ab", "seqno": 1, "validUntil": 1, "message": "",
                     "messageHash": "", "claimed": "3", "redeems": redeems},
        }))
        .unwrap();
        let left = claims(&settlement, |namespace| namespace == "gone");
        let left: Vec<(&str, &str)> = left
            .iter()
            .map(|(redeem, namespace)| (redeem.channel.as_str(), namespace.as_str()))
            .collect();
        assert_eq!(left, [("a", "team"), ("c", "farm")]);
    }
}
