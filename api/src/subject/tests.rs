use serde_json::json;

use super::*;

#[test]
fn a_jobs_attempt_and_a_session_are_written_with_fields_of_their_own() {
    let written = |subject: Subject| serde_json::to_value(subject).unwrap();
    assert_eq!(written(Subject::job("u", 2)), json!({"job": "u", "attempt": 2}));
    assert_eq!(written(Subject::session("u")), json!({"session": "u"}));
    let written = |bill: Bill| serde_json::to_value(bill).unwrap();
    assert_eq!(written(Bill::job("u")), json!({"job": "u"}));
    assert_eq!(written(Bill::session("u")), json!({"session": "u"}));
}

#[test]
fn what_could_be_read_as_both_or_as_a_half_is_refused() {
    for fields in [
        json!({}),
        json!({"job": "u"}),
        json!({"attempt": 1}),
        json!({"job": "u", "attempt": 1, "session": "u"}),
        json!({"job": "u", "session": "u"}),
        json!({"attempt": 1, "session": "u"}),
        json!({"session": 1}),
    ] {
        assert!(
            serde_json::from_value::<Subject>(fields.clone()).is_err(),
            "{fields}"
        );
    }
    for fields in [json!({}), json!({"job": "u", "session": "u"})] {
        assert!(
            serde_json::from_value::<Bill>(fields.clone()).is_err(),
            "{fields}"
        );
    }
}

#[test]
fn a_bill_holds_all_attempts_of_its_job_and_no_session_of_its_name() {
    let (job, session) = (Bill::job("u"), Bill::session("u"));
    assert!(job.holds(&Subject::job("u", 1)) && job.holds(&Subject::job("u", 2)));
    assert!(!job.holds(&Subject::job("v", 1)) && !job.holds(&Subject::session("u")));
    assert!(session.holds(&Subject::session("u")) && !session.holds(&Subject::job("u", 1)));
    assert_eq!(
        (Subject::job("u", 2).bill(), Subject::session("u").bill()),
        (job, session)
    );
}
