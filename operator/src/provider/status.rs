//! What an offer says of itself.

use cocoon_api::{
    conditions::{self, ChildrenApplied, Observation, Ready, Reason as _, WalletReady},
    crd::{CocoonProvider, CocoonProviderStatus, provider::ModelStatus},
    names,
};
use cocoon_core::{
    agents::{AgentPod, AgentState, lost::Lost, worst::refusal},
    placement::{
        self, Placement,
        availability::{Agents, available},
    },
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, events::EventType},
};

use super::{
    Providers, RESYNC, copies,
    observe::Seen,
    payments,
    plan::Plan,
    validate::{ADDRESS_FIELDS, Invalid, ValidProvider},
};
use crate::{error::Result, events, settlement::Payments, status};

/// Writes the status that follows from the plan and from what was seen.
pub(super) async fn write(
    provider: &CocoonProvider,
    valid: &ValidProvider,
    plan: &Plan,
    seen: &Seen,
    children: Observation,
    held: Option<String>,
    providers: &Providers,
) -> Result<()> {
    let payments = payments::look(provider, providers).await?;
    announce(provider, &children, providers).await;
    announce_lost(provider, plan, providers).await;
    let mut status = derive(provider, valid, plan, seen, &payments, children);
    status.held_secret = held;
    let labels = [valid.namespace.as_str(), valid.name.as_str()];
    providers
        .ctx
        .metrics
        .gpus_free
        .with_label_values(&labels)
        .set(status.gpus.free.into());
    show(provider, &status, providers).await
}

/// An Event for each agent in whose place another pod is made: its own words go with its pod.
async fn announce_lost(provider: &CocoonProvider, plan: &Plan, providers: &Providers) {
    for Lost { pod, uid: _, what } in &plan.lost {
        let note = format!("agent {pod} is replaced: {}", what.words());
        let (reason, ctx) = (what.word(), &providers.ctx);
        events::publish(ctx, provider, EventType::Warning, reason, "Replace", note).await;
    }
}

/// An Event where what is made for the provider is refused, once for each time that it begins or changes.
async fn announce(provider: &CocoonProvider, children: &Observation, providers: &Providers) {
    let before = provider
        .status
        .as_ref()
        .and_then(|status| conditions::find(&status.conditions, ChildrenApplied::TYPE));
    let is_news = before.is_none_or(|before| before.message != children.message);
    if !children.status && is_news {
        let (reason, note) = (children.reason, children.message.clone());
        events::publish(
            &providers.ctx,
            provider,
            EventType::Warning,
            reason,
            "Apply",
            note,
        )
        .await;
    }
}

/// Says which field is wrong. What runs is left as it is.
pub(super) async fn reject(
    provider: &CocoonProvider,
    invalid: &Invalid,
    seen: &Seen,
    providers: &Providers,
) -> Result<Action> {
    let mut status = provider.status.clone().unwrap_or_default();
    let mut observed = vec![Ready::NotReady.condition(invalid.to_string())];
    if ADDRESS_FIELDS.contains(&invalid.field.as_str()) {
        observed.push(WalletReady::AddressInvalid.condition(invalid.problem.clone()));
    }
    set(&mut status, provider, observed, seen.now);
    status.earnings = payments::look(provider, providers).await?.earnings;
    show(provider, &status, providers).await?;
    Ok(Action::requeue(RESYNC))
}

/// Says what keeps a provider from going.
pub(super) async fn departing(provider: &CocoonProvider, message: &str, providers: &Providers) -> Result<()> {
    let mut status = provider.status.clone().unwrap_or_default();
    let observed = vec![Ready::NotReady.condition(format!("being deleted: {message}"))];
    set(&mut status, provider, observed, providers.ctx.now());
    show(provider, &status, providers).await
}

/// Writes the status, and shows its conditions as metrics.
async fn show(provider: &CocoonProvider, status: &CocoonProviderStatus, providers: &Providers) -> Result<()> {
    let (namespace, name) = (provider.namespace().unwrap_or_default(), provider.name_any());
    providers
        .ctx
        .metrics
        .provider_conditions(&namespace, &name, &status.conditions);
    status::apply(
        &providers.api(provider),
        provider,
        provider.status.as_ref(),
        status,
    )
    .await
    .map(drop)
}

fn set(
    status: &mut CocoonProviderStatus,
    provider: &CocoonProvider,
    observed: Vec<Observation>,
    now: Timestamp,
) {
    let generation = provider.metadata.generation;
    status.observed_generation = generation;
    for observation in observed {
        conditions::set(&mut status.conditions, observation, generation, now);
    }
}

pub(super) fn derive(
    provider: &CocoonProvider,
    valid: &ValidProvider,
    plan: &Plan,
    seen: &Seen,
    payments: &Payments,
    applied: Observation,
) -> CocoonProviderStatus {
    let Plan {
        inventory,
        placement,
        children: _,
        lost: _,
        surplus: _,
        downloads: _,
    } = plan;
    let unmade = (!applied.status).then(|| applied.message.clone());
    let agents = by_model(valid, placement, seen, unmade.as_deref());
    let bounded: Vec<String> = placement
        .models
        .iter()
        .filter_map(|placed| Some(placed.bounded?.message(&placed.name)))
        .collect();
    let models: Vec<ModelStatus> = agents
        .iter()
        .zip(&placement.models)
        .zip(&valid.models)
        .map(|((agents, placement), model)| ModelStatus {
            downloads: copies::downloads(&model.name, seen),
            ..copies::on(
                model,
                provider,
                seen,
                model_status(agents, placement, plan, valid, seen),
            )
        })
        .collect();
    let serving = models.iter().filter(|model| model.ready > 0).count();
    let parts = [
        applied,
        inventory.outcome.clone(),
        available(&agents, &bounded, inventory, &valid.requirements),
        payments.wallet.clone(),
        payments.settlement.clone(),
    ];
    let ready = ready(valid, &parts);
    let before = provider.status.as_ref().map(|status| status.conditions.clone());
    let mut status = CocoonProviderStatus {
        observed_generation: None,
        conditions: before.unwrap_or_default(),
        nodes: inventory.nodes,
        gpus: inventory.gpus,
        products: inventory.products.clone(),
        inventory_source: inventory.source,
        tokens_per_second: models
            .iter()
            .map(|model| model.tokens_per_second)
            .fold(0, i64::saturating_add),
        replicas: i32::try_from(seen.agents.iter().filter(|agent| exists(agent)).count()).unwrap_or(i32::MAX),
        selector: selector(valid),
        gpu_summary: format!("{}/{}", inventory.gpus.free, inventory.gpus.allocatable),
        model_summary: format!("{serving}/{}", models.len()),
        node_summary: format!("{}/{}", inventory.nodes.ready, inventory.nodes.matched),
        earnings: payments.earnings.clone(),
        held_secret: None,
        models,
    };
    set(
        &mut status,
        provider,
        parts.into_iter().chain([ready]).collect(),
        seen.now,
    );
    status
}

/// The agents of each model, in the order of the offer.
fn by_model<'a>(
    valid: &'a ValidProvider,
    placement: &placement::Placements,
    seen: &'a Seen,
    unmade: Option<&'a str>,
) -> Vec<Agents<'a>> {
    let pods_of = |model: &str| seen.agents.iter().filter(|agent| agent.model == model).collect();
    let devices = || {
        let said = seen.figures.iter();
        said.map(|(uid, figures)| (uid.as_str(), &figures.devices))
            .collect()
    };
    valid
        .models
        .iter()
        .zip(&placement.models)
        .map(|(model, placement)| Agents {
            model: &model.name,
            gpus_per_replica: model.gpus_per_replica,
            wanted: placement.replicas,
            pods: pods_of(&model.name),
            refused: refused(valid, &model.name, seen, unmade),
            devices: devices(),
        })
        .collect()
}

/// Sums up: the first condition that is false speaks for all.
fn ready(valid: &ValidProvider, parts: &[Observation]) -> Observation {
    if valid.paused {
        return Ready::Paused.condition("spec.paused is set: no new work is taken");
    }
    match parts.iter().find(|part| !part.status) {
        Some(part) => Ready::NotReady.condition(format!("{}: {}", part.reason, part.message)),
        None => Ready::Ready.condition("takes jobs and is paid for them"),
    }
}

fn model_status(
    agents: &Agents<'_>,
    placement: &Placement,
    plan: &Plan,
    valid: &ValidProvider,
    seen: &Seen,
) -> ModelStatus {
    let figures = agents.pods.iter().filter_map(|pod| seen.figures.get(&pod.uid));
    ModelStatus {
        name: placement.name.clone(),
        phase: agents.phase(&plan.inventory, &valid.requirements),
        replicas: placement.replicas,
        ready: agents.ready(),
        queued: seen
            .demand
            .get(&placement.name)
            .map_or(0, |demand| demand.waiting),
        tokens_per_second: whole(figures.map(|figures| figures.tokens_per_second).sum()),
        cached_nodes: Vec::new(),
        cached_sha256: None,
        downloads: Vec::new(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates, and the figure is only shown"
)]
fn whole(speed: f64) -> i64 {
    speed.round() as i64
}

/// Why no pods of a model are made.
fn refused<'a>(
    valid: &ValidProvider,
    model: &str,
    seen: &'a Seen,
    unmade: Option<&'a str>,
) -> Option<&'a str> {
    let deployments = seen.deployments.iter().map(AsRef::as_ref);
    refusal(deployments, &valid.name, model, unmade)
}

fn exists(agent: &AgentPod) -> bool {
    agent.state != AgentState::Terminating && !agent.state.has_ended()
}

/// Selects the agents of the provider, for the scale subresource.
fn selector(valid: &ValidProvider) -> String {
    format!(
        "{}={},{}={}",
        names::COMPONENT_LABEL,
        names::AGENT_COMPONENT,
        names::PROVIDER_LABEL,
        valid.name
    )
}
