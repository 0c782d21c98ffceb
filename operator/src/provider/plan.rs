//! From what was read to what is to be there. A plan is data; applying it decides nothing.

use std::{collections::BTreeMap, sync::Arc};

use cocoon_api::names;
use cocoon_core::{
    agents::{
        fetch::{self, FetchPod},
        lost::Lost,
    },
    inventory::Inventory,
    placement::{self, Model, Placement, Problem},
};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::ResourceExt as _;

use super::{
    children::{self, Child, download},
    naming,
    observe::Seen,
    validate::{Source, ValidModel, ValidProvider},
    waiting,
};
use crate::config::Config;

/// What is to be there.
pub(super) struct Plan {
    pub(super) inventory: Inventory,
    pub(super) placement: placement::Placements,
    /// In the order in which they are applied: what agents need comes before them.
    pub(super) children: Vec<Child>,
    /// Agents that go, so that other pods take their places.
    pub(super) lost: Vec<Lost>,
    /// Names of Deployments, and of their disruption budgets, whose model is not offered any more.
    pub(super) surplus: Vec<String>,
    /// Downloads onto nodes on which agents wait.
    pub(super) downloads: Downloads,
}

/// Downloads that begin, and those that go.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    pub(super) start: Vec<Beginning>,
    pub(super) remove: Vec<FetchPod>,
}

/// A download that begins.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) model: String,
    /// Secret whose texts are sent as headers.
    pub(super) headers: Option<String>,
    pub(super) child: Child,
}

pub(super) fn plan(valid: &ValidProvider, seen: &Seen, config: &Config) -> Plan {
    let nodes = seen.nodes.iter().map(AsRef::as_ref);
    let pods = seen.pods.iter().map(AsRef::as_ref);
    let inventory = Inventory::take(nodes, pods, &valid.requirements);
    let own = own_deployments(valid, seen);
    let names: Vec<String> = valid
        .models
        .iter()
        .map(|model| deployment_name(valid, model, seen, &own))
        .collect();
    let models = valid
        .models
        .iter()
        .zip(&names)
        .map(|(offer, name)| model(offer, name, seen, &own))
        .collect();
    let placement = placement::place(&Problem {
        models,
        replica_bound: valid.replica_bound,
        paused: valid.paused,
        inventory: &inventory,
        wanted_elsewhere: waiting::elsewhere(valid, &seen.pods),
        leaving: waiting::leaving(valid, &seen.agents),
        now: seen.now,
    });
    let mut children = vec![children::network_policy(valid, &config.namespace)];
    children.extend(download::policy(valid, &config.namespace));
    children.push(children::tls_secret(valid, &seen.trusted));
    for ((model, name), placement) in valid.models.iter().zip(&names).zip(&placement.models) {
        let Placement {
            name: _,
            replicas,
            idle_since,
            bounded: _,
        } = placement;
        children.push(children::disruption_budget(valid, model, name));
        children.push(children::deployment(
            valid,
            model,
            name,
            *replicas,
            *idle_since,
            config,
        ));
    }
    let surplus = own
        .iter()
        .map(|deployment| deployment.name_any())
        .filter(|name| !names.contains(name))
        .collect();
    Plan {
        inventory,
        placement,
        children,
        lost: seen.lost.clone(),
        surplus,
        downloads: downloads(valid, &names, seen, config),
    }
}

/// `names` are those of the models' agents.
fn downloads(valid: &ValidProvider, names: &[String], seen: &Seen, config: &Config) -> Downloads {
    let offered: BTreeMap<&str, (&ValidModel, &str)> = valid
        .models
        .iter()
        .zip(names)
        .map(|(model, agents)| (model.name.as_str(), (model, agents.as_str())))
        .collect();
    let name = |model: &str, node: &str| {
        let (model, agents) = offered.get(model)?;
        download::name(agents, model, node)
    };
    let due = fetch::due(&seen.agents, &seen.downloads, name);
    let begin = |(model, node): &(String, String)| {
        let (model, agents) = offered.get(model.as_str())?;
        let headers = match &model.source {
            Source::Url { headers, .. } => headers.clone(),
            Source::HostPath(_) | Source::Pvc { .. } => None,
        };
        Some(Beginning {
            model: model.name.clone(),
            headers,
            child: download::pod(valid, model, agents, node, config)?,
        })
    };
    Downloads {
        start: due.start.iter().filter_map(begin).collect(),
        remove: due.remove,
    }
}

fn own_deployments(valid: &ValidProvider, seen: &Seen) -> Vec<Arc<Deployment>> {
    let is_own = |deployment: &&Arc<Deployment>| {
        deployment
            .owner_references()
            .iter()
            .any(|owner| owner.uid == valid.owner.uid)
    };
    seen.deployments.iter().filter(is_own).cloned().collect()
}

/// The name that a model's Deployment has, or is to have: the plain one, unless another provider's model took it.
fn deployment_name(
    valid: &ValidProvider,
    model: &ValidModel,
    seen: &Seen,
    own: &[Arc<Deployment>],
) -> String {
    let serves =
        |deployment: &&Arc<Deployment>| deployment.labels().get(names::MODEL_LABEL) == Some(&model.name);
    if let Some(deployment) = own.iter().find(serves) {
        return deployment.name_any();
    }
    let plain = naming::agents(&valid.name, &model.name);
    let is_taken = seen
        .deployments
        .iter()
        .any(|deployment| deployment.name_any() == plain);
    if is_taken {
        naming::digested(&valid.name, &model.name)
    } else {
        plain
    }
}

fn model(offer: &ValidModel, name: &str, seen: &Seen, own: &[Arc<Deployment>]) -> Model {
    let deployment = own.iter().find(|deployment| deployment.name_any() == *name);
    let replicas = deployment
        .and_then(|deployment| deployment.spec.as_ref()?.replicas)
        .unwrap_or(0);
    let idle_since = deployment
        .and_then(|deployment| deployment.annotations().get(names::IDLE_SINCE_ANNOTATION))
        .and_then(|text| text.parse::<Timestamp>().ok());
    Model {
        name: offer.name.clone(),
        gpus_per_replica: offer.gpus_per_replica,
        min_replicas: offer.min_replicas,
        max_replicas: offer.max_replicas,
        idle_timeout: offer.idle_timeout,
        demand: seen.demand.get(&offer.name).copied().unwrap_or_default(),
        current: u32::try_from(replicas).unwrap_or(0),
        placed: seen.placed.get(&offer.name).copied().unwrap_or(0),
        idle_since,
    }
}
