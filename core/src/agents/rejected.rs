//! What a node's kubelet says of a pod that it does not take: the node has less than the scheduler counts with, or a
//! device plugin has no healthy device left. Kubernetes makes another pod at once, which may go the same way, and
//! leaves the rejected ones where they are.

use k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};

use super::obstacle::Shortage;

/// How the kubelet's words begin (`rejectPod` in `pkg/kubelet/kubelet.go` of Kubernetes).
const WORDS: &str = "Pod was rejected: ";
/// How long a rejection says what is so. While a node goes on to reject pods the newest is seconds old.
const VALID: SignedDuration = SignedDuration::from_mins(1);

/// Why a pod was rejected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// The node.
    pub node: String,
    /// What the node lacks.
    pub shortage: Shortage,
    /// The kubelet's reason and words.
    pub words: String,
}

impl Rejection {
    /// Of a pod that a kubelet rejected within the last minute; `None` for any other.
    pub(super) fn of(pod: &Pod, now: Timestamp) -> Option<Self> {
        let status = pod
            .status
            .as_ref()
            .filter(|status| status.phase.as_deref() == Some("Failed"))?;
        let words = status.message.as_deref()?.strip_prefix(WORDS)?.trim();
        let reason = status.reason.as_deref().unwrap_or("Rejected");
        let created = pod.metadata.creation_timestamp.as_ref()?.0;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        (now.duration_since(created) < VALID).then(|| Self {
            node: node.unwrap_or_default(),
            shortage: Shortage::of_rejection(reason, words),
            words: format!("{reason}: {words}"),
        })
    }
}
