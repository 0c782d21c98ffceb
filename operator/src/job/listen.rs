//! Which jobs a change concerns.

use std::{collections::HashSet, sync::Arc};

use cocoon_api::{
    crd::{CocoonProvider, FullName, InferenceJob, PaymentChannel, Settlement, job::AssignmentState},
    names,
};
use cocoon_core::{
    agents::{AgentPod, Refusal, worst::refusal},
    placement::demand::chosen,
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{
    ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use super::{context::Jobs, queue::Wanted};
use crate::channel::validate::unready_wallet;

/// Wakes jobs from here on: those that changed, and those that wait for what changed.
pub(super) fn listen(jobs: &Arc<Jobs>) {
    let watches = &jobs.ctx.watches;
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.jobs.listen(move |event, _| own.hear(event, &store));
    let own = jobs.clone();
    watches.settlements.listen(move |event, _| {
        if let Event::InitApply(settlement) | Event::Apply(settlement) | Event::Delete(settlement) = event {
            own.wakes.wake_all(paid_by(settlement));
        }
    });
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.providers.listen(move |event, before| {
        if let Event::InitApply(provider) | Event::Apply(provider) | Event::Delete(provider) = event
            && (matches!(event, Event::Delete(_))
                || before.is_none_or(|before| offer(before) != offer(provider)))
        {
            let changed = FullName::of(provider);
            own.wakes
                .wake_all(open_jobs(&store, |job| may_serve(&changed, job)));
        }
    });
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.channels.listen(move |event, before| {
        own.latest_channels.hear(event);
        if let Event::InitApply(channel) | Event::Apply(channel) | Event::Delete(channel) = event {
            let is_other = matches!(event, Event::Delete(_))
                || before.is_none_or(|before| standing(before) != standing(channel));
            let has_other_funds = before.is_none_or(|before| funds(before) != funds(channel));
            if is_other || has_other_funds {
                let home = channel.metadata.namespace.as_ref();
                own.wakes.wake_all(open_jobs(&store, |job| {
                    let pays = job.spec.billing.channel_ref.as_ref().map(|channel| &channel.name);
                    // Whose budget is reserved waits for nobody else's.
                    let is_covered = job
                        .status
                        .as_ref()
                        .is_some_and(|status| status.cost.reserved_nano.nano() > 0);
                    job.metadata.namespace.as_ref() == home
                        && pays == channel.metadata.name.as_ref()
                        && (is_other || !is_covered)
                }));
            }
        }
    });
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.pods.listen(move |event, before| {
        if let Event::InitApply(pod) | Event::Apply(pod) | Event::Delete(pod) = event {
            let agent = |pod: &Pod| AgentPod::from_pod(pod, Timestamp::now());
            let known = before.and_then(agent);
            let current = agent(pod).filter(|_| !matches!(event, Event::Delete(_)));
            if known != current || matches!(event, Event::Delete(_)) {
                let name = pod.labels().get(names::PROVIDER_LABEL);
                let provider = name.map(|name| FullName::new(pod.namespace().unwrap_or_default(), name));
                own.wakes.wake_all(open_jobs(&store, |job| {
                    provider.is_some() && chosen(job) == provider
                }));
            }
        }
    });
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.deployments.listen(move |event, before| {
        if let Event::InitApply(deployment) | Event::Apply(deployment) | Event::Delete(deployment) = event
            && before.and_then(refused) != refused(deployment)
        {
            let name = deployment.labels().get(names::PROVIDER_LABEL);
            let provider = name.map(|name| FullName::new(deployment.namespace().unwrap_or_default(), name));
            own.wakes.wake_all(open_jobs(&store, |job| {
                provider.is_some() && chosen(job) == provider
            }));
        }
    });
    let (own, store) = (jobs.clone(), watches.jobs.reader());
    watches.namespaces.listen(move |event, before| {
        if let Event::Apply(namespace) = event
            && before.is_none_or(|before| before.labels() != namespace.labels())
        {
            // Providers may allow it by its labels.
            let name = namespace.metadata.name.as_ref();
            own.wakes
                .wake_all(open_jobs(&store, |job| job.metadata.namespace.as_ref() == name));
        }
    });
}

impl Jobs {
    fn hear(&self, event: &Event<InferenceJob>, store: &Store<InferenceJob>) {
        self.latest.hear(event);
        match event {
            Event::InitApply(job) => {
                self.hold(job);
                self.wakes.wake(ObjectRef::from_obj(job));
            }
            Event::Apply(job) => self.wakes.wake(ObjectRef::from_obj(job)),
            // An attempt may run still: of a job that is free, or where somebody took the finalizer away.
            Event::Delete(job) => {
                let uid = job.uid().unwrap_or_default();
                self.dispatcher.vanished(&uid);
                self.turns.forget(job);
                // It may have left one place.
                if let Some(wanted) = self.queue.forget(&uid).or_else(|| wanted(job)) {
                    self.wakes.wake_all(self.queue.next(&wanted, 1));
                }
            }
            // A watch that was interrupted does not tell what went meanwhile.
            Event::InitDone => {
                let there: HashSet<String> = store.state().iter().filter_map(|job| job.uid()).collect();
                self.dispatcher.keep_only(|uid| there.contains(uid));
                self.queue.keep_only(|uid| there.contains(uid));
            }
            Event::Init => {}
        }
    }

    /// Notes the agent that an earlier process gave the job, or the place in which the job waits for one.
    fn hold(&self, job: &InferenceJob) {
        let status = job.status.as_ref();
        let waits = status.is_some_and(|status| status.queue_position.is_some());
        if let Some(wanted) = wanted(job).filter(|_| waits) {
            self.queue.wait(job, wanted);
        }
        let assignments = job.status.iter().flat_map(|status| &status.assignments);
        for active in assignments.filter(|assignment| assignment.state == AssignmentState::Active) {
            self.queue.hold(&job.uid().unwrap_or_default(), &active.pod_uid);
        }
    }
}

/// Why no pod of a Deployment can be made: what of it jobs depend on.
fn refused(deployment: &Deployment) -> Option<Refusal> {
    let label = |label| deployment.labels().get(label).map(String::as_str);
    let (provider, model) = (label(names::PROVIDER_LABEL)?, label(names::MODEL_LABEL)?);
    refusal([deployment], provider, model, None).map(Refusal::of)
}

/// What a job waits for, or waited for, as its status says.
fn wanted(job: &InferenceJob) -> Option<Wanted> {
    Some(Wanted {
        provider: chosen(job)?,
        model: job.spec.model.clone(),
    })
}

/// Jobs that a settlement pays.
fn paid_by(settlement: &Settlement) -> Vec<ObjectRef<InferenceJob>> {
    let home = settlement.namespace().unwrap_or_default();
    let redeems = settlement.spec.redeems.iter();
    let jobs = redeems.flat_map(|redeem| {
        let FullName { namespace, name: _ } = redeem.full_name(&home);
        let jobs = redeem.jobs.iter();
        jobs.map(move |job| ObjectRef::new(&job.name).within(&namespace))
    });
    jobs.collect()
}

/// Whether a provider serves the job or could come to: one that nobody serves yet may be for any provider of its
/// namespace, or name one of another.
fn may_serve(provider: &FullName, job: &InferenceJob) -> bool {
    chosen(job).map_or_else(
        || {
            let is_home = job.metadata.namespace.as_ref() == Some(&provider.namespace);
            is_home || job.spec.provider_ref.is_some() || job.spec.billing.channel_ref.is_some()
        },
        |chosen| chosen == *provider,
    )
}

/// What of a provider jobs depend on.
fn offer(provider: &CocoonProvider) -> impl PartialEq + use<> {
    (
        provider.metadata.uid.clone(),
        provider.metadata.generation,
        provider.metadata.deletion_timestamp.clone(),
        unready_wallet(provider),
    )
}

/// What of a channel all of its jobs depend on.
fn standing(channel: &PaymentChannel) -> impl PartialEq + use<'_> {
    let metadata = &channel.metadata;
    let status = channel.status.as_ref();
    let contract = status.map(|status| {
        (
            &status.state,
            status.deposit_nano,
            status.epoch,
            status.challenge_ends_at,
        )
    });
    let evidence = status.map(|status| (&status.vouchers, &status.conditions, status.unexplained_nano));
    (
        &metadata.uid,
        metadata.generation,
        &metadata.deletion_timestamp,
        contract,
        evidence,
    )
}

/// What of a channel jobs depend on whose budget is not reserved.
fn funds(channel: &PaymentChannel) -> impl PartialEq + use<'_> {
    channel.status.as_ref().map(|status| {
        let entries = (status.reservations.len(), status.counters.len());
        (&status.available, entries)
    })
}

/// Jobs that have not ended and that `concerned` holds for.
fn open_jobs(
    jobs: &Store<InferenceJob>,
    concerned: impl Fn(&InferenceJob) -> bool,
) -> Vec<ObjectRef<InferenceJob>> {
    let found = jobs.state_filter(|job| !job.is_ended() && concerned(job));
    found
        .iter()
        .map(|job| ObjectRef::from_obj(job.as_ref()))
        .collect()
}
