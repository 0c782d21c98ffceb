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
fn agents_that_serve_add_up() {
    let agent = |uid: &str| AgentPod {
        name: uid.into(),
        uid: uid.into(),
        model: "m".into(),
        state: AgentState::Ready("10.0.0.1".parse().unwrap()),
        address: None,
        displaced: false,
    };
    let speeds = [("a".to_owned(), 10.4), ("b".to_owned(), 20.4)].into();
    let status = status_of(&Seen {
        agents: vec![agent("a"), agent("b")],
        speeds,
        ..seen(0)
    });
    assert_eq!(
        (status.models[0].ready, status.tokens_per_second, status.replicas),
        (2, 31, 2)
    );
    assert_eq!(status.models[0].phase, ModelPhase::Serving);
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
