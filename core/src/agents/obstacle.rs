//! What keeps an agent from serving: read once from its pod, and said by the provider and by the job in words of the
//! same meaning.

use cocoon_api::{
    agent::GpuFault,
    conditions::{AgentsAvailable, Scheduled},
};

/// What keeps an agent from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its pod cannot be made.
    Refused(Refusal),
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

/// What the nodes lack, as the scheduler or a kubelet says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The `ServiceAccount` is not there.
    ServiceAccount,
    /// The priority class is not there, or may not be used in the namespace.
    PriorityClass,
    /// The runtime class is not there.
    RuntimeClass,
    /// Something else.
    Other,
}

/// The same obstacle in the words of the conditions that tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasons {
    /// Of the provider's condition `AgentsAvailable`.
    pub provider: AgentsAvailable,
    /// Of the condition `Scheduled` of a job that waits for the agent.
    pub job: Scheduled,
}

impl Obstacle {
    /// The worst is 0. Between the last two stands an agent that serves without some of its devices.
    pub fn rank(self) -> u8 {
        match self {
            Self::Refused(_) => 0,
            Self::Failed | Self::Device(_) | Self::Stranger => 1,
            Self::Image | Self::Download => 2,
            Self::File | Self::Model | Self::Volumes => 3,
            Self::Node(_) => 4,
            Self::Starting => 6,
        }
    }

    /// How provider and job name it: the one place where either gets a reason from what an agent is.
    pub fn reasons(self) -> Reasons {
        macro_rules! both {
            ($reason:ident) => {
                (AgentsAvailable::$reason, Scheduled::$reason)
            };
        }
        let (provider, job) = match self {
            Self::Refused(Refusal::Quota) => both!(QuotaExceeded),
            Self::Refused(Refusal::LimitRange) => both!(LimitRangeExceeded),
            Self::Refused(Refusal::PodSecurity) => both!(PodSecurityViolated),
            Self::Refused(Refusal::ServiceAccount) => both!(ServiceAccountMissing),
            Self::Refused(Refusal::PriorityClass) => both!(PriorityClassMissing),
            Self::Refused(Refusal::RuntimeClass) => both!(RuntimeClassMissing),
            Self::Refused(Refusal::Other) | Self::Failed => both!(AgentFailed),
            // The farm is told which fault, and what to do; a payer can do nothing about any of them.
            Self::Device(fault) => (AgentsAvailable::from(fault), Scheduled::GPUUnusable),
            Self::Stranger => both!(AgentUnrecognised),
            Self::Image => both!(ImagePullFailed),
            Self::Download => both!(DownloadFailed),
            Self::File | Self::Model => both!(ModelNotCached),
            Self::Volumes => both!(VolumesNotReady),
            Self::Node(Shortage::Gpus) => both!(InsufficientGPU),
            Self::Node(Shortage::Resources) => both!(InsufficientResources),
            Self::Node(Shortage::Claim) => both!(ClaimMissing),
            Self::Node(Shortage::Cordoned) => both!(NodesCordoned),
            Self::Node(Shortage::Tainted) => both!(NodesTainted),
            Self::Node(Shortage::Labels) => both!(NoMatchingNode),
            Self::Node(Shortage::Other) => both!(Unschedulable),
            Self::Starting => (AgentsAvailable::Starting, Scheduled::ColdStart),
        };
        Reasons { provider, job }
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
    /// Reads the scheduler's words:
    /// `0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) were unschedulable.` Of several shortages
    /// that comes first without which the pod would run soonest: what others hold and give back.
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
            "pvc(s) bound to non-existent",
            "available persistent volumes to bind",
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

    /// Reads the reason and the words with which a kubelet rejects a pod that the scheduler gave it.
    pub(super) fn of_rejection(reason: &str, words: &str) -> Self {
        match reason {
            // A device has its plugin's domain before its name.
            _ if reason.starts_with("OutOf") && reason.contains('/') => Self::Gpus,
            "UnexpectedAdmissionError" if words.to_lowercase().contains("device") => Self::Gpus,
            "TopologyAffinityError" | "Evicted" => Self::Resources,
            _ if reason.starts_with("OutOf") => Self::Resources,
            "NodeAffinity" | "NodeName" => Self::Labels,
            "NodeShutdown" => Self::Cordoned,
            "TaintToleration" => Self::Tainted,
            _ => Self::Other,
        }
    }

    /// Which of the two rules out most nodes. Where a control plane has nodes of its own they are tainted, for agents
    /// as for everything else, and newer schedulers do not say whose taints they mean: a few do not hide that all
    /// others lack a label.
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
        } else if words.contains("violates PodSecurity")
            // OpenShift has its own levels.
            || words.contains("unable to validate against any security context constraint")
        {
            Self::PodSecurity
        } else if words.contains("usage per ")
            || words.contains("limit to request ratio per ")
            // No offer asks for more than its limit: the limit is the default of a limit range.
            || words.contains("must be less than or equal to") && words.contains("resources.requests")
        {
            Self::LimitRange
        } else if words.contains("error looking up service account") {
            Self::ServiceAccount
        } else if words.contains("no PriorityClass with name")
            || words.contains("insufficient quota to match these scopes")
        {
            Self::PriorityClass
        } else if words.contains("RuntimeClass \"") {
            Self::RuntimeClass
        } else {
            Self::Other
        }
    }

    /// What it means, for whoever may not read the provider's namespace.
    pub fn words(self) -> &'static str {
        match self {
            Self::Quota => "the quota of its namespace leaves no room for it",
            Self::LimitRange => "a limit range of its namespace does not allow what it asks for",
            Self::PodSecurity => "the pod security level of its namespace does not allow it",
            Self::ServiceAccount => "its ServiceAccount is not there",
            Self::PriorityClass => "its priority class is not there or may not be used",
            Self::RuntimeClass => "its runtime class is not there",
            Self::Other => "the API server refuses it",
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
                "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
                Shortage::Claim,
            ),
            (
                "0/1 nodes are available: 1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).",
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
            (
                "Pod \"a\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2Gi\": must be less than or equal to \
                 memory limit of 512Mi",
                Refusal::LimitRange,
            ),
            (
                "pods \"a-\" is forbidden: unable to validate against any security context constraint: [provider \"anyuid\": Forbidden: \
                 not usable by user or serviceaccount]",
                Refusal::PodSecurity,
            ),
            (
                "pods \"a-\" is forbidden: error looking up service account farm/cocoon-agent: serviceaccount \"cocoon-agent\" not \
                 found",
                Refusal::ServiceAccount,
            ),
            (
                "pods \"a-\" is forbidden: no PriorityClass with name miners was found",
                Refusal::PriorityClass,
            ),
            (
                "pods \"a\" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]",
                Refusal::PriorityClass,
            ),
            (
                "pods \"a-\" is forbidden: pod rejected: RuntimeClass \"nvidia\" not found",
                Refusal::RuntimeClass,
            ),
            ("admission webhook \"x\" denied the request", Refusal::Other),
        ] {
            assert_eq!(Refusal::of(words), refusal, "{words}");
        }
    }
}
