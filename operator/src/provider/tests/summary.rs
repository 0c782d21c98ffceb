//! What a provider says of itself.

use super::*;

pub(super) fn status_of(seen: &Seen) -> cocoon_api::crd::CocoonProviderStatus {
    let provider = provider(&json!({}));
    let valid = validate::validate(&provider).unwrap();
    let plan = plan::plan(&valid, seen, &config());
    status::derive(&provider, &valid, &plan, seen, &payments(), applied())
}

#[test]
fn a_provider_without_work_is_ready_and_runs_nothing() {
    let status = status_of(&seen(0));
    assert!(
        conditions::is_true(&status.conditions, "Ready"),
        "{:?}",
        status.conditions
    );
    assert_eq!(
        (status.gpu_summary.as_str(), status.model_summary.as_str()),
        ("2/2", "0/1")
    );
    assert_eq!(status.models[0].phase, ModelPhase::Idle);
    assert_eq!(status.observed_generation, Some(3));
    assert!(
        status
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(3))
    );
}

#[test]
fn a_wait_for_gpus_reaches_the_summary() {
    let state = AgentState::Unschedulable("Insufficient nvidia.com/gpu".into());
    let agent = AgentPod {
        name: "a".into(),
        uid: "u".into(),
        model: "m".into(),
        state,
        address: None,
        displaced: false,
    };
    let status = status_of(&Seen {
        agents: vec![agent],
        ..seen(1)
    });
    let ready = conditions::find(&status.conditions, "Ready").unwrap();
    assert!(
        ready
            .message
            .starts_with("InsufficientGPU: m needs 1 nvidia.com/gpu"),
        "{}",
        ready.message
    );
    assert_eq!((status.models[0].queued, status.replicas), (1, 1));
}

#[test]
fn what_keeps_the_agents_deployment_from_being_made_is_why_no_agent_serves() {
    let words = "could not apply Deployment farm-m.default: admission webhook \"w\" denied the request";
    let provider = provider(&json!({}));
    let valid = validate::validate(&provider).unwrap();
    let said = |seen: &Seen| {
        let plan = plan::plan(&valid, seen, &config());
        let refused = ChildrenApplied::Refused.condition(words);
        let status = status::derive(&provider, &valid, &plan, seen, &payments(), refused);
        let available = conditions::find(&status.conditions, "AgentsAvailable").unwrap();
        (available.reason.clone(), available.message.clone())
    };
    let (reason, message) = said(&seen(1));
    assert_eq!(reason, "AgentFailed", "{message}");
    assert!(message.contains(words), "{message}");
    // While no agent is wanted none is missing.
    let (reason, message) = said(&seen(0));
    assert_eq!(reason, "ScaledToZero", "{message}");
}

fn serving(uid: &str) -> AgentPod {
    AgentPod {
        name: uid.into(),
        uid: uid.into(),
        model: "m".into(),
        state: AgentState::Ready("10.0.0.1".parse().unwrap()),
        address: None,
        displaced: false,
    }
}

/// What an agent answers, as its text.
fn says(answer: &Value) -> Figures {
    let mut identity = json!({"agent": "00".repeat(32), "model": "m", "modelSha256": "00".repeat(32), "backend": "CUDA",
        "contextLength": 64, "tokensPerSecond": 10.4});
    merge(&mut identity, answer);
    figures::figures(serde_json::from_value(identity).unwrap()).unwrap()
}

#[test]
fn agents_that_serve_add_up() {
    let figures = [("a", 10.4), ("b", 20.4)]
        .map(|(uid, speed)| (uid.to_owned(), says(&json!({"tokensPerSecond": speed}))))
        .into();
    let status = status_of(&Seen {
        agents: vec![serving("a"), serving("b")],
        figures,
        ..seen(0)
    });
    assert_eq!(
        (status.models[0].ready, status.tokens_per_second, status.replicas),
        (2, 31, 2)
    );
    assert_eq!(status.models[0].phase, ModelPhase::Serving);
}

#[test]
fn a_gpu_of_several_that_is_lost_reaches_the_status_and_the_agent_goes_on() {
    let with = |answer: &Value| {
        let figures = [
            ("a".to_owned(), says(&json!({"devices": {"given": 2}}))),
            ("b".to_owned(), says(answer)),
        ];
        status_of(&Seen {
            agents: vec![serving("a"), serving("b")],
            figures: figures.into(),
            ..seen(1)
        })
    };
    let available = |status: &cocoon_api::crd::CocoonProviderStatus| {
        conditions::find(&status.conditions, "AgentsAvailable")
            .unwrap()
            .clone()
    };
    let whole = with(&json!({"devices": {"given": 2}}));
    assert_eq!(available(&whole).reason, "AgentsReady");
    let status = with(&json!({"devices": {"given": 2, "ended": ["DeviceLost"]}}));
    let said = available(&status);
    assert_eq!(
        (said.status.as_str(), said.reason.as_str()),
        ("False", "DeviceLost")
    );
    assert!(
        said.message
            .starts_with("m: agent b goes on with 1 of 2 devices: the GPU is lost: look for Xid"),
        "{}",
        said.message
    );
    // Nothing of what it serves is taken back.
    assert_eq!(
        (status.models[0].phase, status.models[0].ready),
        (ModelPhase::Serving, 2)
    );
    // One that was asked before a release in which it says so.
    assert_eq!(available(&with(&json!({}))).reason, "AgentsReady");
}

#[test]
fn the_same_world_gives_the_same_status() {
    let mut provider = provider(&json!({}));
    let valid = validate::validate(&provider).unwrap();
    let first = seen(1);
    let plan = plan::plan(&valid, &first, &config());
    let status = status::derive(&provider, &valid, &plan, &first, &payments(), applied());
    provider.status = Some(status.clone());
    let later = Seen {
        now: at(2000),
        ..seen(1)
    };
    assert_eq!(
        status::derive(&provider, &valid, &plan, &later, &payments(), applied()),
        status
    );
}
