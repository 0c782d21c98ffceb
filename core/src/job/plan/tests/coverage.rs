//! What may start and what may go on.

use super::*;

fn free() -> ValidatedJob {
    ValidatedJob {
        billing: Billing::Free,
        ..job(false, None)
    }
}

fn running(channel: Option<Channel>) -> Case {
    Case {
        status: InferenceJobStatus {
            channel_uid: Some("channel-uid".into()),
            ..assigned(AssignmentState::Active)
        },
        channel,
        following: Following::Yes,
        ..Case::default()
    }
}

#[test]
fn a_job_is_free_only_where_the_offer_consents() {
    let case = |offer| Case {
        job: free(),
        channel: None,
        offers: vec![offer],
        ..Case::default()
    };
    assert_eq!(case(offer()).waits().1, "FreeNotOffered");
    let allowing = Offer {
        allow_free: true,
        ..offer()
    };
    assert!(matches!(case(allowing).plan().step, Step::Assign { .. }));
    let for_nothing = Offer {
        prices: Prices::default(),
        ..offer()
    };
    assert!(matches!(case(for_nothing).plan().step, Step::Assign { .. }));
}

#[test]
fn a_free_job_that_runs_is_stopped_when_the_consent_is_taken_back() {
    let case = Case {
        job: free(),
        ..running(None)
    };
    assert_eq!(case.plan().step, Step::Cancel { attempt: 1 });
}

#[test]
fn a_running_job_is_stopped_when_its_channel_closes_or_goes() {
    assert!(matches!(
        running(Some(reserved())).plan().step,
        Step::Follow { may_begin: true, .. }
    ));
    let changed = |edit: fn(&mut Channel)| {
        let mut channel = reserved();
        edit(&mut channel);
        running(Some(channel))
    };
    for case in [
        running(None),
        changed(|channel| channel.status.state = Some(ChannelState::Closed)),
        changed(|channel| channel.status.vouchers.clear()),
        changed(|channel| channel.deleting = true),
        changed(|channel| channel.uid = "another".into()),
        changed(|channel| channel.status.unexplained_nano = Some(nano(7))),
        changed(|channel| channel.status.deposit_nano = nano(99)),
    ] {
        let plan = case.plan();
        assert_eq!(plan.step, Step::Cancel { attempt: 1 });
        let reserved = plan
            .conditions
            .iter()
            .find(|found| found.type_ == "FundsReserved");
        assert_eq!(reserved.unwrap().reason, "NotCovered");
        // What was recorded and not begun is not begun.
        let unbegun = Case {
            following: Following::No,
            ..case
        };
        assert!(matches!(
            unbegun.plan().step,
            Step::Follow { may_begin: false, .. }
        ));
        let stopped = Case {
            following: Following::Ended,
            ..unbegun
        };
        let state = AssignmentState::Suspended;
        assert_eq!(stopped.plan().step, Step::Close { attempt: 1, state });
    }
}

#[test]
fn nothing_is_given_to_an_agent_on_a_channel_that_is_not_redeemable_now() {
    let changed = |edit: fn(&mut Channel)| {
        let mut channel = reserved();
        edit(&mut channel);
        let case = Case {
            channel: Some(channel),
            ..Case::default()
        };
        case.waits().1
    };
    assert_eq!(changed(|channel| channel.seen_at = None), "NotCovered");
    assert_eq!(changed(|channel| channel.status.vouchers.clear()), "NotCovered");
    assert_eq!(changed(|channel| channel.status.conditions.clear()), "NotCovered");
    assert_eq!(
        changed(|channel| channel.status.state = Some(ChannelState::Closing)),
        "NotCovered"
    );
}

#[test]
fn nothing_is_reserved_for_a_provider_that_cannot_be_paid() {
    let case = Case {
        offers: vec![Offer {
            unpayable: Some("waiting for Secret farm-wallet".into()),
            ..offer()
        }],
        ..Case::default()
    };
    let (_, reason, message) = case.waits();
    assert_eq!(reason, "ChannelNotReady");
    assert!(message.contains("Secret farm-wallet"), "{message}");
}

#[test]
fn a_job_is_metered_on_one_object_alone() {
    let other = || Channel {
        uid: "another".into(),
        ..reserved()
    };
    // With nothing behind it, it takes the new one.
    let mut status = InferenceJobStatus {
        channel_uid: Some("channel-uid".into()),
        ..InferenceJobStatus::default()
    };
    let fresh = Case {
        status: status.clone(),
        channel: Some(other()),
        ..Case::default()
    };
    let plan = fresh.plan();
    assert!(matches!(plan.step, Step::Assign { .. }));
    assert_eq!(plan.channel_uid.as_deref(), Some("another"));
    // With attempts behind it, it ends.
    status.assignments = assigned(AssignmentState::Suspended).assignments;
    let case = |channel| Case {
        status: status.clone(),
        channel,
        ..Case::default()
    };
    for channel in [Some(other()), None] {
        assert!(
            matches!(case(channel).plan().step, Step::Finish(end) if end.condition.reason == "ChannelGone")
        );
    }
    let leaving = case(Some(Channel {
        deleting: true,
        ..reserved()
    }));
    let plan = leaving.plan();
    assert_eq!(
        (plan.step, plan.channel_uid.as_deref()),
        (Step::Release, Some("channel-uid"))
    );
}
