//! Jobs whose provider is of another namespace.

use super::*;

/// A job whose channel pays a provider of another namespace.
fn elsewhere(granted: bool) -> Case {
    let mut paying = reserved();
    paying.provider = "farm/gpus".into();
    Case {
        channel: Some(paying),
        offers: vec![Offer {
            provider: "farm/gpus".into(),
            granted,
            ..offer()
        }],
        ..Case::default()
    }
}

#[test]
fn a_job_goes_to_a_provider_of_another_namespace_that_allows_its_own() {
    let plan = elsewhere(true).plan();
    assert_eq!(plan.provider.as_deref(), Some("farm/gpus"));
    assert!(matches!(plan.step, Step::Assign { agreed, .. } if agreed.provider == "farm/gpus"));
}

#[test]
fn a_provider_that_does_not_allow_it_looks_to_a_job_like_one_that_is_not_there() {
    let closed = elsewhere(false).waits();
    assert_eq!((closed.0, closed.1), ("Accepted", "ProviderNotGranted"));
    let missing = Case {
        offers: Vec::new(),
        ..elsewhere(false)
    };
    assert_eq!(closed, missing.waits());
}

#[test]
fn a_grant_that_is_withdrawn_stops_new_attempts_and_lets_the_one_that_runs_end() {
    let mut running = elsewhere(false);
    running.status = assigned(AssignmentState::Active);
    running.status.assignments[0].provider = "farm/gpus".into();
    running.status.agreed = Some(Agreement {
        provider: "farm/gpus".into(),
        ..agreed()
    });
    assert!(matches!(
        running.plan().step,
        Step::Follow { may_begin: true, .. }
    ));
    running.status.assignments[0].state = AssignmentState::Lost;
    assert_eq!(running.waits().1, "ProviderNotGranted");
}

#[test]
fn a_free_job_takes_a_provider_of_another_namespace_only_where_it_names_it() {
    let giving = |provider: &str, granted| Offer {
        provider: provider.into(),
        granted,
        allow_free: true,
        ..offer()
    };
    let mut case = Case {
        channel: None,
        offers: vec![giving("farm/gpus", true)],
        ..Case::default()
    };
    case.job.billing = Billing::Free;
    assert_eq!(case.waits().1, "ModelUnknown");
    case.job.provider = Some("farm/gpus".into());
    assert!(matches!(case.plan().step, Step::Assign { .. }));
    case.offers = vec![giving("farm/gpus", false), giving("own", true)];
    assert_eq!(case.waits().1, "ProviderNotGranted");
}

#[test]
fn a_job_and_its_channel_name_one_provider() {
    let mut case = elsewhere(true);
    case.job.provider = Some("farm/gpus".into());
    assert!(matches!(case.plan().step, Step::Assign { .. }));
    case.job.provider = Some("gpus".into());
    let (type_, reason, message) = case.waits();
    assert_eq!((type_, reason), ("Accepted", "ProviderMismatch"));
    assert!(message.contains("farm/gpus"), "{message}");
}
