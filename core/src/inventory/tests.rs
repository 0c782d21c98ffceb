use serde_json::{Value, json};

use super::*;

fn node(name: &str, labels: &Value, gpus: u32, ready: bool) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": {"nvidia.com/gpu": gpus.to_string()},
            "allocatable": {"nvidia.com/gpu": gpus.to_string()},
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    }))
    .unwrap()
}

fn labelled(name: &str, gpus: u32) -> Node {
    let labels = json!({
        "nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-A10", "nvidia.com/gpu.memory": "23028",
        "nvidia.com/gpu.compute.major": "8", "nvidia.com/gpu.compute.minor": "6",
        "nvidia.com/cuda.driver.major": "550", "nvidia.com/cuda.driver.minor": "54",
    });
    node(name, &labels, gpus, true)
}

fn pod(node: &str, phase: &str, spec: &Value) -> Pod {
    let mut pod: Pod =
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": {"phase": phase}})).unwrap();
    pod.spec.as_mut().unwrap().node_name = Some(node.into());
    pod
}

fn container(gpus: u32) -> Value {
    json!({"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus.to_string()}}})
}

fn requirements() -> Requirements {
    Requirements {
        resource_name: "nvidia.com/gpu".into(),
        ..Requirements::default()
    }
}

#[test]
fn gpus_are_free_unless_a_pod_of_anyone_holds_them() {
    let nodes = [labelled("a", 4), labelled("b", 2)];
    let pods = [
        pod(
            "a",
            "Running",
            &json!({"containers": [container(1), container(2)]}),
        ),
        pod("a", "Succeeded", &json!({"containers": [container(4)]})),
        pod("elsewhere", "Running", &json!({"containers": [container(4)]})),
    ];
    let inventory = Inventory::take(&nodes, &pods, &requirements());
    assert_eq!(
        inventory.gpus,
        GpuCounts {
            capacity: 6,
            allocatable: 6,
            allocated: 3,
            free: 3
        }
    );
    assert_eq!(inventory.nodes, NodeCounts { matched: 2, ready: 2 });
    assert_eq!(inventory.source, Some(InventorySource::GFD));
    assert_eq!(inventory.products.len(), 1);
    assert_eq!(inventory.products[0].count, 6);
    assert_eq!(inventory.products[0].compute_capability.as_deref(), Some("8.6"));
    assert_eq!(inventory.products[0].driver.as_deref(), Some("550.54"));
    assert_eq!(
        inventory.outcome.message,
        "2 of 2 matching nodes ready; 3 of 6 nvidia.com/gpu free"
    );
}

#[test]
fn a_replica_must_fit_on_one_node() {
    let nodes = [labelled("a", 3), labelled("b", 3)];
    let inventory = Inventory::take(&nodes, [], &requirements());
    assert_eq!(inventory.fitting(2), Some(2));
    assert_eq!(inventory.fitting(4), Some(0));
    assert_eq!(inventory.fitting(0), None);
}

#[test]
fn init_containers_hold_their_peak_and_sidecars_stay() {
    let spec = json!({
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"nvidia.com/gpu": "1"}}},
            {"name": "i", "resources": {"requests": {"nvidia.com/gpu": "4"}}},
        ],
        "containers": [container(1)],
    });
    let inventory = Inventory::take(
        &[labelled("a", 8)],
        &[pod("a", "Pending", &spec)],
        &requirements(),
    );
    assert_eq!(inventory.gpus.allocated, 5);
}

#[test]
fn memory_and_compute_capability_decide() {
    let nodes = [labelled("a", 1)];
    for (memory, capability, matched) in [
        (23_028, "8.6", 1),
        (23_029, "8.6", 0),
        (1, "8.7", 0),
        (1, "7.5", 1),
        (1, "10.0", 0),
    ] {
        let requirements = Requirements {
            min_memory_mib: Some(memory),
            min_compute_capability: Some(capability.parse().unwrap()),
            ..requirements()
        };
        assert_eq!(
            Inventory::take(&nodes, [], &requirements).nodes.matched,
            matched,
            "{memory} {capability}"
        );
    }
}

#[test]
fn missing_labels_are_named_only_where_the_offer_compares_them() {
    let nodes = [node("a", &json!({}), 2, true)];
    let any = Inventory::take(&nodes, [], &requirements());
    assert_eq!(
        (any.nodes.matched, any.source),
        (1, Some(InventorySource::NodeStatus))
    );
    let picky = Requirements {
        min_memory_mib: Some(1),
        ..requirements()
    };
    let none = Inventory::take(&nodes, [], &picky);
    assert_eq!(none.outcome.reason, "LabelsMissing");
    assert!(
        none.outcome.message.contains("nvidia.com/gpu.memory"),
        "{}",
        none.outcome.message
    );
}

#[test]
fn untolerated_taints_exclude_and_the_kubelets_own_only_make_unready() {
    let mut tainted = labelled("a", 1);
    tainted.spec.as_mut().unwrap().taints =
        serde_json::from_value(json!([{"key": "nvidia.com/gpu", "value": "x", "effect": "NoSchedule"}]))
            .unwrap();
    assert_eq!(Inventory::take([&tainted], [], &requirements()).nodes.matched, 0);
    let tolerant = Requirements {
        tolerations: serde_json::from_value(json!([{"key": "nvidia.com/gpu", "operator": "Exists"}]))
            .unwrap(),
        ..requirements()
    };
    assert_eq!(
        Inventory::take([&tainted], [], &tolerant).nodes,
        NodeCounts { matched: 1, ready: 1 }
    );

    let mut pressed = labelled("b", 1);
    pressed.spec.as_mut().unwrap().taints =
        serde_json::from_value(json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]))
            .unwrap();
    let inventory = Inventory::take([&pressed], [], &requirements());
    assert_eq!(
        (inventory.nodes, inventory.gpus.free),
        (NodeCounts { matched: 1, ready: 0 }, 0)
    );
}

#[test]
fn cordoned_and_unready_nodes_match_and_offer_nothing() {
    let mut cordoned = labelled("a", 1);
    cordoned.spec.as_mut().unwrap().unschedulable = Some(true);
    let unready = node("b", &json!({}), 1, false);
    let inventory = Inventory::take([&cordoned, &unready], [], &requirements());
    assert_eq!(inventory.nodes, NodeCounts { matched: 2, ready: 0 });
    assert_eq!(inventory.gpus.free, 0);
    assert_eq!(inventory.outcome.reason, "NoMatchingNodes");
    assert!(
        inventory.outcome.message.contains("none of them is ready"),
        "{}",
        inventory.outcome.message
    );
}

#[test]
fn nodes_without_gpus_count_only_where_a_model_needs_none() {
    let nodes = [node("a", &json!({"disk": "fast"}), 0, true)];
    let gpu = Inventory::take(&nodes, [], &requirements());
    assert_eq!(gpu.outcome.reason, "NoMatchingNodes");
    assert!(
        gpu.outcome.message.contains("1 offer no nvidia.com/gpu"),
        "{}",
        gpu.outcome.message
    );
    let cpu = Requirements {
        without_gpu: true,
        node_selector: [("disk".to_owned(), "fast".to_owned())].into(),
        ..requirements()
    };
    let inventory = Inventory::take(&nodes, [], &cpu);
    assert!(inventory.outcome.status, "{}", inventory.outcome.message);
    assert_eq!(inventory.outcome.message, "1 of 1 matching nodes ready");
}
