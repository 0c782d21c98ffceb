use serde_json::{Value, json};

use super::*;

/// When the pods of these tests got their node.
const SCHEDULED: &str = "2026-01-01T00:00:00Z";

/// A time soon after [`SCHEDULED`].
fn after(seconds: i64) -> Timestamp {
    let scheduled: Timestamp = SCHEDULED.parse().unwrap();
    Timestamp::from_second(scheduled.as_second() + seconds).unwrap()
}

fn pod_of(volume: &Value, mount: &Value, status: &Value) -> Pod {
    let mut volume = volume.clone();
    volume["name"] = json!(MODEL_VOLUME);
    let mut mount = mount.clone();
    mount["name"] = json!(MODEL_VOLUME);
    mount["mountPath"] = json!("/models/ab.gguf");
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "farms", "uid": "u", "labels": {
            "app.kubernetes.io/component": "gpu-agent", "cocoon.farm/model": "m"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "agent", "volumeMounts": [mount]}], "volumes": [volume]},
        "status": status,
    }))
    .unwrap()
}

fn pod(status: &Value) -> Pod {
    pod_of(
        &json!({"hostPath": {"path": "/srv/m.gguf", "type": "File"}}),
        &json!({}),
        status,
    )
}

fn state_at(pod: &Pod, now: Timestamp) -> AgentState {
    AgentPod::from_pod(pod, now).unwrap().state
}

fn state_of(status: &Value) -> AgentState {
    state_at(&pod(status), after(1))
}

/// The status of a pod with a node, whose container waits.
fn waiting(waiting: &Value, ready_to_start: Option<(&str, &str)>) -> Value {
    let mut conditions =
        vec![json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": SCHEDULED})];
    conditions.extend(ready_to_start.map(|(status, since)| {
        json!({"type": "PodReadyToStartContainers", "status": status, "lastTransitionTime": since})
    }));
    json!({"phase": "Pending", "conditions": conditions, "containerStatuses": [
        {"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
         "state": {"waiting": waiting}}]})
}

fn creating(ready_to_start: Option<(&str, &str)>) -> Value {
    waiting(&json!({"reason": "ContainerCreating"}), ready_to_start)
}

#[test]
fn a_ready_pod_serves_at_its_address() {
    let status = json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(state_of(&status), AgentState::Ready("10.0.0.7".parse().unwrap()));
}

#[test]
fn an_agent_that_does_not_serve_can_still_be_asked_at_its_address() {
    let hung = pod(&json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "False"}]}));
    let hung = AgentPod::from_pod(&hung, after(1)).unwrap();
    assert_eq!(
        (hung.ready_address(), hung.address),
        (None, Some("10.0.0.7".parse().unwrap()))
    );
}

#[test]
fn an_unschedulable_pod_repeats_the_schedulers_words() {
    let status = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient nvidia.com/gpu"}]});
    assert_eq!(
        state_of(&status),
        AgentState::Unschedulable("Insufficient nvidia.com/gpu".into())
    );
}

fn ended(exit_code: i32, words: &str) -> Value {
    json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [
        {"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
         "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
         "lastState": {"terminated": {"exitCode": exit_code, "message": words}}}]})
}

const CANARY: &str = "canary-7f3a";
const LOGGED: &str =
    "agent a ended with exit code 1: `kubectl logs --previous -n farms a` shows its last words";

#[test]
fn a_crashing_agent_is_not_quoted() {
    for words in [CANARY, "", "error: ModelDigest: canary-7f3a"] {
        assert_eq!(state_of(&ended(1, words)), AgentState::Crashing(LOGGED.into()));
    }
    let AgentState::Crashing(told) = state_of(&ended(78, CANARY)) else {
        panic!("it ends");
    };
    assert!(
        !told.contains("canary") && told.contains("exit code 78"),
        "{told}"
    );
}

#[test]
fn an_agent_that_cannot_start_is_told_by_its_code() {
    for fault in StartFault::ALL {
        let words = format!("{CANARY}\nerror: {}: {CANARY}", fault.word());
        if fault == StartFault::ModelCopyGone {
            let node = "n1".to_owned();
            let fetch = fetch::Fetch::Downloading;
            assert_eq!(
                state_of(&ended(78, &words)),
                AgentState::AwaitingModel { node, fetch }
            );
            continue;
        }
        let AgentState::Crashing(told) = state_of(&ended(78, &words)) else {
            panic!("it ends");
        };
        assert!(
            told.contains(fault.word()) && told.contains(fault.words()) && !told.contains("canary"),
            "{told}"
        );
        assert_eq!(told.contains("/srv/m.gguf"), fault.is_of_file(), "{told}");
    }
}

#[test]
fn an_agent_that_cannot_use_its_gpu_is_told_by_its_code() {
    let words = "{\"level\":\"INFO\"}\nerror: DeviceLost: cannot open GPU 0: whatever the driver says\n";
    assert_eq!(
        state_of(&ended(69, words)),
        AgentState::GpuUnusable(GpuFault::DeviceLost)
    );
    // Another program may say the same, and another status means something else.
    assert_eq!(state_of(&ended(1, words)), AgentState::Crashing(LOGGED.into()));
    let AgentState::Crashing(told) = state_of(&ended(69, "error: cannot open GPU 0")) else {
        panic!("it ends");
    };
    assert!(!told.contains("GPU 0"), "{told}");
}

#[test]
fn an_agent_that_refuses_its_file_names_the_farms_file() {
    let status = ended(
        78,
        "error: ModelMalformed: cannot use model file /models/ab.gguf: truncated",
    );
    let words = |file: &str| {
        let meaning = StartFault::ModelMalformed.words();
        AgentState::Crashing(format!(
            "agent a ends with ModelMalformed: {meaning}; the file is {file}"
        ))
    };
    assert_eq!(state_of(&status), words("hostPath /srv/m.gguf on node n1"));
    let claimed = pod_of(
        &json!({"persistentVolumeClaim": {"claimName": "models"}}),
        &json!({"subPath": "llama/m.gguf"}),
        &status,
    );
    assert_eq!(
        state_at(&claimed, after(1)),
        words("llama/m.gguf on PersistentVolumeClaim models")
    );
}

#[test]
fn a_container_that_cannot_be_made_is_told_in_the_kubelets_words() {
    for reason in [
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    ] {
        assert_eq!(
            state_of(&waiting(&json!({"reason": reason, "message": "why"}), None)),
            AgentState::Crashing(format!("{reason}: why"))
        );
    }
}

#[test]
fn an_image_that_cannot_be_had_is_told_in_the_kubelets_words() {
    for reason in IMAGE_FAILURES {
        assert_eq!(
            state_of(&waiting(&json!({"reason": reason, "message": "why"}), None)),
            AgentState::ImagePullFailed("why".into())
        );
        assert_eq!(
            state_of(&waiting(&json!({"reason": reason}), None)),
            AgentState::ImagePullFailed(reason.into())
        );
    }
}

#[test]
fn volumes_that_are_not_set_up_in_time_name_pod_node_and_file() {
    for ready_to_start in [Some(("False", SCHEDULED)), None] {
        let pod = pod(&creating(ready_to_start));
        assert_eq!(state_at(&pod, after(59)), AgentState::Starting);
        let AgentState::VolumesMissing(message) = state_at(&pod, after(60)) else {
            panic!("{:?}", state_at(&pod, after(60)));
        };
        for part in [
            "pod a on node n1",
            SCHEDULED,
            "hostPath /srv/m.gguf on node n1",
            "kubectl -n farms describe pod a",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert_eq!(
            state_at(&pod, after(600)),
            AgentState::VolumesMissing(message),
            "the same words, however long it takes"
        );
    }
}

#[test]
fn a_claimed_volume_that_is_not_set_up_names_claim_and_path() {
    let volume = json!({"persistentVolumeClaim": {"claimName": "models"}});
    let pod = pod_of(&volume, &json!({"subPath": "llama/m.gguf"}), &creating(None));
    let AgentState::VolumesNotReady(message) = state_at(&pod, after(60)) else {
        panic!("{:?}", state_at(&pod, after(60)));
    };
    assert!(
        message.contains("llama/m.gguf on PersistentVolumeClaim models"),
        "{message}"
    );
}

#[test]
fn an_agent_whose_volumes_are_there_is_starting_however_long_its_image_takes() {
    let status = creating(Some(("True", SCHEDULED)));
    assert_eq!(state_at(&pod(&status), after(3600)), AgentState::Starting);
}

#[test]
fn a_pod_that_is_set_up_again_has_its_time_again() {
    let status = creating(Some(("False", "2026-01-01T01:00:00Z")));
    assert_eq!(state_at(&pod(&status), after(3659)), AgentState::Starting);
    assert!(matches!(
        state_at(&pod(&status), after(3660)),
        AgentState::VolumesMissing(_)
    ));
}

#[test]
fn a_pod_of_which_its_kubelet_said_nothing_yet_is_starting() {
    let conditions = json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": SCHEDULED}]);
    let status = json!({"phase": "Pending", "conditions": conditions});
    assert_eq!(state_at(&pod(&status), after(600)), AgentState::Starting);
}

#[test]
fn other_pods_are_not_agents() {
    assert_eq!(AgentPod::from_pod(&Pod::default(), after(1)), None);
}

#[test]
fn an_agent_that_the_cluster_takes_from_its_node_is_told_apart() {
    let judged = |status: &str, phase: &str| {
        let pod = serde_json::json!({
            "metadata": {
                "name": "p", "uid": "u", "labels": {"app.kubernetes.io/component": "gpu-agent", "cocoon.farm/model": "m"},
            },
            "status": {
                "phase": phase,
                "conditions": [{"type": "DisruptionTarget", "status": status, "reason": "EvictionByEvictionAPI"}],
            },
        });
        let pod = serde_json::from_value(pod).unwrap();
        AgentPod::from_pod(&pod, Timestamp::UNIX_EPOCH).unwrap()
    };
    assert!(judged("True", "Running").displaced);
    assert!(!judged("False", "Running").displaced);
    // The kubelet leaves the pods that it evicts behind.
    let evicted = judged("True", "Failed");
    assert!(evicted.displaced && evicted.state == AgentState::Gone);
}
