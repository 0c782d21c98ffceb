//! Whether a pod that looks like an agent is one: what the API server says of it, of its token and of those that own
//! it.
//!
//! Labels and owner references are whatever the author of a pod writes. So a pod is an agent only if it runs what the
//! operator asked for and nothing beside, and the process that answers is one of this very pod.

use std::net::IpAddr;

use cocoon_api::names;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        authentication::v1::TokenReviewStatus,
        core::v1::{Container, Pod, PodSpec, Probe, Volume},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

/// What the API server says of a bound token, beside its user ("Managing Service Accounts", bound tokens): UID of the
/// pod.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Likewise the pod's name.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Mode of a volume's files where none is said.
const DEFAULT_MODE: i32 = 0o644;
/// Seconds of a token where none are said.
const DEFAULT_EXPIRATION: i64 = 3600;
/// The `ServiceAccount` of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// What an agent must be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// UID of the provider.
    pub provider: String,
    /// Namespace of the provider.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// What its pods run, as the operator asks for them; `None` where the offer says nothing that could run.
    pub spec: Option<PodSpec>,
}

/// Why a pod is no agent, whatever its labels say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Stranger {
    /// Its `ReplicaSet`, or the Deployment of that, is not the provider's.
    #[error("it was not made by the Deployment of this provider and model")]
    NotOwned,
    /// The offer cannot be acted on.
    #[error("the offer says nothing that an agent could be compared with")]
    NothingOffered,
    /// It runs something else than the operator asked for.
    #[error(
        "its {0} not what the operator asked for: another author, or something in the cluster that changes pods"
    )]
    Runs(Part),
    /// The pod of this UID is at another address.
    #[error("it is not at the address that was dialled")]
    Elsewhere,
    /// What serves there does not speak the protocol, or shows no token.
    #[error("what serves there shows no token")]
    NoToken,
    /// The API server does not take the token for the agents' audience: it is expired, another audience's, or none at
    /// all.
    #[error("the API server does not take its token")]
    TokenRefused,
    /// The token is bound to another pod, or to none.
    #[error("its token is another pod's")]
    OtherPod,
    /// Its certificate is not valid by the operator's clock.
    #[error("its certificate is not valid now: the clocks of node and operator differ, or it is no agent")]
    CertificateInvalid,
}

/// Part of a pod that is not as the operator asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Containers that there should not be, or lack.
    Containers,
    /// Image of a container.
    Image,
    /// Command, arguments, working folder or terminal of a container.
    Command,
    /// Environment of a container.
    Environment,
    /// Commands that are run in a container by hooks or probes.
    Hooks,
    /// What is mounted in a container.
    Mounts,
    /// Volumes.
    Volumes,
    /// `ServiceAccount`.
    Account,
    /// What it shares with its node or among its containers.
    Isolation,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Containers => "containers are",
            Self::Image => "image is",
            Self::Command => "command is",
            Self::Environment => "environment is",
            Self::Hooks => "hooks or probes are",
            Self::Mounts => "mounts are",
            Self::Volumes => "volumes are",
            Self::Account => "ServiceAccount is",
            Self::Isolation => "isolation is",
        })
    }
}

/// Whether the pod runs what is wanted, at this address.
///
/// # Errors
/// It does not.
pub fn runs(pod: &Pod, address: IpAddr, wanted: &Wanted) -> Result<(), Stranger> {
    let is_there = |text: &str| text.parse() == Ok(address);
    let status = pod.status.as_ref();
    let mut addresses = status
        .into_iter()
        .flat_map(|status| status.pod_ips.iter().flatten())
        .map(|found| &found.ip)
        .chain(status.and_then(|status| status.pod_ip.as_ref()));
    if !addresses.any(|found| is_there(found)) {
        return Err(Stranger::Elsewhere);
    }
    let wanted = wanted.spec.as_ref().ok_or(Stranger::NothingOffered)?;
    let found = pod.spec.as_ref().ok_or(Stranger::Runs(Part::Containers))?;
    match different(found, wanted) {
        Some(part) => Err(Stranger::Runs(part)),
        None => Ok(()),
    }
}

/// Name of the `ReplicaSet` that owns the pod.
///
/// # Errors
/// None does.
pub fn replica_set(pod: &Pod) -> Result<&str, Stranger> {
    owner(&pod.metadata, "ReplicaSet").map(|owner| owner.name.as_str())
}

/// Name of the Deployment that owns the `ReplicaSet`, which must own the pod.
///
/// # Errors
/// None does, or the `ReplicaSet` is another.
pub fn deployment<'a>(pod: &Pod, replica_set: &'a ReplicaSet) -> Result<&'a str, Stranger> {
    is(owner(&pod.metadata, "ReplicaSet")?, &replica_set.metadata)?;
    owner(&replica_set.metadata, "Deployment").map(|owner| owner.name.as_str())
}

/// Whether the provider owns the Deployment, which must own the `ReplicaSet`, and whether it is the one for the model.
///
/// # Errors
/// It is not so.
pub fn provider(replica_set: &ReplicaSet, deployment: &Deployment, wanted: &Wanted) -> Result<(), Stranger> {
    is(owner(&replica_set.metadata, "Deployment")?, &deployment.metadata)?;
    let metadata = &deployment.metadata;
    let labels = metadata.labels.as_ref();
    let model = labels.and_then(|labels| labels.get(names::MODEL_LABEL));
    let of_provider = owner(metadata, "CocoonProvider")?;
    if of_provider.uid == wanted.provider && model == Some(&wanted.model) {
        Ok(())
    } else {
        Err(Stranger::NotOwned)
    }
}

/// Whether the API server says that the token is bound to this pod and for the operator.
///
/// # Errors
/// It does not say so.
pub fn token(review: &TokenReviewStatus, pod: &ObjectMeta, namespace: &str) -> Result<(), Stranger> {
    // An API server that does not know audiences leaves them out, and has checked none.
    let is_for_agents = review
        .audiences
        .iter()
        .flatten()
        .any(|audience| audience == names::AGENT_AUDIENCE);
    if review.authenticated != Some(true) || !is_for_agents {
        return Err(Stranger::TokenRefused);
    }
    let user = review.user.as_ref().ok_or(Stranger::TokenRefused)?;
    let is_of_namespace = user
        .username
        .as_ref()
        .is_some_and(|name| name.starts_with(&format!("system:serviceaccount:{namespace}:")));
    let says = |key: &str, value: &Option<String>| {
        let values = user.extra.as_ref().and_then(|extra| extra.get(key));
        match (values.map(Vec::as_slice), value) {
            (Some([only]), Some(value)) => only == value,
            _ => false,
        }
    };
    if is_of_namespace && says(POD_UID, &pod.uid) && says(POD_NAME, &pod.name) {
        Ok(())
    } else {
        Err(Stranger::OtherPod)
    }
}

fn owner<'a>(metadata: &'a ObjectMeta, kind: &str) -> Result<&'a OwnerReference, Stranger> {
    let owners = metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true) && owner.kind == kind);
    controllers.next().ok_or(Stranger::NotOwned)
}

fn is(owner: &OwnerReference, metadata: &ObjectMeta) -> Result<(), Stranger> {
    let is_same = metadata.uid.as_ref() == Some(&owner.uid) && metadata.name.as_ref() == Some(&owner.name);
    if is_same { Ok(()) } else { Err(Stranger::NotOwned) }
}

/// What of a pod differs from what was asked for, among that by which its author could have a say in what its processes
/// do. Left out is what the cluster fills in or may change: where it runs, what it may take, how it is pulled, and what
/// guards the node from it.
fn different(found: &PodSpec, wanted: &PodSpec) -> Option<Part> {
    let has_debuggers = found
        .ephemeral_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty());
    let account = |spec: &PodSpec| {
        let name = spec.service_account_name.clone();
        name.unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned())
    };
    let shared = |spec: &PodSpec| {
        [
            spec.host_ipc,
            spec.host_network,
            spec.host_pid,
            spec.share_process_namespace,
        ]
        .map(|shares| shares == Some(true))
    };
    let init = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    if has_debuggers {
        return Some(Part::Containers);
    }
    if shared(found) != shared(wanted) || found.runtime_class_name != wanted.runtime_class_name {
        return Some(Part::Isolation);
    }
    if account(found) != account(wanted) {
        return Some(Part::Account);
    }
    if volumes(found) != volumes(wanted) {
        return Some(Part::Volumes);
    }
    different_containers(&found.containers, &wanted.containers)
        .or_else(|| different_containers(&init(found), &init(wanted)))
}

fn different_containers(found: &[Container], wanted: &[Container]) -> Option<Part> {
    if found.len() != wanted.len() {
        return Some(Part::Containers);
    }
    found
        .iter()
        .zip(wanted)
        .find_map(|(found, wanted)| different_container(found, wanted))
}

fn different_container(found: &Container, wanted: &Container) -> Option<Part> {
    let command = |container: &Container| {
        let streams = [container.stdin, container.stdin_once, container.tty];
        (
            container.name.clone(),
            container.command.clone().unwrap_or_default(),
            container.args.clone().unwrap_or_default(),
            container.working_dir.clone().unwrap_or_default(),
            streams.map(|is| is == Some(true)),
        )
    };
    let environment = |container: &Container| {
        (
            container.env.clone().unwrap_or_default(),
            container.env_from.clone().unwrap_or_default(),
        )
    };
    let mounts = |container: &Container| {
        (
            container.volume_mounts.clone().unwrap_or_default(),
            container.volume_devices.clone().unwrap_or_default(),
        )
    };
    if found.image != wanted.image {
        Some(Part::Image)
    } else if command(found) != command(wanted) {
        Some(Part::Command)
    } else if environment(found) != environment(wanted) {
        Some(Part::Environment)
    } else if commands(found) != commands(wanted) {
        Some(Part::Hooks)
    } else if mounts(found) != mounts(wanted) {
        Some(Part::Mounts)
    } else {
        None
    }
}

/// What else is run in a container. Probes over the network run nothing.
fn commands(container: &Container) -> impl PartialEq {
    let of_probe = |probe: &Option<Probe>| probe.as_ref().and_then(|probe| probe.exec.clone());
    let probes = [
        of_probe(&container.startup_probe),
        of_probe(&container.readiness_probe),
        of_probe(&container.liveness_probe),
    ];
    (probes, container.lifecycle.clone().unwrap_or_default())
}

/// Volumes, with what the API server fills in.
fn volumes(spec: &PodSpec) -> Vec<Volume> {
    let mut volumes = spec.volumes.clone().unwrap_or_default();
    for volume in &mut volumes {
        if let Some(host) = &mut volume.host_path {
            host.type_.get_or_insert_default();
        }
        if let Some(secret) = &mut volume.secret {
            secret.default_mode.get_or_insert(DEFAULT_MODE);
        }
        if let Some(map) = &mut volume.config_map {
            map.default_mode.get_or_insert(DEFAULT_MODE);
        }
        if let Some(projected) = &mut volume.projected {
            projected.default_mode.get_or_insert(DEFAULT_MODE);
            let tokens = projected.sources.iter_mut().flatten();
            for token in tokens.filter_map(|source| source.service_account_token.as_mut()) {
                token.expiration_seconds.get_or_insert(DEFAULT_EXPIRATION);
            }
        }
    }
    volumes
}

#[cfg(test)]
mod tests;
