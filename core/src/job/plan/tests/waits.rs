//! What a job waits for, and how it says so.

use std::collections::BTreeMap;

use cocoon_api::{
    agent::{FetchFault, GpuFault},
    conditions::Observation,
};

use super::*;
use crate::{
    agents::{Rejection, Shortage, fetch::Fetch, recognition::Stranger},
    inventory::{Inventory, Requirements},
    placement::availability::{Agents, available},
};

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

/// Every obstacle that a pod shows, each with what somebody else wrote about it.
fn obstacles() -> Vec<AgentState> {
    let scheduler = |words: &str| AgentState::Unschedulable(format!("{words} secret"));
    let awaiting = |fetch| AgentState::AwaitingModel {
        node: "n".into(),
        fetch,
    };
    let mut all = vec![
        AgentState::Starting,
        AgentState::Crashing("secret".into()),
        AgentState::ImagePullFailed("secret".into()),
        AgentState::VolumesMissing("secret".into()),
        AgentState::VolumesNotReady("secret".into()),
        AgentState::Unrecognised(Stranger::NoToken),
        awaiting(Fetch::Downloading),
        awaiting(Fetch::Stuck("secret".into())),
        awaiting(Fetch::Failed(FetchFault::DigestMismatch)),
        scheduler("1 Insufficient nvidia.com/gpu"),
        scheduler("1 Insufficient memory"),
        scheduler("1 node(s) were unschedulable"),
        scheduler("1 node(s) had untolerated taint {a: b}"),
        scheduler("1 node(s) didn't match Pod's node affinity/selector"),
        scheduler("persistentvolumeclaim \"models\" not found"),
        scheduler("a scheduler's own words"),
    ];
    all.extend(
        [Shortage::Gpus, Shortage::Resources, Shortage::Other].map(|shortage| {
            AgentState::Rejected(Rejection {
                node: "n".into(),
                shortage,
                words: "OutOfcpu: secret".into(),
            })
        }),
    );
    all.extend(GpuFault::ALL.map(AgentState::GpuUnusable));
    all
}

const REFUSALS: [(&str, &str); 7] = [
    ("exceeded quota: secret", "QuotaExceeded"),
    (
        "maximum memory usage per Container is secret",
        "LimitRangeExceeded",
    ),
    ("violates PodSecurity \"secret\"", "PodSecurityViolated"),
    (
        "error looking up service account n/secret",
        "ServiceAccountMissing",
    ),
    (
        "no PriorityClass with name secret was found",
        "PriorityClassMissing",
    ),
    (
        "pod rejected: RuntimeClass \"secret\" not found",
        "RuntimeClassMissing",
    ),
    ("admission webhook \"secret\" denied the request", "AgentFailed"),
];

/// What the provider says of these agents, of which one is wanted.
fn of_provider(agents: &[Agent], refused: Option<&str>) -> Observation {
    let requirements = Requirements::default();
    let inventory = Inventory::take([], [], &requirements);
    let agents = Agents {
        model: "m",
        gpus_per_replica: 1,
        wanted: 1,
        pods: agents.iter().map(|agent| &agent.pod).collect(),
        refused,
        devices: BTreeMap::new(),
    };
    available(&[agents], &[], &inventory, &requirements)
}

#[test]
fn provider_and_job_say_the_same_of_the_same_pods() {
    // What the farm alone can act on has one name for payers, and a start is the cold start of the job.
    let same = |of_provider: &'static str| match of_provider {
        "Starting" => "ColdStart",
        fault if GpuFault::ALL.iter().any(|known| known.word() == fault) => "GPUUnusable",
        same => same,
    };
    let states = obstacles();
    for one in &states {
        for other in &states {
            let mut agents = vec![agent(one.clone(), 0), agent(other.clone(), 0)];
            agents[1].pod.name = "b".into();
            let said = of_provider(&agents, None).reason;
            let case = Case {
                agents,
                ..Case::default()
            };
            assert_eq!(case.waits().1, same(said), "{one:?} {other:?}");
        }
        for (words, reason) in REFUSALS {
            let agents = vec![agent(one.clone(), 0)];
            assert_eq!(of_provider(&agents, Some(words)).reason, reason);
            let case = Case {
                agents,
                refused: Some(Refusal::of(words)),
                ..Case::default()
            };
            let (type_, said, message) = case.waits();
            assert_eq!((type_, said), ("Scheduled", reason), "{message}");
            assert!(
                message.contains("AgentsAvailable of provider farm says why"),
                "{message}"
            );
        }
    }
    let none = Case {
        agents: Vec::new(),
        refused: Some(Refusal::Quota),
        ..Case::default()
    };
    assert_eq!(none.waits().1, "QuotaExceeded", "without any pod");
}

#[test]
fn what_others_wrote_about_a_farms_pods_is_not_told_to_another_namespace() {
    for state in obstacles() {
        let said = |provider: &str| {
            let mut channel = reserved();
            channel.provider = provider.into();
            let case = Case {
                offers: vec![Offer {
                    provider: provider.into(),
                    ..offer()
                }],
                channel: Some(channel),
                agents: vec![agent(state.clone(), 0)],
                ..Case::default()
            };
            case.waits().2
        };
        let (home, elsewhere) = (said("p"), said("farm/p"));
        assert!(!elsewhere.contains("secret"), "{elsewhere}");
        if home.contains("secret") {
            assert!(
                elsewhere.contains("AgentsAvailable of provider farm/p says why"),
                "{elsewhere}"
            );
        }
    }
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
