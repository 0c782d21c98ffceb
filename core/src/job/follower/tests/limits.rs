//! Every wait has an end.

use super::*;

/// Lets an agent that only gives signs of life go on; `look` is what it says of the attempt.
fn hangs(follower: &mut Follower, until: Duration, look: impl Fn() -> AttemptProgress) -> Duration {
    let mut now = Duration::ZERO;
    while now < until {
        match follower.action() {
            Action::Read(_) => {
                now += seconds(1);
                follower.on(Event::Line(None), now);
            }
            Action::Look | Action::Cancel => follower.on(Event::Attempt(Some(look())), now),
            Action::Store => follower.on(Event::Stored, now),
            Action::Meter => follower.on(Event::Metered, now),
            Action::End(_) => break,
            other => panic!("{other:?}"),
        }
    }
    now
}

#[test]
fn an_agent_that_gives_signs_of_life_and_computes_nothing_is_not_alive() {
    let mut follower = reading(order());
    let ended = hangs(&mut follower, seconds(3_600), || {
        progress(AttemptState::Running, 0)
    });
    assert_eq!(follower.action(), Action::End(Following::Unreachable));
    assert_eq!(ended, PROGRESS_LIMIT);
}

#[test]
fn an_agent_that_computes_for_others_meanwhile_is_alive() {
    let mut follower = reading(order());
    follower.note_progress(seconds(500));
    let ended = hangs(&mut follower, seconds(3_600), || {
        progress(AttemptState::Running, 0)
    });
    assert_eq!(ended, seconds(500) + PROGRESS_LIMIT);
}

#[test]
fn an_agent_that_does_not_stop_when_it_is_asked_to_is_given_up() {
    for deadline in [None, Some(seconds(5))] {
        let mut follower = reading(Order { deadline, ..order() });
        if deadline.is_none() {
            follower.on(Event::Stop, seconds(5));
            assert_eq!(follower.action(), Action::Cancel);
        }
        let ended = hangs(&mut follower, seconds(3_600), || {
            progress(AttemptState::Running, 0)
        });
        assert_eq!(
            follower.action(),
            Action::End(Following::Unreachable),
            "{deadline:?}"
        );
        assert!(ended <= seconds(6) + CANCEL_LIMIT, "{ended:?}");
    }
}

#[test]
fn a_position_that_is_not_the_next_breaks_the_protocol() {
    for wrong in [1, 3] {
        let mut follower = reading(order());
        follower.on(Event::Line(Some(Box::new(lines().remove(wrong)))), seconds(1));
        assert_eq!(follower.action(), Action::End(Following::Unreachable));
        assert!(matches!(
            follower.broken(),
            Some(LandingError::Position { expected: 0, .. })
        ));
    }
    let mut follower = reading(order());
    let first = || Box::new(lines().remove(0));
    follower.on(Event::Line(Some(first())), Duration::ZERO);
    follower.on(Event::Line(Some(first())), Duration::ZERO);
    assert!(matches!(
        follower.broken(),
        Some(LandingError::Position { expected: 1, .. })
    ));
}

/// A follower that has a line to store.
fn storing() -> Follower {
    let mut follower = reading(order());
    follower.on(Event::Line(Some(Box::new(lines().remove(0)))), seconds(1));
    follower.on(Event::Elapsed, seconds(1) + LANDING_INTERVAL);
    assert_eq!(follower.action(), Action::Store);
    follower
}

#[test]
fn results_that_the_api_server_refuses_end_the_attempt_at_once_and_the_agent_is_told() {
    let mut follower = storing();
    follower.on(Event::Failed(StoreFault::Never), seconds(3));
    assert_eq!(follower.action(), Action::Cancel);
    follower.on(Event::Agent(AgentFault::Unreachable), seconds(3));
    assert_eq!(follower.action(), Action::End(Following::Unstored));
}

#[test]
fn a_full_page_is_stored_before_more_is_read_under_another_name_where_one_is_taken() {
    let mut order = order();
    order.terms.limits.page = 1;
    let mut follower = reading(order);
    let mut lines = lines().into_iter().map(Box::new);
    follower.on(Event::Line(lines.next()), seconds(0));
    assert_eq!(follower.action(), Action::StorePage, "not a second later");
    let first = follower.page().unwrap();
    follower.on(Event::PageTaken, seconds(0));
    let second = follower.page().unwrap();
    assert_ne!(first.name, second.name);
    assert_eq!(first.text, second.text);
    let name = second.name.clone();
    follower.on(Event::PageStored { name: name.clone() }, seconds(0));
    assert_eq!((follower.action(), follower.page()), (Action::Store, None));
    let head = follower.landing().head();
    assert!(head.page.is_empty() && head.pages.contains(&name), "{head:?}");
}

#[test]
fn a_page_all_of_whose_names_are_taken_is_not_stored() {
    let mut order = order();
    order.terms.limits.page = 1;
    let mut follower = reading(order);
    follower.on(Event::Line(Some(Box::new(lines().remove(0)))), seconds(0));
    let mut names = std::collections::BTreeSet::new();
    while follower.action() == Action::StorePage {
        assert!(names.insert(follower.page().unwrap().name), "no name twice");
        follower.on(Event::PageTaken, seconds(0));
    }
    assert_eq!(names.len(), 8);
    assert_eq!(follower.action(), Action::Cancel);
    follower.on(Event::Attempt(None), seconds(0));
    assert_eq!(follower.action(), Action::End(Following::Unstored));
}

#[test]
fn a_store_that_does_not_answer_is_tried_until_the_limit_or_the_stop() {
    for (stop, limit) in [(false, STORE_LIMIT), (true, CANCEL_LIMIT)] {
        let mut follower = storing();
        if stop {
            follower.on(Event::Stop, seconds(3));
        }
        let mut now = seconds(3);
        loop {
            match follower.action() {
                Action::Store => follower.on(Event::Failed(StoreFault::Later), now),
                Action::Pause(until) => {
                    now = until;
                    follower.on(Event::Elapsed, now);
                }
                _ => break,
            }
        }
        assert_eq!(follower.action(), Action::Cancel);
        assert_eq!(now, seconds(3) + limit);
    }
}

#[test]
fn usage_that_cannot_be_metered_is_left_to_the_end_of_the_job() {
    let mut follower = storing();
    follower.on(Event::Stored, seconds(3));
    assert_eq!(follower.action(), Action::Meter);
    follower.on(Event::Failed(StoreFault::Later), seconds(3));
    assert_eq!(follower.action(), Action::Pause(seconds(3) + RETRY_DELAY));
    let late = seconds(3) + METER_LIMIT;
    follower.on(Event::Elapsed, late);
    assert_eq!(follower.action(), Action::Meter);
    follower.on(Event::Failed(StoreFault::Later), late);
    assert_eq!(
        follower.action(),
        Action::Pause(late + RECONNECT_DELAY),
        "the agent was silent meanwhile"
    );
    follower.on(Event::Elapsed, late + RECONNECT_DELAY);
    assert_eq!(follower.action(), Action::Load);
}

#[test]
fn an_attempt_whose_job_vanished_is_stopped_and_what_was_stored_is_metered() {
    let mut idle = reading(order());
    idle.on(
        Event::Line(Some(Box::new(lines().remove(0)))),
        LANDING_INTERVAL / 2,
    );
    assert!(matches!(idle.action(), Action::Read(_)));
    idle.on(Event::Vanished, seconds(1));
    assert_eq!(
        idle.action(),
        Action::Cancel,
        "what was not stored was not delivered"
    );
    idle.on(Event::Attempt(None), seconds(2));
    assert_eq!(idle.action(), Action::End(Following::Ended));

    let mut follower = storing();
    follower.on(Event::Stored, seconds(3));
    follower.on(Event::Vanished, seconds(3));
    assert_eq!(follower.action(), Action::Meter);
    follower.on(Event::Metered, seconds(3));
    assert_eq!(follower.action(), Action::Cancel);
}

#[test]
fn a_refusal_ends_the_attempt_with_its_code() {
    let refused = |code, at| {
        let mut follower = Follower::new(order(), Duration::ZERO);
        follower.on(Event::Loaded(Box::default()), Duration::ZERO);
        follower.on(Event::Attempt(None), Duration::ZERO);
        follower.on(Event::Identity(signer().key()), Duration::ZERO);
        assert_eq!(follower.action(), Action::Start);
        follower.on(Event::Agent(AgentFault::Refused(code)), at);
        follower
    };
    let unfit = refused(RefusalCode::Unfit, seconds(1));
    assert_eq!(
        unfit.action(),
        Action::End(Following::Refused(RefusalCode::Unfit))
    );
    let mut busy = refused(RefusalCode::Busy, seconds(1));
    assert_eq!(busy.action(), Action::Pause(seconds(1) + RECONNECT_DELAY));
    busy.on(Event::Elapsed, seconds(1) + SILENCE_LIMIT);
    busy.on(Event::Loaded(Box::default()), seconds(1) + SILENCE_LIMIT);
    busy.on(
        Event::Agent(AgentFault::Refused(RefusalCode::Busy)),
        seconds(1) + SILENCE_LIMIT,
    );
    assert_eq!(busy.action(), Action::End(Following::Refused(RefusalCode::Busy)));
}
