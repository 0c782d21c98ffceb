use cocoon_api::{
    NanoTon, Usage,
    agent::{FailureCode, Outcome, ResultLine},
    conditions::{self, Funded, VoucherValid},
    crd::{
        InferenceJob, PaymentChannelStatus,
        channel::Counter,
        job::{Assignment, MAX_ASSIGNMENTS},
    },
    receipt::{AgentKey, ChainId, ReceiptChain},
    units::Prices,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    agents::{AgentPod, AgentState},
    job::{
        landing::Terms,
        validate::{InputText, validate},
    },
    ledger,
};

const UID: &str = "job-uid";

fn job(suspend: bool, deadline: Option<i64>) -> ValidatedJob {
    let job: InferenceJob = serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": "j", "uid": UID},
        "spec": {"model": "m", "endpoint": "/v1/completions", "suspend": suspend,
                 "activeDeadlineSeconds": deadline, "backoffLimit": 2,
                 "input": {"inline": [{"prompt": "a"}, {"prompt": "b"}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 100}},
    }))
    .unwrap();
    validate(&job, &InputText::Inline).unwrap()
}

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn offer() -> Offer {
    Offer {
        provider: "farm".into(),
        closed: false,
        model_sha256: Some("00".repeat(32)),
        prices: Prices::default(),
    }
}

fn channel(covered: u64) -> Channel {
    let mut status = PaymentChannelStatus {
        cap_nano: nano(covered),
        deposit_nano: nano(covered),
        ..Default::default()
    };
    for condition in [VoucherValid::Valid.condition("v"), Funded::Funded.condition("f")] {
        conditions::set(&mut status.conditions, condition, None, Timestamp::UNIX_EPOCH);
    }
    Channel {
        provider: "farm".into(),
        address: "EQ".into(),
        deleting: false,
        status,
    }
}

fn reserved() -> Channel {
    let mut channel = channel(100);
    ledger::reserve(&mut channel.status, UID, "j", nano(100))
        .unwrap()
        .unwrap();
    channel
}

fn agent(state: AgentState, active: usize) -> Agent {
    Agent {
        pod: AgentPod {
            name: "a".into(),
            uid: "pod".into(),
            model: "m".into(),
            state,
            address: None,
        },
        active,
    }
}

fn ready() -> AgentState {
    AgentState::Ready("10.0.0.1".parse().unwrap())
}

fn assigned(state: AssignmentState) -> InferenceJobStatus {
    InferenceJobStatus {
        start_time: Some(Time(Timestamp::UNIX_EPOCH)),
        assignments: vec![Assignment {
            attempt: 1,
            provider: "farm".into(),
            pod: "a".into(),
            pod_uid: "pod".into(),
            agent: "00".repeat(32),
            requests: 0,
            completion_tokens: 0,
            nano: NanoTon::ZERO,
            state,
        }],
        ..Default::default()
    }
}

fn failed(codes: &[(u32, FailureCode)]) -> Landing {
    let mut landing = Landing::default();
    let mut chain = ReceiptChain::new(ChainId {
        agent: AgentKey([0; 32]),
        job: UID.into(),
        attempt: 1,
        channel: None,
    });
    for &(index, code) in codes {
        let outcome = Outcome::Failed {
            code,
            message: "words".into(),
        };
        landing
            .accept(
                &mut chain,
                ResultLine {
                    position: index,
                    index,
                    outcome,
                },
                &Terms {
                    custom_ids: vec!["a".into(), "b".into()],
                    budget: None,
                },
            )
            .unwrap();
    }
    landing
}

struct Case {
    job: ValidatedJob,
    status: InferenceJobStatus,
    offers: Vec<Offer>,
    channel: Option<Channel>,
    agents: Vec<Agent>,
    landing: Landing,
    following: Following,
    now: i64,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            job: job(false, None),
            status: InferenceJobStatus::default(),
            offers: vec![offer()],
            channel: Some(reserved()),
            agents: vec![agent(ready(), 0)],
            landing: Landing::default(),
            following: Following::No,
            now: 10,
        }
    }
}

impl Case {
    fn plan(&self) -> Plan {
        plan(&World {
            now: self.now,
            job: &self.job,
            status: &self.status,
            offers: &self.offers,
            channel: self.channel.as_ref(),
            agents: &self.agents,
            landing: &self.landing,
            following: self.following,
            queue_position: 3,
        })
        .unwrap()
    }

    /// Type and reason of the condition that the job waits for.
    fn waits(&self) -> (&'static str, &'static str, String) {
        let plan = self.plan();
        assert_eq!(plan.step, Step::Wait);
        let condition = plan.conditions.last().unwrap().clone();
        assert_eq!(plan.waiting_for.as_ref(), Some(&condition.message));
        (condition.type_, condition.reason, condition.message)
    }
}

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
    assert_eq!(
        waits(vec![agent(AgentState::Crashing("sha256".into()), 0)]),
        "AgentFailed"
    );
    assert_eq!(
        waits(vec![agent(AgentState::VolumesMissing("hostPath".into()), 0)]),
        "ModelNotCached"
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
fn an_attempt_is_lost_only_when_its_agent_cannot_deliver() {
    let case = |following, agents| {
        Case {
            status: assigned(AssignmentState::Active),
            following,
            agents,
            ..Case::default()
        }
        .plan()
        .step
    };
    let lost = Step::Close {
        attempt: 1,
        state: AssignmentState::Lost,
    };
    assert!(
        matches!(case(Following::Unreachable, vec![agent(ready(), 1)]), Step::Fence { uid, .. } if uid == "pod")
    );
    assert_eq!(case(Following::Unreachable, vec![]), lost);
    assert_eq!(case(Following::Yes, vec![agent(AgentState::Gone, 1)]), lost);
    assert_eq!(case(Following::Replaced, vec![agent(ready(), 1)]), lost);
    assert!(matches!(
        case(Following::No, vec![agent(ready(), 1)]),
        Step::Follow { .. }
    ));
    assert_eq!(
        case(Following::Ended, vec![agent(ready(), 1)]),
        Step::Close {
            attempt: 1,
            state: AssignmentState::Ended
        }
    );
}

#[test]
fn an_attempt_may_cost_what_is_left_of_the_budget() {
    let case = Case {
        status: assigned(AssignmentState::Active),
        ..Case::default()
    };
    assert!(matches!(case.plan().step, Step::Follow { budget: Some(budget), .. } if budget == nano(100)));
    // Results that were billed and then deleted are paid for all the same.
    let mut channel = reserved();
    let metered = Counter {
        agent: "a".into(),
        job: UID.into(),
        name: "j".into(),
        attempt: 1,
        count: 1,
        usage: Usage::default(),
        nano: nano(90),
        head: String::new(),
    };
    ledger::merge(&mut channel.status, metered).unwrap();
    let deleted = Case {
        channel: Some(channel),
        ..case
    };
    assert!(matches!(deleted.plan().step, Step::Follow { budget: Some(budget), .. } if budget == nano(10)));
}

#[test]
fn a_suspended_job_stops_and_gives_its_budget_back() {
    let running = Case {
        job: job(true, None),
        status: assigned(AssignmentState::Active),
        following: Following::Yes,
        ..Case::default()
    };
    assert_eq!(running.plan().step, Step::Cancel { attempt: 1 });
    let ended = Case {
        following: Following::Ended,
        ..running
    };
    assert_eq!(
        ended.plan().step,
        Step::Close {
            attempt: 1,
            state: AssignmentState::Suspended
        }
    );
    assert_eq!(
        Case {
            job: job(true, None),
            ..Case::default()
        }
        .plan()
        .step,
        Step::Release
    );
}

#[test]
fn a_job_ends_by_its_deadline() {
    let running = Case {
        job: job(false, Some(5)),
        status: assigned(AssignmentState::Active),
        following: Following::Yes,
        ..Case::default()
    };
    assert_eq!(running.plan().step, Step::Cancel { attempt: 1 });
    let stopped = Case {
        status: assigned(AssignmentState::Ended),
        ..running
    };
    assert!(matches!(stopped.plan().step, Step::Finish(end) if end.condition.reason == "DeadlineExceeded"));
}

#[test]
fn a_job_that_was_suspended_as_often_as_its_status_can_tell_ends() {
    let case = |attempts: usize| {
        let mut status = assigned(AssignmentState::Suspended);
        status.assignments = vec![status.assignments.remove(0); attempts];
        Case {
            status,
            channel: Some(reserved()),
            agents: vec![agent(ready(), 0)],
            ..Case::default()
        }
    };
    assert!(matches!(
        case(MAX_ASSIGNMENTS - 1).plan().step,
        Step::Assign { .. }
    ));
    assert!(matches!(case(MAX_ASSIGNMENTS).plan().step, Step::Finish(_)));
}

#[test]
fn attempts_are_bounded_by_the_backoff_limit() {
    let mut status = assigned(AssignmentState::Lost);
    for attempt in 2..=3 {
        let again = Assignment {
            attempt,
            ..status.assignments[0].clone()
        };
        status.assignments.push(again);
    }
    let case = Case {
        status,
        ..Case::default()
    };
    assert!(matches!(case.plan().step, Step::Finish(end) if end.condition.reason == "BackoffLimitExceeded"));
}

#[test]
fn a_job_whose_requests_have_all_ended_ends() {
    let reason = |codes: &[(u32, FailureCode)]| match (Case {
        landing: failed(codes),
        ..Case::default()
    })
    .plan()
    .step
    {
        Step::Finish(end) => end.condition.reason,
        other => panic!("{other:?}"),
    };
    let too_long = FailureCode::ContextLengthExceeded;
    assert_eq!(reason(&[(0, too_long), (1, too_long)]), "RequestsFailed");
    assert_eq!(
        reason(&[(0, too_long), (1, FailureCode::BudgetExceeded)]),
        "BudgetExceeded"
    );
}

fn states() -> impl Strategy<Value = AgentState> {
    prop_oneof![
        Just(ready()),
        Just(AgentState::Starting),
        Just(AgentState::Unschedulable("words".into())),
        Just(AgentState::Crashing("words".into())),
        Just(AgentState::VolumesMissing("words".into())),
        Just(AgentState::Terminating),
        Just(AgentState::Gone),
    ]
}

fn following() -> impl Strategy<Value = Following> {
    prop_oneof![
        Just(Following::No),
        Just(Following::Yes),
        Just(Following::Ended),
        Just(Following::Replaced),
        Just(Following::Unreachable),
    ]
}

proptest! {
    #[test]
    fn nothing_starts_without_a_reservation_and_every_wait_is_explained(
        state in states(), following in following(), covered in 0..200u64, holds in any::<bool>(),
        suspend in any::<bool>(), attempt in proptest::option::of(prop_oneof![
            Just(AssignmentState::Active), Just(AssignmentState::Lost), Just(AssignmentState::Suspended)]),
    ) {
        let case = Case {
            job: job(suspend, None),
            status: attempt.map(assigned).unwrap_or_default(),
            channel: Some(if holds { reserved() } else { channel(covered) }),
            agents: vec![agent(state, 0)],
            following,
            ..Case::default()
        };
        let plan = case.plan();
        if matches!(plan.step, Step::Assign { .. }) {
            prop_assert!(holds && !suspend);
        }
        if plan.step == Step::Wait {
            prop_assert!(plan.waiting_for.is_some_and(|words| !words.is_empty()));
        }
        prop_assert_eq!(case.plan().step, plan.step, "planning twice is the same plan");
    }
}
