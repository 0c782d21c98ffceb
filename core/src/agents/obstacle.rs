//! What keeps an agent from serving: read once from its pod, and said by the provider and by the job in words of the same meaning.

use cocoon_api::{
    agent::GpuFault,
    conditions::{AgentsAvailable, Scheduled},
};

/// What keeps an agent from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its container ends, or cannot be made.
    Failed,
    /// It cannot use the GPUs that it was given.
    Device(GpuFault),
    /// It serves, and is no agent of the provider.
    Stranger,
    /// Its image cannot be had.
    Image,
    /// Its model cannot be downloaded.
    Download,
    /// The file of its model is not on its node.
    File,
    /// Its model is being downloaded.
    Model,
    /// Its volumes are not set up.
    Volumes,
    /// No node takes it.
    Node(Shortage),
    /// Nothing: it starts, or loads its model.
    Starting,
}

/// What the nodes lack, as the scheduler says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Free GPUs, or other devices of a plugin.
    Gpus,
    /// Processor, memory, local storage, or room for one more pod.
    Resources,
    /// A claim that the pod names, of a volume or a device, is not there or not bound.
    Claim,
    /// Nodes that would do take no new pods.
    Cordoned,
    /// Nodes that would do have taints that the pod does not tolerate.
    Tainted,
    /// Every node is ruled out by its labels.
    Labels,
    /// Something else.
    Other,
}

/// Why the API server makes no pod of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The namespace's quota is used up.
    Quota,
    /// A limit range of the namespace does not allow what the pod asks for.
    LimitRange,
    /// The namespace's pod security level does not allow what the pod is.
    PodSecurity,
    /// Something else.
    Other,
}

impl Obstacle {
    /// The worst is 1.
    pub fn rank(self) -> u8 {
        match self {
            Self::Failed | Self::Device(_) | Self::Stranger => 1,
            Self::Image | Self::Download => 2,
            Self::File | Self::Model | Self::Volumes => 3,
            Self::Node(_) => 4,
            Self::Starting => 5,
        }
    }

    /// The provider's reason.
    pub fn for_provider(self) -> AgentsAvailable {
        match self {
            Self::Failed => AgentsAvailable::AgentFailed,
            Self::Device(fault) => AgentsAvailable::from(fault),
            Self::Stranger => AgentsAvailable::AgentUnrecognised,
            Self::Image => AgentsAvailable::ImagePullFailed,
            Self::Download => AgentsAvailable::DownloadFailed,
            Self::File | Self::Model => AgentsAvailable::ModelNotCached,
            Self::Volumes => AgentsAvailable::VolumesNotReady,
            Self::Node(Shortage::Gpus) => AgentsAvailable::InsufficientGPU,
            Self::Node(Shortage::Resources) => AgentsAvailable::InsufficientResources,
            Self::Node(Shortage::Claim) => AgentsAvailable::ClaimMissing,
            Self::Node(Shortage::Cordoned) => AgentsAvailable::NodesCordoned,
            Self::Node(Shortage::Tainted) => AgentsAvailable::NodesTainted,
            Self::Node(Shortage::Labels) => AgentsAvailable::NoMatchingNode,
            Self::Node(Shortage::Other) => AgentsAvailable::Unschedulable,
            Self::Starting => AgentsAvailable::Starting,
        }
    }

    /// The reason of a job that waits for the agent.
    pub fn for_job(self) -> Scheduled {
        match self {
            Self::Failed | Self::Image => Scheduled::AgentFailed,
            Self::Device(_) => Scheduled::GPUUnusable,
            Self::Stranger => Scheduled::AgentUnrecognised,
            Self::Download => Scheduled::DownloadFailed,
            Self::File | Self::Model => Scheduled::ModelNotCached,
            Self::Volumes => Scheduled::VolumesNotReady,
            Self::Node(Shortage::Gpus) => Scheduled::InsufficientGPU,
            Self::Node(Shortage::Resources) => Scheduled::InsufficientResources,
            Self::Node(Shortage::Claim) => Scheduled::ClaimMissing,
            Self::Node(Shortage::Cordoned) => Scheduled::NodesCordoned,
            Self::Node(Shortage::Tainted) => Scheduled::NodesTainted,
            Self::Node(Shortage::Labels) => Scheduled::NoMatchingNode,
            Self::Node(Shortage::Other) => Scheduled::Unschedulable,
            Self::Starting => Scheduled::ColdStart,
        }
    }
}

/// The scheduler's words for nodes with taints.
const TAINT: &str = "untolerated taint";
/// How the taint of a control plane's node follows them, where the scheduler names it.
const CONTROL_PLANE: &str = " {node-role.kubernetes.io/";

/// The number in `2 node(s) had `, the last of its kind in these words; 1 where there is none.
fn count_of(words: &str) -> u32 {
    let counted = words.rsplit_once(" node(s)").map(|(before, _)| before);
    let number = counted.and_then(|before| before.rsplit(' ').next()?.parse().ok());
    number.unwrap_or(1)
}

impl Shortage {
    /// Reads the scheduler's words: `0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) were unschedulable.` Of
    /// several shortages that comes first without which the pod would run soonest: what others hold and give back.
    pub fn of(words: &str) -> Self {
        // What preemption could do is said behind, in the same words.
        let words = words.split("preemption:").next().unwrap_or_default();
        let mut insufficient = words
            .match_indices("Insufficient ")
            .map(|(at, found)| &words[at + found.len()..])
            .map(|rest| rest.split([',', ' ']).next().unwrap_or_default());
        // A device has its plugin's domain before its name.
        if insufficient.clone().any(|resource| resource.contains('/')) {
            return Self::Gpus;
        }
        let says = |words_of: &[&str]| words_of.iter().any(|part| words.contains(part));
        if insufficient.next().is_some() || says(&["Too many pods"]) {
            Self::Resources
        } else if says(&[
            "persistentvolumeclaim",
            "PersistentVolumeClaim",
            "resourceclaim",
            "ResourceClaim",
            "allocate all claims",
        ]) {
            Self::Claim
        } else if says(&["were unschedulable"]) {
            Self::Cordoned
        } else {
            Self::of_taints_and_labels(words)
        }
    }

    /// Which of the two rules out most nodes. Where a control plane has nodes of its own they are tainted, for agents as for
    /// everything else, and newer schedulers do not say whose taints they mean: a few do not hide that all others lack a label.
    fn of_taints_and_labels(words: &str) -> Self {
        let (mut tainted, mut unmatched) = (0, 0);
        for (at, _) in words.match_indices(TAINT) {
            if !words[at + TAINT.len()..].starts_with(CONTROL_PLANE) {
                tainted += count_of(&words[..at]);
            }
        }
        for label in ["node affinity/selector", "node selector"] {
            let found = words.match_indices(label);
            unmatched += found.map(|(at, _)| count_of(&words[..at])).sum::<u32>();
        }
        match (tainted, unmatched) {
            (0, 0) => Self::Other,
            (tainted, unmatched) if tainted < unmatched => Self::Labels,
            _ => Self::Tainted,
        }
    }
}

impl Refusal {
    /// Reads the API server's words.
    pub fn of(words: &str) -> Self {
        if words.contains("exceeded quota") || words.contains("failed quota") {
            Self::Quota
        } else if words.contains("violates PodSecurity") {
            Self::PodSecurity
        } else if words.contains("usage per ") || words.contains("limit to request ratio per ") {
            Self::LimitRange
        } else {
            Self::Other
        }
    }

    /// The provider's reason.
    pub fn for_provider(self) -> AgentsAvailable {
        match self {
            Self::Quota => AgentsAvailable::QuotaExceeded,
            Self::LimitRange => AgentsAvailable::LimitRangeExceeded,
            Self::PodSecurity => AgentsAvailable::PodSecurityViolated,
            Self::Other => AgentsAvailable::AgentFailed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_missing_only_where_the_scheduler_says_so() {
        for (words, shortage) in [
            (
                "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) were unschedulable. preemption: 0/2 nodes are \
                 available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
                Shortage::Gpus,
            ),
            (
                "0/1 nodes are available: 1 Insufficient nvidia.com/mig-1g.10gb.",
                Shortage::Gpus,
            ),
            (
                "0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu.",
                Shortage::Resources,
            ),
            ("0/1 nodes are available: 1 Too many pods.", Shortage::Resources),
            (
                "0/2 nodes are available: persistentvolumeclaim \"models\" not found. preemption: 0/2 nodes are available: 2 \
                 Preemption is not helpful for scheduling.",
                Shortage::Claim,
            ),
            (
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
                Shortage::Claim,
            ),
            (
                "waiting for the pod's resourceclaim to be created",
                Shortage::Claim,
            ),
            (
                "0/1 nodes are available: 1 cannot allocate all claims.",
                Shortage::Claim,
            ),
            (
                "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable.",
                Shortage::Cordoned,
            ),
            (
                "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated \
                 taint {miner: yes}.",
                Shortage::Tainted,
            ),
            (
                "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) had untolerated taint(s).",
                Shortage::Tainted,
            ),
            (
                "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match Pod's node \
                 affinity/selector. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not \
                 helpful for scheduling.",
                Shortage::Labels,
            ),
            (
                "0/2 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 1 node(s) \
                 didn't match Pod's node affinity/selector.",
                Shortage::Labels,
            ),
            (
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
                Shortage::Labels,
            ),
            (
                "0/1 nodes are available: 1 node(s) didn't have free ports.",
                Shortage::Other,
            ),
            ("", Shortage::Other),
        ] {
            assert_eq!(Shortage::of(words), shortage, "{words}");
        }
    }

    #[test]
    fn what_the_namespace_does_not_allow_has_its_own_reason() {
        for (words, refusal) in [
            (
                "pods \"a\" is forbidden: exceeded quota: small, requested: limits.memory=8Gi, used: limits.memory=0, limited: \
                 limits.memory=1Gi",
                Refusal::Quota,
            ),
            (
                "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: agent",
                Refusal::Quota,
            ),
            (
                "pods \"a\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 8Gi",
                Refusal::LimitRange,
            ),
            (
                "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": restricted volume types (volume \"model\" \
                 uses restricted volume type \"hostPath\")",
                Refusal::PodSecurity,
            ),
            ("admission webhook \"x\" denied the request", Refusal::Other),
        ] {
            assert_eq!(Refusal::of(words), refusal, "{words}");
        }
    }
}
