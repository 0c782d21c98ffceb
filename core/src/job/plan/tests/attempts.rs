//! When attempts start, stop and end the job.

use super::*;

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
        subject: Subject::job(UID, 1),
        name: "j".into(),
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

#[test]
fn a_refusal_by_an_agent_is_a_state_and_its_pod_stays() {
    let refused = Case {
        status: assigned(AssignmentState::Active),
        following: Following::Refused(RefusalCode::Unfit),
        ..Case::default()
    };
    let plan = refused.plan();
    assert_eq!(
        plan.step,
        Step::Close {
            attempt: 1,
            state: AssignmentState::Refused
        }
    );
    let said = plan.conditions.last().unwrap();
    assert_eq!(said.reason, "AgentRefused");
    assert!(
        said.message.ends_with(RefusalCode::Unfit.words()),
        "{}",
        said.message
    );
    // Another agent is asked before the one that refused.
    let mut other = agent(ready(), 3);
    (other.pod.name, other.pod.uid) = ("z".into(), "other".into());
    let next = Case {
        status: assigned(AssignmentState::Refused),
        agents: vec![agent(ready(), 0), other],
        ..Case::default()
    };
    assert!(matches!(next.plan().step, Step::Assign { pod, attempt: 2, .. } if pod.name == "z"));
}

#[test]
fn a_job_whose_results_cannot_be_stored_ends() {
    let case = Case {
        status: assigned(AssignmentState::Active),
        following: Following::Unstored,
        ..Case::default()
    };
    assert!(matches!(case.plan().step, Step::Finish(end) if end.condition.reason == "ResultsRefused"));
}

#[test]
fn no_attempt_starts_whose_usage_would_find_no_place_in_the_ledger() {
    let counter = |number: usize| Counter {
        agent: format!("{number}"),
        subject: Subject::job(format!("other-{number}"), 1),
        name: "j".into(),
        count: 1,
        usage: Usage::default(),
        nano: NanoTon::ZERO,
        head: String::new(),
    };
    let with = |counters: usize| {
        let mut channel = reserved();
        channel.status.counters = (0..counters).map(counter).collect();
        Case {
            channel: Some(channel),
            ..Case::default()
        }
    };
    assert!(matches!(
        with(ledger::MAX_COUNTERS - 1).plan().step,
        Step::Assign { .. }
    ));
    let (type_, reason, message) = with(ledger::MAX_COUNTERS).waits();
    assert_eq!((type_, reason), ("FundsReserved", "ChannelNotReady"));
    assert!(message.contains("one more attempt"), "{message}");
}

#[test]
fn what_was_agreed_stays_whatever_is_offered_later() {
    let first = Case::default().plan();
    assert_eq!(first.agreed, Some(agreed()));
    let dear = Offer {
        prices: Prices {
            completion: TokenPrice::from_nano_per_million(1_000).unwrap(),
            ..Prices::default()
        },
        model_sha256: Some("11".repeat(32)),
        ..offer()
    };
    let again = Case {
        status: assigned(AssignmentState::Lost),
        offers: vec![dear.clone()],
        ..Case::default()
    };
    let Step::Assign {
        attempt,
        agreed: kept,
        ..
    } = again.plan().step
    else {
        panic!("{:?}", again.plan().step)
    };
    assert_eq!((attempt, kept), (2, agreed()));
    let running = Case {
        status: assigned(AssignmentState::Active),
        offers: vec![dear],
        ..Case::default()
    };
    assert!(matches!(running.plan().step, Step::Follow { agreed: kept, .. } if kept == agreed()));
}

#[test]
fn a_provider_that_asks_more_than_the_payer_allows_does_not_get_the_job() {
    let allowed = |nano: u64| {
        let mut case = Case::default();
        let Billing::Channel { max_prices, .. } = &mut case.job.billing else {
            panic!("a paid job")
        };
        *max_prices = Some(MaxPrices {
            completion: Some(TokenPrice::from_nano_per_million(nano).unwrap()),
            ..MaxPrices::default()
        });
        case.offers[0].prices.completion = TokenPrice::from_nano_per_million(5).unwrap();
        case
    };
    assert!(matches!(allowed(5).plan().step, Step::Assign { .. }));
    let (type_, reason, message) = allowed(4).waits();
    assert_eq!((type_, reason), ("Accepted", "PriceTooHigh"));
    assert!(message.contains("asks 5 nanoTON for completion"), "{message}");
}

#[test]
fn a_job_that_is_refused_while_it_runs_is_stopped_before_it_ends() {
    let rejection = Rejection {
        accepted: Accepted::InvalidInput.condition("the input has changed"),
        is_final: true,
    };
    let status = assigned(AssignmentState::Active);
    let step = |following| reject(&rejection, &status, following).step;
    assert_eq!(step(Following::Yes), Step::Cancel { attempt: 1 });
    assert!(matches!(step(Following::Ended), Step::Finish(end) if end.condition.reason == "InvalidInput"));
    let waiting = Rejection {
        is_final: false,
        ..rejection
    };
    assert_eq!(reject(&waiting, &status, Following::No).step, Step::Wait);
}

#[test]
fn what_an_agent_says_about_a_failure_is_not_repeated() {
    let case = Case {
        landing: failed(&[
            (0, FailureCode::InvalidRequest),
            (1, FailureCode::ContextLengthExceeded),
        ]),
        ..Case::default()
    };
    let plan = case.plan();
    let said = format!("{plan:?}");
    assert!(!said.contains(AGENTS_WORDS), "{said}");
    assert!(
        said.contains("request 0: the body is not what the endpoint takes"),
        "{said}"
    );
    let crashing = Case {
        agents: vec![agent(AgentState::Crashing(AGENTS_WORDS.into()), 0)],
        ..Case::default()
    };
    assert!(!format!("{:?}", crashing.plan()).contains(AGENTS_WORDS));
}

#[test]
fn an_operator_that_follows_all_that_its_memory_is_meant_for_starts_no_more() {
    let case = Case {
        has_room: false,
        ..Case::default()
    };
    assert_eq!(case.waits().1, "AgentsBusy");
}

fn displaced(state: AgentState) -> Agent {
    let mut agent = agent(state, 1);
    agent.pod.displaced = true;
    agent
}

#[test]
fn an_agent_that_the_cluster_moves_is_stopped_and_its_attempt_counts_against_nothing() {
    let step = |following, agent| {
        Case {
            status: assigned(AssignmentState::Active),
            following,
            agents: vec![agent],
            ..Case::default()
        }
        .plan()
        .step
    };
    let suspended = Step::Close {
        attempt: 1,
        state: AssignmentState::Suspended,
    };
    assert_eq!(
        step(Following::Yes, displaced(AgentState::Terminating)),
        Step::Cancel { attempt: 1 }
    );
    assert_eq!(
        step(Following::Ended, displaced(AgentState::Terminating)),
        suspended
    );
    assert_eq!(step(Following::Yes, displaced(AgentState::Gone)), suspended);
    // One that is merely deleted was replaced by somebody, and is lost as before.
    assert!(matches!(
        step(Following::Yes, agent(AgentState::Gone, 1)),
        Step::Close {
            state: AssignmentState::Lost,
            ..
        }
    ));
    // As many evictions as there may be attempts, and the job still runs.
    let mut job = Case {
        status: assigned(AssignmentState::Suspended),
        ..Case::default()
    };
    let first = job.status.assignments[0].clone();
    job.status.assignments = (1..=10)
        .map(|attempt| Assignment {
            attempt,
            ..first.clone()
        })
        .collect();
    assert!(!matches!(job.plan().step, Step::Finish(_)));
}
