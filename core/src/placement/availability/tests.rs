use cocoon_api::agent::{FetchFault, GpuFault};

use super::*;

fn pod(state: AgentState) -> AgentPod {
    AgentPod {
        name: "p".into(),
        uid: "u".into(),
        model: "m".into(),
        state,
        address: None,
        displaced: false,
    }
}

fn world() -> (Inventory, Requirements) {
    let requirements = Requirements {
        resource_name: "nvidia.com/gpu".into(),
        node_selector: [("nvidia.com/gpu.present".to_owned(), "true".to_owned())].into(),
        ..Requirements::default()
    };
    let mut inventory = Inventory::take([], [], &requirements);
    inventory.gpus.allocatable = 2;
    (inventory, requirements)
}

fn judge(wanted: u32, pods: &[AgentPod]) -> Observation {
    let (inventory, requirements) = world();
    let agents = Agents {
        model: "m",
        gpus_per_replica: 1,
        wanted,
        pods: pods.iter().collect(),
        refused: None,
        devices: BTreeMap::new(),
    };
    available(&[agents], &[], &inventory, &requirements)
}

#[test]
fn a_wait_for_gpus_says_how_many_where_and_what_is_free() {
    let observed = judge(
        1,
        &[pod(AgentState::Unschedulable(
            "Insufficient nvidia.com/gpu".into(),
        ))],
    );
    assert_eq!((observed.status, observed.reason), (false, "InsufficientGPU"));
    assert_eq!(
        observed.message,
        "m needs 1 nvidia.com/gpu on a node with nvidia.com/gpu.present=true; 0 of 2 free \
         (scheduler: Insufficient nvidia.com/gpu)"
    );
}

#[test]
fn what_is_missing_is_not_called_a_gpu_where_it_is_none() {
    let words = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.";
    let observed = judge(1, &[pod(AgentState::Unschedulable(words.into()))]);
    assert_eq!(
        (observed.status, observed.reason),
        (false, "InsufficientResources")
    );
    assert_eq!(
        observed.message,
        format!("m: no node takes agent p (scheduler: {words})")
    );
    let (inventory, requirements) = world();
    let agents = Agents {
        model: "m",
        gpus_per_replica: 1,
        wanted: 1,
        pods: Vec::new(),
        refused: Some("pods \"p\" is forbidden: exceeded quota: small"),
        devices: BTreeMap::new(),
    };
    assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Failed);
    let observed = available(&[agents], &[], &inventory, &requirements);
    assert_eq!(observed.reason, "QuotaExceeded");
    assert!(
        observed.message.contains("no pod could be made"),
        "{}",
        observed.message
    );
}

#[test]
fn a_pod_that_its_node_rejects_is_told_in_the_kubelets_words() {
    for (shortage, reason) in [
        (Shortage::Gpus, "InsufficientGPU"),
        (Shortage::Resources, "InsufficientResources"),
        (Shortage::Other, "Unschedulable"),
    ] {
        let words = "OutOfcpu: Node didn't have enough resource: cpu";
        let rejected = AgentState::Rejected(Rejection {
            node: "n1".into(),
            shortage,
            words: words.into(),
        });
        let observed = judge(1, &[pod(rejected), pod(AgentState::Starting)]);
        assert_eq!((observed.status, observed.reason), (false, reason));
        assert_eq!(
            observed.message,
            format!("m: node n1 does not take agent p (kubelet: {words})")
        );
    }
}

#[test]
fn the_worst_of_several_waits_is_told() {
    let pods = [
        pod(AgentState::Starting),
        pod(AgentState::Unschedulable("x".into())),
        pod(AgentState::VolumesMissing("y".into())),
        pod(AgentState::Crashing("sha256 mismatch".into())),
    ];
    let observed = judge(4, &pods);
    assert_eq!(
        (observed.reason, observed.message.as_str()),
        ("AgentFailed", "m: sha256 mismatch")
    );
    let observed = judge(3, &pods[..3]);
    assert_eq!(
        (observed.reason, observed.message.as_str()),
        ("ModelNotCached", "m: y")
    );
}

#[test]
fn a_download_that_runs_is_a_start_and_one_that_failed_is_a_failure_with_its_words() {
    let (inventory, requirements) = world();
    let told = |fetch| {
        let state = AgentState::AwaitingModel {
            node: "n1".into(),
            fetch,
        };
        let waiting = pod(state);
        let agents = Agents {
            model: "m",
            gpus_per_replica: 1,
            wanted: 1,
            pods: vec![&waiting],
            refused: None,
            devices: BTreeMap::new(),
        };
        let observed = judge(1, std::slice::from_ref(&waiting));
        (
            observed.reason,
            observed.message,
            agents.phase(&inventory, &requirements),
        )
    };
    let (reason, message, phase) = told(Fetch::Downloading);
    assert_eq!((reason, phase), ("ModelNotCached", ModelPhase::Starting));
    assert!(message.starts_with("m: node n1 has no copy yet"), "{message}");
    let (reason, message, phase) = told(Fetch::Failed(FetchFault::HttpStatus(404)));
    assert_eq!((reason, phase), ("DownloadFailed", ModelPhase::Failed));
    assert!(
        message.contains("node n1") && message.contains("HTTP 404"),
        "{message}"
    );
    let (reason, message, _) = told(Fetch::Stuck("why".into()));
    assert_eq!(reason, "ModelNotCached");
    assert!(message.ends_with("does not start: why"), "{message}");
}

#[test]
fn a_gpu_that_cannot_be_used_has_a_reason_of_its_own_and_words_for_the_farm() {
    for fault in GpuFault::ALL {
        let observed = judge(1, &[pod(AgentState::GpuUnusable(fault))]);
        assert_eq!((observed.status, observed.reason), (false, fault.word()));
        assert_eq!(
            observed.message,
            format!("m: agent p cannot use its device: {}", fault.words())
        );
        let (inventory, requirements) = world();
        let unusable = pod(AgentState::GpuUnusable(fault));
        let agents = Agents {
            model: "m",
            gpus_per_replica: 1,
            wanted: 1,
            pods: vec![&unusable],
            refused: None,
            devices: BTreeMap::new(),
        };
        assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Failed);
    }
}

#[test]
fn a_device_that_has_ended_is_told_before_a_start_and_after_an_agent_that_does_not_serve() {
    let (inventory, requirements) = world();
    let ended = |ended: &[DeviceEnd]| Devices {
        given: 3,
        ended: ended.to_vec(),
    };
    let worn = ended(&[DeviceEnd::Gpu(GpuFault::DeviceEccError), DeviceEnd::Engine]);
    let engine = ended(&[DeviceEnd::Engine]);
    let serving = pod(AgentState::Ready("10.0.0.1".parse().unwrap()));
    let told = |other: AgentState, wanted: u32, devices: &Devices| {
        let other = AgentPod {
            uid: "v".into(),
            name: "q".into(),
            ..pod(other)
        };
        let agents = Agents {
            model: "m",
            gpus_per_replica: 3,
            wanted,
            pods: vec![&other, &serving],
            refused: None,
            devices: [("u", devices)].into(),
        };
        assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Serving);
        let observed = available(&[agents], &[], &inventory, &requirements);
        (observed.status, observed.reason, observed.message)
    };
    let (status, reason, message) = told(AgentState::Starting, 2, &worn);
    assert_eq!((status, reason), (false, "DeviceEccError"));
    let words = GpuFault::DeviceEccError.words();
    assert_eq!(
        message,
        format!("m: agent p goes on with 1 of 3 devices: {words}")
    );
    let (status, reason, message) = told(AgentState::Gone, 1, &engine);
    assert_eq!((status, reason), (false, "AgentFailed"));
    assert!(
        message.starts_with("m: agent p goes on with 2 of 3 devices"),
        "{message}"
    );
    assert_eq!(
        told(AgentState::ImagePullFailed("no".into()), 2, &worn).1,
        "ImagePullFailed"
    );
    assert_eq!(told(AgentState::Starting, 2, &ended(&[])).1, "Starting");
}

#[test]
fn agents_serve_start_or_are_not_wanted() {
    let ready = pod(AgentState::Ready("10.0.0.1".parse().unwrap()));
    assert_eq!(judge(1, std::slice::from_ref(&ready)).reason, "AgentsReady");
    assert_eq!(judge(2, &[ready]).reason, "Starting");
    assert_eq!(judge(1, &[]).reason, "Starting");
    assert_eq!(judge(0, &[]).reason, "ScaledToZero");
}
