//! Jobs that are paid step by step.

use super::*;

/// Two requests in steps of one, and a channel that covers so much.
fn case(covered: u64) -> Case {
    let mut case = Case {
        channel: Some(channel(covered)),
        ..Case::default()
    };
    case.job.step = Some(1);
    case
}

#[test]
fn a_step_is_reserved_alone_and_the_agent_gets_no_more_than_that() {
    let mut case = case(50);
    let Step::Reserve { budget, .. } = case.plan().step else {
        panic!("{:?}", case.plan());
    };
    assert_eq!(budget, nano(50), "one of two requests, of 100");
    let status = &mut case.channel.as_mut().unwrap().status;
    ledger::reserve(status, &Bill::job(UID), "j", budget)
        .unwrap()
        .unwrap();
    assert!(matches!(case.plan().step, Step::Assign { .. }));
    case.status = assigned(AssignmentState::Active);
    let Step::Follow { budget, .. } = case.plan().step else {
        panic!("{:?}", case.plan());
    };
    assert_eq!(budget, Some(nano(50)));
}

#[test]
fn a_job_whose_next_step_nobody_signed_for_is_paused_and_goes_on_when_the_voucher_rises() {
    let mut case = case(49);
    let (type_, reason, message) = case.waits();
    assert_eq!((type_, reason), ("FundsReserved", "WaitingForFunds"));
    assert!(message.contains("paused after 0 of 2 requests"), "{message}");
    case.channel = Some(channel(50));
    assert!(matches!(case.plan().step, Step::Reserve { .. }));
}

#[test]
fn steps_that_were_done_are_no_lost_attempts() {
    let mut case = case(100);
    case.job.backoff_limit = 0;
    case.status = assigned(AssignmentState::Ended);
    case.landing = failed(&[(0, FailureCode::ContextLengthExceeded)]);
    assert!(
        matches!(case.plan().step, Step::Reserve { .. }),
        "{:?}",
        case.plan()
    );
    case.landing = Landing::default();
    assert!(matches!(case.plan().step, Step::Finish(end) if end.condition.reason == "BackoffLimitExceeded"));
}
