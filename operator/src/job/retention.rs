//! A job that has ended: follows its cost to the chain, and deletes it when its time is over.

use std::time::Duration;

use cocoon_api::{
    conditions::{self, Confirmed, Observation, Reason as _, Settled},
    crd::{
        InferenceJob, InferenceJobStatus, PaymentChannel, Settlement,
        job::{JobPhase, JobSettlement},
        settlement::SettlementState,
    },
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
    runtime::{controller::Action, events::EventType},
};

use super::{Jobs, Result, WAITING_INTERVAL, deletion::seconds_since};
use crate::{error::KubeContext as _, events, status};

/// Follows the settlement, then the time to live.
pub(super) async fn keep_or_delete(job: &InferenceJob, jobs: &Jobs) -> Result<Action> {
    let Some(stored) = &job.status else {
        return Ok(Action::await_change());
    };
    let settled = conditions::find(&stored.conditions, Settled::TYPE);
    let is_open = settled
        .is_some_and(|settled| settled.status != "True" && settled.reason != Settled::WrittenOff.name());
    if is_open && !follow_settlement(job, stored, jobs).await? {
        return Ok(Action::requeue(WAITING_INTERVAL));
    }
    let (Some(ttl), Some(ended)) = (job.spec.ttl_seconds_after_finished, &stored.completion_time) else {
        return Ok(Action::await_change());
    };
    let left = ttl - seconds_since(ended.0, jobs.ctx.now());
    if left > 0 {
        return Ok(Action::requeue(Duration::from_secs(left.unsigned_abs())));
    }
    let preconditions = Some(Preconditions {
        uid: job.uid(),
        resource_version: None,
    });
    match jobs
        .api(job)
        .delete(
            &job.name_any(),
            &DeleteParams {
                preconditions,
                ..DeleteParams::default()
            },
        )
        .await
    {
        Ok(_) => {}
        Err(kube::Error::Api(response)) if response.code == 404 || response.code == 409 => {}
        Err(error) => return Err(error).attempt("delete expired job", job.name_any()),
    }
    Ok(Action::await_change())
}

/// Brings `Settled` up to date. Answers whether nothing more is to come.
async fn follow_settlement(job: &InferenceJob, stored: &InferenceJobStatus, jobs: &Jobs) -> Result<bool> {
    let namespace = job.namespace().unwrap_or_default();
    let Some(reference) = &job.spec.billing.channel_ref else {
        return Ok(true);
    };
    let settlements = Api::<Settlement>::namespaced(jobs.ctx.client.clone(), &namespace)
        .list(&ListParams::default())
        .await
        .attempt("list settlements in", &namespace)?;
    let mut next = stored.clone();
    let best = settlements
        .items
        .iter()
        .filter_map(|settlement| covering(job, &reference.name, stored, settlement))
        .max_by_key(|(rank, _)| *rank);
    let observed = match best {
        Some((_, covered)) => {
            let observed = observation(&covered);
            next.settlement = vec![covered];
            observed
        }
        None => match unlisted(jobs, &namespace, &reference.name).await? {
            Some(observed) => observed,
            None => return Ok(false),
        },
    };
    let is_over = observed.status || observed.reason == Settled::WrittenOff.name();
    if observed.status && next.phase == Some(JobPhase::Complete) {
        next.phase = Some(JobPhase::Settled);
    }
    conditions::set(
        &mut next.conditions,
        observed.clone(),
        job.metadata.generation,
        jobs.ctx.now(),
    );
    if status::apply(&jobs.api(job), job, Some(stored), &next).await? && is_over {
        let type_ = if observed.status {
            EventType::Normal
        } else {
            EventType::Warning
        };
        events::publish(&jobs.ctx, job, type_, observed.reason, "Settle", observed.message).await;
    }
    Ok(is_over)
}

/// The settlement's word on this job, if its claim covers the job's whole cost; ranked by how far it has come.
fn covering(
    job: &InferenceJob,
    channel: &str,
    stored: &InferenceJobStatus,
    settlement: &Settlement,
) -> Option<(u8, JobSettlement)> {
    let status = settlement.status.clone().unwrap_or_default();
    let redeem = settlement
        .spec
        .redeems
        .iter()
        .find(|redeem| redeem.channel == channel)?;
    let covered = redeem
        .jobs
        .iter()
        .find(|covered| Some(&covered.uid) == job.metadata.uid.as_ref())?;
    if covered.nano < stored.cost.spent_nano {
        return None;
    }
    let (rank, state) = match status.state.unwrap_or(SettlementState::Signed) {
        SettlementState::Failed => return None,
        SettlementState::Signed => (0, "Signed"),
        SettlementState::Confirmed if conditions::is_true(&status.conditions, Confirmed::TYPE) => {
            (2, "Confirmed")
        }
        SettlementState::Broadcast | SettlementState::Confirmed => (1, "Broadcast"),
    };
    Some((
        rank,
        JobSettlement {
            channel: channel.to_owned(),
            settlement: settlement.name_any(),
            state: state.to_owned(),
            transaction: status.transaction,
            nano: stored.cost.spent_nano,
        },
    ))
}

fn observation(covered: &JobSettlement) -> Observation {
    let JobSettlement {
        settlement,
        state,
        transaction,
        nano,
        ..
    } = covered;
    if state == "Confirmed" {
        let transaction = transaction.as_deref().unwrap_or("unknown");
        return Settled::Paid.condition(format!(
            "{} TON paid by settlement {settlement}, transaction {transaction}",
            nano.to_ton_string()
        ));
    }
    Settled::Settling.condition(format!("settlement {settlement} is {}", state.to_lowercase()))
}

/// What the channel says where no settlement lists the job: a channel that is gone pays no more, and one that has paid
/// everything it ever metered has paid this job, though the settlement that did may count as failed for another channel.
async fn unlisted(jobs: &Jobs, namespace: &str, name: &str) -> Result<Option<Observation>> {
    let channels: Api<PaymentChannel> = Api::namespaced(jobs.ctx.client.clone(), namespace);
    let Some(channel) = channels.get_opt(name).await.attempt("read channel", name)? else {
        return Ok(Some(
            Settled::WrittenOff.condition(format!("channel {name} is gone; see its Events")),
        ));
    };
    let status = channel.status.unwrap_or_default();
    Ok((status.redeemed_nano >= status.accrued_nano).then(|| {
        Settled::Paid.condition(format!(
            "channel {name} has paid everything that was metered on it"
        ))
    }))
}
