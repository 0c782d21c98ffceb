use cocoon_api::crd::{definitions, job::MAX_ASSIGNMENTS};
use serde_json::Value;

use super::*;

/// The schema of a field of the status.
fn field(name: &str) -> Value {
    let definitions = serde_json::to_value(definitions()).unwrap();
    let job = definitions
        .as_array()
        .unwrap()
        .iter()
        .find(|definition| definition["spec"]["names"]["kind"] == "InferenceJob")
        .unwrap();
    job["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"][name]
        .clone()
}

#[test]
fn what_a_job_waits_for_is_cut_to_what_its_schema_takes() {
    assert_eq!(field("waitingFor")["maxLength"], MAX_WAITING_CHARS);
    let words = "é".repeat(MAX_WAITING_CHARS + 1);
    assert_eq!(waiting_text(&words).chars().count(), MAX_WAITING_CHARS);
    assert_eq!(waiting_text("1 GPU"), "1 GPU");
}

#[test]
fn as_many_attempts_are_planned_as_the_schema_takes() {
    assert_eq!(field("assignments")["maxItems"], MAX_ASSIGNMENTS);
}

#[test]
fn a_job_that_is_refused_while_it_runs_ends_with_what_it_delivered() {
    let mut next = InferenceJobStatus::default();
    next.requests.in_flight = 2;
    let failed = Failed::InvalidInput.condition("the input has changed");
    let landing = Landing::default();
    landed(&mut next, "j", &landing).unwrap();
    next.cost.spent_nano = NanoTon::from_nano(7).unwrap();
    close(&mut next, true, &failed, None, Timestamp::UNIX_EPOCH);
    let settled = conditions::find(&next.conditions, Settled::TYPE).unwrap();
    assert_eq!((settled.reason.as_str(), next.requests.in_flight), ("Pending", 0));
    assert!(next.metered && next.completion_time.is_some());
    assert!(
        conditions::find(&next.conditions, FundsReserved::TYPE).is_none(),
        "nothing was reserved"
    );
}

#[test]
fn a_waiting_job_shows_its_position_again_once_it_has_fallen_to_a_quarter() {
    assert_eq!(counted(None, 9), 9);
    assert_eq!(counted(Some(8), 3), 8);
    assert_eq!(counted(Some(8), 2), 2);
    assert_eq!(counted(Some(1), 0), 0);
    assert_eq!(counted(Some(4), 6), 6, "others came back before it");
    let (mut shown, mut writes) = (None, 0);
    for position in (0..1000).rev() {
        let next = counted(shown, position);
        writes += u32::from(shown != Some(next));
        shown = Some(next);
    }
    assert_eq!(
        (shown, writes),
        (Some(0), 6),
        "as often as it can be quartered, and the first"
    );
}
