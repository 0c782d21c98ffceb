//! Which nodes have a copy of a model, and how far downloads of others are: as the status shows it.

use std::collections::BTreeSet;

use cocoon_api::{
    agent::FetchProgress,
    crd::{
        CocoonProvider,
        provider::{Download, ModelStatus},
    },
};
use cocoon_core::agents::{
    AgentState,
    fetch::{Fetch, FetchPod},
};
use kube::ResourceExt as _;

use super::{
    observe::Seen,
    validate::{Source, ValidModel},
};

/// Nodes that are listed at most, as the schema allows.
const MAX_NODES: usize = 256;
/// Downloads that are listed at most, as the schema allows.
const MAX_DOWNLOADS: usize = 16;

/// Adds the nodes that have a copy: those that were listed before, while the offer names the same file, and those whose
/// agents found it; without those that are gone, or on which an agent waits for it.
pub(super) fn on(
    model: &ValidModel,
    provider: &CocoonProvider,
    seen: &Seen,
    status: ModelStatus,
) -> ModelStatus {
    let Source::Url { .. } = &model.source else {
        return status;
    };
    let before = provider
        .status
        .iter()
        .flat_map(|status| &status.models)
        .find(|before| before.name == model.name && before.cached_sha256.as_deref() == Some(&model.sha256));
    let known = before.into_iter().flat_map(|before| &before.cached_nodes);
    let found = seen
        .copies
        .iter()
        .filter(|(of, _)| *of == model.name)
        .map(|(_, node)| node);
    let mut nodes: BTreeSet<&String> = known.chain(found).collect();
    for agent in seen.agents.iter().filter(|agent| agent.model == model.name) {
        if let AgentState::AwaitingModel { node, .. } = &agent.state {
            nodes.remove(node);
        }
    }
    let is_there = |name: &&String| seen.nodes.iter().any(|node| node.name_any() == **name);
    let cached: Vec<String> = nodes
        .into_iter()
        .filter(is_there)
        .take(MAX_NODES)
        .cloned()
        .collect();
    ModelStatus {
        cached_sha256: (!cached.is_empty()).then(|| model.sha256.clone()),
        cached_nodes: cached,
        ..status
    }
}

/// The downloads of a model, by node.
pub(super) fn downloads(model: &str, seen: &Seen) -> Vec<Download> {
    let shown = |download: &FetchPod| {
        let progress = seen.progress.get(&download.uid);
        Download {
            node: download.node.clone(),
            bytes: progress.map_or(0, |progress| progress.bytes),
            total_bytes: progress.and_then(|progress| progress.total),
            bytes_per_second: progress.map_or(0, |progress| progress.bytes_per_second),
            seconds_left: progress.and_then(FetchProgress::seconds_left),
            failure: match &download.state {
                Fetch::Downloading => None,
                Fetch::Stuck(words) => Some(words.chars().take(512).collect()),
                Fetch::Failed(fault) => Some(fault.words()),
            },
        }
    };
    let mut downloads: Vec<Download> = seen
        .downloads
        .iter()
        .filter(|download| download.model == model)
        .map(shown)
        .collect();
    // A node may have another one for a moment, of the file that was offered before.
    downloads.dedup_by(|a, b| a.node == b.node);
    downloads.truncate(MAX_DOWNLOADS);
    downloads
}
