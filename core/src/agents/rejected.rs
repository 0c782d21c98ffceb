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
    /// Of a pod that a kubelet rejected; `None` for any other.
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod
            .status
            .as_ref()
            .filter(|status| status.phase.as_deref() == Some("Failed"))?;
        let words = status.message.as_deref()?.strip_prefix(WORDS)?.trim();
        let reason = status.reason.as_deref().unwrap_or("Rejected");
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        Some(Self {
            node: node.unwrap_or_default(),
            shortage: Shortage::of_rejection(reason, words),
            words: format!("{reason}: {words}"),
        })
    }
}

/// Whether a kubelet rejected the pod so long ago that it may be removed: it says nothing any more.
pub fn is_past(pod: &Pod, now: Timestamp) -> bool {
    // The kubelet sets it when it rejects a pod, which may have waited for its node for long.
    let since = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let since = since.or(pod.metadata.creation_timestamp.as_ref());
    Rejection::of(pod).is_some() && since.is_none_or(|since| now.duration_since(since.0) >= VALID)
}
