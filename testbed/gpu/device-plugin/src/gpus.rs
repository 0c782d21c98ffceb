//! The software GPUs of one node and their health.

use std::collections::BTreeSet;

use tokio::sync::watch;
use uuid::Uuid;

/// One software GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// `GPU-<uuid>`, the form of NVIDIA's device ids.
    pub id: String,
    /// Whether the kubelet may hand it out.
    pub healthy: bool,
}

/// The GPUs of one node, in index order; clones share the same state.
#[derive(Clone, Debug)]
pub struct Gpus {
    state: watch::Sender<Vec<Gpu>>,
}

impl Gpus {
    /// `count` healthy GPUs whose ids depend only on the node's name and their index, so that a restarted plugin
    /// offers the devices that running pods hold.
    pub fn new(node: &str, count: u16) -> Self {
        let gpus = (0..count)
            .map(|index| Gpu {
                id: id(node, index),
                healthy: true,
            })
            .collect();
        Self {
            state: watch::Sender::new(gpus),
        }
    }

    /// All GPUs as they are at the moment.
    pub fn list(&self) -> Vec<Gpu> {
        self.state.borrow().clone()
    }

    /// A receiver of the list, at once and again whenever it changes.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Gpu>> {
        let mut receiver = self.state.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Makes exactly the GPUs with these indices unhealthy; an index beyond the last GPU means nothing.
    pub fn set_failed(&self, failed: &BTreeSet<u16>) {
        self.state.send_if_modified(|gpus| {
            let mut changed = false;
            for (index, gpu) in (0_u16..).zip(gpus) {
                let healthy = !failed.contains(&index);
                changed |= gpu.healthy != healthy;
                gpu.healthy = healthy;
            }
            changed
        });
    }
}

fn id(node: &str, index: u16) -> String {
    let name = format!("{node}/gpu/{index}");
    format!("GPU-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ_by_node_and_index() {
        let ids =
            |node: &str| -> Vec<String> { Gpus::new(node, 2).list().into_iter().map(|gpu| gpu.id).collect() };
        assert_eq!(ids("node1"), ids("node1"));
        let all: BTreeSet<String> = ids("node1").into_iter().chain(ids("node2")).collect();
        assert_eq!(all.len(), 4);
        assert_eq!(ids("node1")[0], "GPU-fae32bbc-4ce0-5f4f-922d-764bf7f2245c");
    }

    #[test]
    fn only_a_change_of_health_wakes_a_subscriber() {
        let gpus = Gpus::new("node1", 2);
        let mut receiver = gpus.subscribe();
        receiver.mark_unchanged();
        gpus.set_failed(&BTreeSet::from([7]));
        assert!(!receiver.has_changed().unwrap());
        gpus.set_failed(&BTreeSet::from([1]));
        assert!(receiver.has_changed().unwrap());
        assert_eq!(
            gpus.list().iter().map(|gpu| gpu.healthy).collect::<Vec<_>>(),
            [true, false]
        );
        gpus.set_failed(&BTreeSet::new());
        assert!(gpus.list().iter().all(|gpu| gpu.healthy));
    }
}
