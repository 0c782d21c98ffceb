//! A job that has ended: follows its cost to the chain, and deletes it when its time is over.

use std::{cmp::Reverse, time::Duration};

use cocoon_api::{
    NanoTon,
    conditions::{self, Confirmed, Observation, Reason as _, Settled},
    crd::{
        FullName, InferenceJob, InferenceJobStatus, PaymentChannel, Settlement,
        job::{JobPhase, JobSettlement},
        settlement::SettlementState,
    },
    names::is_object_name,
};
use cocoon_core::{
    placement::demand,
    settlement::{Dues, Policy, outlook, pays},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
    runtime::{controller::Action, events::EventType},
};

use super::context::{Jobs, WAITING_INTERVAL};
use crate::{
    error::{Error, KubeContext as _, Result, describe},
    events, pages,
    status::Put,
};

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
    let left = ttl - jobs.ctx.now().duration_since(ended.0).as_secs().max(0);
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
    let Some(reference) = &job.spec.billing.channel_ref else {
        return Ok(true);
    };
    let channel = &reference.name;
    let farm = farm(job, jobs);
    let settlement = if let Some(standing) = standing(job, stored, channel, jobs)? {
        let seen = jobs.ctx.watches.settlements.in_namespace(&farm);
        covered(job, channel, stored, seen.iter().map(AsRef::as_ref)).ok_or(standing)
    } else {
        let seen = stored_settlements(&farm, jobs).await?;
        let gone = || Settled::WrittenOff.condition(format!("channel {channel} is gone; see its Events"));
        covered(job, channel, stored, &seen).ok_or_else(gone)
    };
    let mut next = stored.clone();
    let observed = match settlement {
        Ok(covered) => {
            let observed = observation(&covered);
            next.settlement = vec![covered];
            observed
        }
        Err(standing) => standing,
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
    let is_news = match jobs.put(job, &next).await? {
        Put::Same => false,
        Put::Written(_) => true,
        Put::Overtaken(_) => return Ok(false),
    };
    if is_news && is_over {
        let type_ = if observed.status {
            EventType::Normal
        } else {
            EventType::Warning
        };
        events::publish(&jobs.ctx, job, type_, observed.reason, "Settle", observed.message).await;
    }
    Ok(is_over)
}

/// The namespace of the provider that is paid, where its settlements are.
fn farm(job: &InferenceJob, jobs: &Jobs) -> String {
    let home = job.namespace().unwrap_or_default();
    let channel = job.spec.billing.channel_ref.as_ref();
    let channel = channel.and_then(|reference| jobs.channel(&home, &reference.name));
    let paid = channel
        .map(|channel| pays(&channel))
        .or_else(|| demand::chosen(job));
    paid.map_or(home, |provider| provider.namespace)
}

/// What the channel says of the job's payment; none where the channel that metered it is gone.
fn standing(
    job: &InferenceJob,
    stored: &InferenceJobStatus,
    name: &str,
    jobs: &Jobs,
) -> Result<Option<Observation>> {
    let namespace = job.namespace().unwrap_or_default();
    let channel = jobs.channel(&namespace, name);
    let Some(channel) = channel.filter(|channel| metered(channel, stored)) else {
        return Ok(None);
    };
    let FullName { namespace, name } = pays(&channel);
    let provider = jobs.ctx.watches.providers.get(&namespace, &name);
    let policy = provider.and_then(|provider| Policy::try_from(&provider.spec.payout.settle).ok());
    let observed = outlook(&Dues {
        channel: &channel,
        settles_at: stored.cost.settles_at_nano,
        policy: policy.as_ref(),
        now: jobs.ctx.now().as_second(),
    });
    observed.map(Some).map_err(|source| Error::Money {
        object: describe(job),
        source,
    })
}

/// Whether this object metered the job: one of the same name that was made later has a ledger of its own.
fn metered(channel: &PaymentChannel, stored: &InferenceJobStatus) -> bool {
    let made = channel.metadata.creation_timestamp.as_ref();
    made.zip(stored.completion_time.as_ref())
        .is_none_or(|(made, ended)| made.0 <= ended.0)
}

/// The settlement that pays the job: of those that have come furthest, the first.
fn covered<'a>(
    job: &InferenceJob,
    channel: &str,
    stored: &InferenceJobStatus,
    settlements: impl IntoIterator<Item = &'a Settlement>,
) -> Option<JobSettlement> {
    settlements
        .into_iter()
        .filter_map(|settlement| covering(job, channel, stored, settlement))
        .max_by_key(|(rank, claim, _)| (*rank, Reverse(*claim)))
        .map(|(_, _, covered)| covered)
}

/// Settlements as they are stored now: memory may be a moment behind a channel that is gone.
async fn stored_settlements(namespace: &str, jobs: &Jobs) -> Result<Vec<Settlement>> {
    if !is_object_name(namespace) || !jobs.ctx.config.scope().covers(namespace) {
        return Ok(Vec::new());
    }
    let settlements = Api::<Settlement>::namespaced(jobs.ctx.client.clone(), namespace);
    let without_message = |mut settlement: Settlement| {
        settlement.spec.message.clear();
        Some(settlement)
    };
    let listed = pages::collect(&settlements, &ListParams::default(), without_message).await;
    let listed = jobs.ctx.unless_gone(namespace, listed);
    Ok(listed
        .attempt("list settlements in", namespace)?
        .unwrap_or_default())
}

/// The settlement's word on this job, if its claim covers the job's whole cost; with how far it has come, and the
/// claim.
///
/// It does where it lists the job, and also where it claims as much as was metered at the job's end: a job that left
/// the ledger before it was paid is listed nowhere.
fn covering(
    job: &InferenceJob,
    channel: &str,
    stored: &InferenceJobStatus,
    settlement: &Settlement,
) -> Option<(u8, NanoTon, JobSettlement)> {
    let status = settlement.status.clone().unwrap_or_default();
    let home = job.namespace().unwrap_or_default();
    let channel = FullName::new(&home, channel);
    let farm = settlement.namespace().unwrap_or_default();
    let mut redeems = settlement.spec.redeems.iter();
    let redeem = redeems.find(|redeem| redeem.full_name(&farm) == channel)?;
    let is_listed = redeem.jobs.iter().any(|covered| {
        Some(&covered.uid) == job.metadata.uid.as_ref() && covered.nano >= stored.cost.spent_nano
    });
    let claims_enough = stored
        .cost
        .settles_at_nano
        .is_some_and(|settles_at| redeem.cumulative_nano >= settles_at);
    if !is_listed && !claims_enough {
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
    let covered = JobSettlement {
        channel: channel.name,
        settlement: FullName::of(settlement).seen_from(&home),
        state: state.to_owned(),
        transaction: status.transaction,
        nano: stored.cost.spent_nano,
    };
    Some((rank, redeem.cumulative_nano, covered))
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

#[cfg(test)]
mod tests;
