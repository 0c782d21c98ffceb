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
