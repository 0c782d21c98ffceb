//! Keeping the labels of GPU feature discovery on this node's Node object.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::labels::TIMESTAMP;

/// Keeps `labels` on the node `name`, whenever it appears and whatever removes them, until `stop`.
///
/// They stay when the plugin ends, as those of GPU feature discovery do: the node still has that hardware, it only
/// offers none of it at the moment.
pub async fn keep_labelled(
    client: Client,
    name: &str,
    labels: &BTreeMap<String, String>,
    stop: &CancellationToken,
) {
    let nodes: Api<Node> = Api::all(client);
    // Endless: errors are retried with growing pauses, and reported here.
    let states = watcher::watch_object(nodes.clone(), name)
        .default_backoff()
        .inspect_err(|error| {
            tracing::warn!(node = name, %error, "cannot watch the node; trying again");
        });
    let mut states = std::pin::pin!(states.take_until(stop.cancelled()));
    while let Some(state) = states.next().await {
        let Ok(Some(node)) = state else { continue };
        if is_labelled(&node, labels) {
            continue;
        }
        // A failed write is tried again on the node's next heartbeat, which is never more than minutes away.
        match label(&nodes, name, labels).await {
            Ok(()) => tracing::info!(node = name, count = labels.len(), "labelled the node"),
            Err(error) => tracing::warn!(node = name, %error, "cannot label the node"),
        }
    }
}

fn is_labelled(node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let present = node.metadata.labels.as_ref();
    labels
        .iter()
        .all(|(name, value)| present.and_then(|present| present.get(name)) == Some(value))
}

async fn label(nodes: &Api<Node>, name: &str, labels: &BTreeMap<String, String>) -> kube::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut labels = labels.clone();
    labels.insert(TIMESTAMP.to_owned(), now.to_string());
    // A merge, since applying would create the node if it was deleted in the meantime.
    let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
    nodes
        .patch_metadata(name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}
