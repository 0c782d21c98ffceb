use serde_json::{Value, json};

use super::*;

const STARTED: &str = "2026-01-01T00:00:00Z";

fn after(seconds: i64) -> Timestamp {
    let started: Timestamp = STARTED.parse().unwrap();
    started + SignedDuration::from_secs(seconds)
}

fn download(container: &Value) -> FetchPod {
    download_at(container, after(0))
}

fn download_at(container: &Value, now: Timestamp) -> FetchPod {
    let mut container = container.clone();
    for (field, value) in [
        ("name", json!("fetch")),
        ("image", json!("i")),
        ("imageID", json!("")),
        ("ready", json!(true)),
        ("restartCount", json!(1)),
    ] {
        container[field] = value;
    }
    let pod = json!({
        "metadata": {"name": "f", "uid": "u", "labels": {
            names::COMPONENT_LABEL: names::DOWNLOAD_COMPONENT, names::MODEL_LABEL: "m"}},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"podIP": "10.0.0.7", "containerStatuses": [container]},
    });
    FetchPod::from_pod(&serde_json::from_value(pod).unwrap(), now).unwrap()
}

fn agent(init: &Value) -> AgentPod {
    let mut init = init.clone();
    for (field, value) in [
        ("name", json!(AWAIT_CONTAINER)),
        ("image", json!("i")),
        ("imageID", json!("")),
        ("ready", json!(false)),
        ("restartCount", json!(0)),
    ] {
        init[field] = value;
    }
    AgentPod::from_pod(&agent_pod(&init), after(600)).unwrap()
}

fn agent_pod(init: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "uid": "a", "labels": {
            names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::MODEL_LABEL: "m"}},
        "spec": {"nodeName": "n", "containers": []},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": STARTED}],
            "initContainerStatuses": [init],
            "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "PodInitializing"}}}],
        },
    }))
    .unwrap()
}

fn running() -> Value {
    json!({"state": {"running": {"startedAt": STARTED}}})
}

fn ended(exit_code: i32, words: &str) -> Value {
    json!({"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
           "lastState": {"terminated": {"exitCode": exit_code, "message": words}}})
}

#[test]
fn a_download_says_by_its_code_why_it_failed() {
    assert_eq!(download(&running()).state, Fetch::Downloading);
    assert_eq!(download(&running()).address, Some("10.0.0.7".parse().unwrap()));
    let words = "{\"level\":\"INFO\"}\nerror: HttpStatus 404: canary-7f3a";
    assert_eq!(
        download(&ended(75, words)).state,
        Fetch::Failed(FetchFault::HttpStatus(404))
    );
    // Another program may say the same, and words without a code are not repeated.
    for (exit_code, words) in [(1, words), (75, "canary-7f3a"), (137, "")] {
        let Fetch::Stuck(told) = download(&ended(exit_code, words)).state else {
            panic!("it ends");
        };
        assert!(
            !told.contains("canary") && told.contains(&exit_code.to_string()),
            "{told}"
        );
    }
    let image = json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}});
    assert_eq!(
        download(&image).state,
        Fetch::Stuck("ErrImagePull: no such image".into())
    );
    let preparing = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
    assert_eq!(download(&preparing).state, Fetch::Downloading);
}

#[test]
fn a_download_that_was_started_again_shows_its_failure_until_it_gets_on() {
    let mut again = running();
    let fault =
        |word: &str| json!({"terminated": {"exitCode": 75, "message": format!("error: {word}: why")}});
    again["lastState"] = fault("Stalled");
    assert_eq!(
        download_at(&again, after(5)).state,
        Fetch::Failed(FetchFault::Stalled)
    );
    assert_eq!(download_at(&again, after(30)).state, Fetch::Downloading);
    again["lastState"] = fault("DigestMismatch");
    assert_eq!(
        download_at(&again, after(600)).state,
        Fetch::Failed(FetchFault::DigestMismatch),
        "it is held back"
    );
}

#[test]
fn a_download_that_cannot_be_made_is_not_told_to_be_under_way() {
    let words = "could not create Pod d.farm: exceeded quota: small";
    let refused = Some(words);
    let fetch = |downloads: &[FetchPod], refused| {
        let mut agents = [agent(&running())];
        tell(&mut agents, downloads, refused);
        match &agents[0].state {
            AgentState::AwaitingModel { fetch, .. } => fetch.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(&[], refused), Fetch::Stuck(words.into()));
    // What is refused then is something else of the provider.
    assert_eq!(fetch(&[download(&running())], refused), Fetch::Downloading);
    assert_eq!(fetch(&[], None), Fetch::Downloading);
}

#[test]
fn an_agent_that_waits_for_its_model_names_node_and_download() {
    let mut agents = [agent(&running())];
    let state = |fetch| AgentState::AwaitingModel {
        node: "n".into(),
        fetch,
    };
    assert_eq!(agents[0].state, state(Fetch::Downloading));
    tell(
        &mut agents,
        &[download(&ended(75, "error: DigestMismatch: x"))],
        None,
    );
    assert_eq!(agents[0].state, state(Fetch::Failed(FetchFault::DigestMismatch)));
    // Its own fault is told before the download's.
    let mut agents = [agent(&ended(75, "error: CacheUnusable: x"))];
    tell(&mut agents, &[download(&running())], None);
    assert_eq!(agents[0].state, state(Fetch::Failed(FetchFault::CacheUnusable)));
    let done = json!({"state": {"terminated": {"exitCode": 0}}});
    assert_eq!(agent(&done).state, AgentState::Starting);
    let image = json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}});
    assert_eq!(
        agent(&image).state,
        AgentState::ImagePullFailed("no such image".into())
    );
    let made = json!({"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "why"}}});
    assert_eq!(
        agent(&made).state,
        AgentState::Crashing("CreateContainerConfigError: why".into())
    );
}

#[test]
fn a_copy_is_where_an_agent_has_found_it() {
    let with = |state: Value| {
        let init = json!({"name": AWAIT_CONTAINER, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state});
        copy_of(&agent_pod(&init))
    };
    assert_eq!(
        with(json!({"terminated": {"exitCode": 0}})),
        Some(("m".into(), "n".into()))
    );
    assert_eq!(with(json!({"terminated": {"exitCode": 75}})), None);
    assert_eq!(with(json!({"running": {}})), None);
}

#[test]
fn each_node_on_which_agents_wait_has_one_download_of_the_offers_file() {
    let waiting = [agent(&running()), agent(&running())];
    let name = |model: &str, node: &str| (model == "m").then(|| format!("{model}-{node}"));
    let first = due(&waiting, &[], name);
    assert_eq!(first.start, BTreeSet::from([("m".to_owned(), "n".to_owned())]));
    let current = FetchPod {
        name: "m-n".into(),
        ..download(&running())
    };
    assert_eq!(
        due(&waiting, std::slice::from_ref(&current), name),
        Due::default()
    );
    // It goes on for the next agent, unless it does not get on.
    assert_eq!(due(&[], std::slice::from_ref(&current), name), Due::default());
    let failing = FetchPod {
        state: Fetch::Failed(FetchFault::Stalled),
        ..current.clone()
    };
    assert_eq!(
        due(&waiting, std::slice::from_ref(&failing), name),
        Due::default()
    );
    assert_eq!(due(&[], std::slice::from_ref(&failing), name).remove, [failing]);
    // The offer names another file, or none any more.
    let old = FetchPod {
        name: "old".into(),
        ..current
    };
    let changed = due(&waiting, std::slice::from_ref(&old), name);
    assert_eq!((changed.start.len(), changed.remove), (1, vec![old.clone()]));
    let gone = due(&waiting, std::slice::from_ref(&old), |_, _| None);
    assert_eq!((gone.start.len(), gone.remove), (0, vec![old]));
}

#[test]
fn a_download_that_its_node_rejects_says_so() {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "f", "uid": "u", "creationTimestamp": STARTED, "labels": {
            names::COMPONENT_LABEL: names::DOWNLOAD_COMPONENT, names::MODEL_LABEL: "m"}},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"},
    }))
    .unwrap();
    let download = FetchPod::from_pod(&pod, after(1)).unwrap();
    let words = "OutOfcpu: Node didn't have enough resource: cpu";
    assert_eq!(download.state, Fetch::Stuck(words.into()));
    // One that ended otherwise is none.
    pod.status.as_mut().unwrap().message = None;
    assert_eq!(FetchPod::from_pod(&pod, after(1)), None);
}
