//! What a job waits for, and how it says so.

use cocoon_api::agent::{FetchFault, GpuFault};

use super::*;
use crate::agents::fetch::Fetch;

#[test]
fn a_job_with_funds_goes_to_a_ready_agent() {
    assert!(matches!(Case::default().plan().step, Step::Assign { pod, .. } if pod.name == "a"));
}

#[test]
fn funds_come_before_agents() {
    let case = Case {
        channel: Some(channel(100)),
        ..Case::default()
    };
    assert!(matches!(case.plan().step, Step::Reserve { budget, .. } if budget == nano(100)));
}

#[test]
fn a_channel_that_cannot_cover_the_budget_is_waited_for() {
    let (type_, reason, message) = Case {
        channel: Some(channel(99)),
        ..Case::default()
    }
    .waits();
    assert_eq!((type_, reason), ("FundsReserved", "WaitingForFunds"));
    assert!(message.contains("top up the channel"), "{message}");
}

#[test]
fn what_is_missing_is_named() {
    let no_channel = Case {
        channel: None,
        ..Case::default()
    }
    .waits();
    assert_eq!(
        (no_channel.1, no_channel.2.as_str()),
        ("ChannelNotFound", "PaymentChannel c does not exist")
    );
    let mut unknown = offer();
    unknown.model_sha256 = None;
    let no_model = Case {
        offers: vec![unknown],
        ..Case::default()
    }
    .waits();
    assert_eq!(no_model.1, "ModelUnknown");
    let mut dear = offer();
    dear.prices.minimum_nano = nano(51);
    let too_small = Case {
        offers: vec![dear],
        ..Case::default()
    }
    .waits();
    assert_eq!(too_small.1, "BudgetTooSmall");
}

#[test]
fn every_state_of_agents_has_its_reason() {
    let waits = |agents| {
        Case {
            agents,
            ..Case::default()
        }
        .waits()
        .1
    };
    assert_eq!(waits(vec![]), "ColdStart");
    assert_eq!(
        waits(vec![agent(
            AgentState::Unschedulable("Insufficient nvidia.com/gpu".into()),
            0
        )]),
        "InsufficientGPU"
    );
    for (words, reason) in [
        ("1 Insufficient memory", "InsufficientResources"),
        ("1 node(s) were unschedulable", "NodesCordoned"),
        ("1 node(s) had untolerated taint {a: b}", "NodesTainted"),
        (
            "1 node(s) didn't match Pod's node affinity/selector",
            "NoMatchingNode",
        ),
        ("persistentvolumeclaim \"models\" not found", "ClaimMissing"),
        ("a scheduler's own words", "Unschedulable"),
    ] {
        assert_eq!(
            waits(vec![agent(AgentState::Unschedulable(words.into()), 0)]),
            reason
        );
    }
    // As the provider: an agent that fails is worse than one that waits for a node.
    let both = vec![
        agent(
            AgentState::Unschedulable("1 Insufficient nvidia.com/gpu".into()),
            0,
        ),
        agent(AgentState::Crashing("sha256".into()), 0),
    ];
    assert_eq!(waits(both), "AgentFailed");
    assert_eq!(
        waits(vec![agent(AgentState::GpuUnusable(GpuFault::NoDriver), 0)]),
        "GPUUnusable"
    );
    assert_eq!(
        waits(vec![agent(AgentState::Crashing("sha256".into()), 0)]),
        "AgentFailed"
    );
    assert_eq!(
        waits(vec![agent(AgentState::VolumesMissing("hostPath".into()), 0)]),
        "ModelNotCached"
    );
    assert_eq!(
        waits(vec![agent(AgentState::VolumesNotReady("claim".into()), 0)]),
        "VolumesNotReady"
    );
    let awaiting = |fetch| {
        let state = AgentState::AwaitingModel {
            node: "n".into(),
            fetch,
        };
        waits(vec![agent(state, 0)])
    };
    assert_eq!(awaiting(Fetch::Downloading), "ModelNotCached");
    assert_eq!(
        awaiting(Fetch::Failed(FetchFault::DigestMismatch)),
        "DownloadFailed"
    );
    assert_eq!(waits(vec![agent(ready(), MAX_JOBS_PER_AGENT)]), "AgentsBusy");
    let mut closed = offer();
    closed.closed = true;
    assert_eq!(
        Case {
            offers: vec![closed],
            ..Case::default()
        }
        .waits()
        .1,
        "ProviderUnavailable"
    );
}

#[test]
fn places_that_are_free_are_for_those_who_wait_longer() {
    // Three jobs of the case wait longer than this one.
    let with = |active| Case {
        agents: vec![agent(ready(), active)],
        ..Case::default()
    };
    assert_eq!(with(MAX_JOBS_PER_AGENT - 3).waits().1, "AgentsBusy");
    assert!(with(MAX_JOBS_PER_AGENT - 3).plan().waits_for_agent());
    let next = with(MAX_JOBS_PER_AGENT - 4).plan();
    assert!(matches!(next.step, Step::Assign { .. }) && !next.waits_for_agent());
}
