//! A job whose results can be read no more.

use cocoon_api::conditions::{Accepted, Reason as _};

use super::*;

fn unread(status: InferenceJobStatus, since: i64) -> InferenceJobStatus {
    let mut status = InferenceJobStatus {
        input_sha256: Some(Sha256Digest::of(b"input").to_string()),
        ..status
    };
    status.requests.total = 2;
    let since = Timestamp::from_second(since).unwrap();
    conditions::set(
        &mut status.conditions,
        Accepted::Accepted.condition(""),
        None,
        Timestamp::UNIX_EPOCH,
    );
    conditions::set(
        &mut status.conditions,
        Accepted::InvalidInput.condition("gone"),
        None,
        since,
    );
    status
}

fn stored(deadline: Option<i64>) -> InferenceJob {
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "uid": UID},
        "spec": {"model": "m", "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "a"}, {"prompt": "b"}]},
                 "activeDeadlineSeconds": deadline, "billing": {"mode": "Free"}},
    }))
    .unwrap()
}

#[test]
fn an_agent_is_not_held_by_a_job_whose_results_nobody_can_store() {
    let status = unread(assigned(AssignmentState::Active), 0);
    let active = status.active().unwrap().clone();
    // At once, and also after the limit: it is stopped before the job ends.
    for now in [0, LOST_RESULTS_SECONDS] {
        assert_eq!(lost(&stored(None), &status, now), Lost::Stop(active.clone()));
    }
}

#[test]
fn a_job_that_lost_its_results_ends_when_it_has_waited_for_them() {
    let status = unread(assigned(AssignmentState::Suspended), 1_000);
    assert_eq!(lost(&stored(None), &status, 1_000), Lost::Wait);
    assert_eq!(
        lost(&stored(None), &status, 999 + LOST_RESULTS_SECONDS),
        Lost::Wait
    );
    let Lost::End(end) = lost(&stored(None), &status, 1_000 + LOST_RESULTS_SECONDS) else {
        panic!("it has waited");
    };
    assert_eq!(
        (end.condition.type_, end.condition.reason),
        ("Failed", "ResultsLost")
    );
}

#[test]
fn it_ends_no_later_than_its_deadline() {
    let mut status = unread(assigned(AssignmentState::Lost), 1_000);
    status.start_time = Some(Time(Timestamp::from_second(940).unwrap()));
    assert_eq!(lost(&stored(Some(120)), &status, 1_059), Lost::Wait);
    assert!(matches!(lost(&stored(Some(120)), &status, 1_060), Lost::End(_)));
}

#[test]
fn who_has_not_worked_waits_for_the_place_of_its_results() {
    let status = unread(InferenceJobStatus::default(), 0);
    assert_eq!(
        lost(&stored(None), &status, 100 * LOST_RESULTS_SECONDS),
        Lost::Wait
    );
}

#[test]
fn the_time_counts_from_when_it_is_said() {
    // A job that runs is accepted: the first look stops it, and says since when it waits.
    let mut status = assigned(AssignmentState::Suspended);
    conditions::set(
        &mut status.conditions,
        Accepted::Accepted.condition(""),
        None,
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(
        lost(&stored(None), &status, 100 * LOST_RESULTS_SECONDS),
        Lost::Wait
    );
}
