use proptest::prelude::*;

use super::*;
use crate::inventory::Requirements;

fn inventory(free: u32) -> Inventory {
    let mut inventory = Inventory::take([], [], &Requirements::default());
    inventory.gpus.free = free;
    inventory
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn model(name: &str) -> Model {
    Model {
        name: name.into(),
        gpus_per_replica: 1,
        min_replicas: 0,
        max_replicas: 4,
        idle_timeout: SignedDuration::from_secs(600),
        demand: Demand::default(),
        current: 0,
        placed: 0,
        idle_since: None,
    }
}

fn waiting(jobs: u32) -> Demand {
    Demand {
        running: 0,
        waiting: jobs,
    }
}

fn running(jobs: u32) -> Demand {
    Demand {
        running: jobs,
        waiting: 0,
    }
}

fn problem(models: Vec<Model>, inventory: &Inventory) -> Problem<'_> {
    Problem {
        models,
        replica_bound: 16,
        paused: false,
        inventory,
        wanted_elsewhere: 0,
        leaving: 0,
        now: at(1000),
    }
}

#[test]
fn idle_agents_give_way_to_other_offers_at_once_and_no_more_of_them_than_are_asked_for() {
    let mut idle = model("a");
    (idle.current, idle.placed, idle.idle_since) = (3, 3, Some(at(990)));
    let none = inventory(0);
    let with = |wanted_elsewhere, leaving, min_replicas| {
        let mut idle = idle.clone();
        idle.min_replicas = min_replicas;
        let problem = Problem {
            wanted_elsewhere,
            leaving,
            ..problem(vec![idle], &none)
        };
        replicas(&place(&problem))[0]
    };
    assert_eq!(with(0, 0, 0), 3);
    assert_eq!(with(1, 0, 0), 2);
    assert_eq!(with(9, 0, 0), 0);
    assert_eq!(with(9, 0, 2), 2, "those that are kept without work stay");
    assert_eq!(with(1, 1, 0), 3, "one is going already");
    let mut busy = idle.clone();
    busy.demand = running(1);
    let problem = Problem {
        wanted_elsewhere: 2,
        ..problem(vec![busy], &none)
    };
    assert_eq!(replicas(&place(&problem)), [3], "agents with work stay");
}

fn replicas(plan: &Placements) -> Vec<u32> {
    plan.models.iter().map(|placement| placement.replicas).collect()
}

/// The same world after the plan was applied.
fn applied<'a>(problem: &Problem<'a>, plan: &Placements) -> Problem<'a> {
    let mut after = problem.clone();
    for (model, placement) in after.models.iter_mut().zip(&plan.models) {
        model.current = placement.replicas;
        model.idle_since = placement.idle_since;
    }
    after
}

#[test]
fn one_job_wants_one_agent_and_many_want_more_up_to_the_maximum() {
    let gpus = inventory(8);
    for (jobs, expected) in [(0, 0), (1, 1), (2, 1), (3, 2), (100, 4)] {
        let plan = place(&problem(
            vec![Model {
                demand: waiting(jobs),
                ..model("m")
            }],
            &gpus,
        ));
        assert_eq!(replicas(&plan), [expected], "{jobs} jobs");
    }
}

#[test]
fn idle_agents_stay_for_their_time_and_then_go() {
    let gpus = inventory(0);
    let idle = Model {
        current: 2,
        placed: 2,
        ..model("m")
    };
    let first = place(&problem(vec![idle.clone()], &gpus));
    assert_eq!(
        (replicas(&first), first.models[0].idle_since),
        (vec![2], Some(at(1000)))
    );
    assert_eq!(first.next_change, Some(at(1600)));

    let still = Problem {
        now: at(1599),
        ..applied(&problem(vec![idle.clone()], &gpus), &first)
    };
    assert_eq!(place(&still).models, first.models);
    let over = Problem {
        now: at(1600),
        ..still
    };
    let last = place(&over);
    assert_eq!(
        (replicas(&last), last.models[0].idle_since, last.next_change),
        (vec![0], None, None)
    );
}

#[test]
fn min_replicas_stay_without_work() {
    let gpus = inventory(8);
    let plan = place(&problem(
        vec![Model {
            min_replicas: 2,
            ..model("m")
        }],
        &gpus,
    ));
    assert_eq!((replicas(&plan), plan.models[0].idle_since), (vec![2], None));
}

#[test]
fn no_agent_goes_while_its_model_has_work() {
    let gpus = inventory(0);
    let busy = Model {
        current: 3,
        placed: 3,
        demand: running(1),
        ..model("m")
    };
    assert_eq!(replicas(&place(&problem(vec![busy], &gpus))), [3]);
}

#[test]
fn a_paused_offer_lets_agents_finish_and_takes_no_more() {
    let gpus = inventory(8);
    let busy = Model {
        current: 1,
        placed: 1,
        demand: running(1),
        ..model("busy")
    };
    let idle = Model {
        current: 2,
        placed: 2,
        min_replicas: 2,
        ..model("idle")
    };
    let new = Model {
        demand: waiting(1),
        ..model("new")
    };
    let plan = place(&Problem {
        paused: true,
        ..problem(vec![busy, idle, new], &gpus)
    });
    assert_eq!(replicas(&plan), [1, 0, 0]);
    assert_eq!(plan.models[2].bounded, Some(Bound::Paused));
}

#[test]
fn the_bound_over_all_models_is_shared_and_work_comes_first() {
    let gpus = inventory(8);
    let idle = Model {
        min_replicas: 2,
        ..model("a")
    };
    let busy = Model {
        demand: waiting(8),
        ..model("b")
    };
    let late = Model {
        demand: waiting(8),
        ..model("c")
    };
    let plan = place(&Problem {
        replica_bound: 3,
        ..problem(vec![idle.clone(), busy.clone(), late.clone()], &gpus)
    });
    assert_eq!(replicas(&plan), [1, 1, 1]);
    let tight = place(&Problem {
        replica_bound: 1,
        ..problem(vec![idle, busy, late], &gpus)
    });
    assert_eq!(replicas(&tight), [0, 1, 0]);
    assert_eq!(tight.models[2].bounded, Some(Bound::Replicas(1)));
}

#[test]
fn idle_agents_give_their_gpus_to_a_model_that_waits() {
    let none_free = inventory(0);
    let idle = Model {
        current: 2,
        placed: 2,
        ..model("idle")
    };
    let needy = Model {
        demand: waiting(1),
        ..model("needy")
    };
    let first = problem(vec![idle.clone(), needy.clone()], &none_free);
    let plan = place(&first);
    assert_eq!(replicas(&plan), [1, 1]);
    assert_eq!(replicas(&place(&applied(&first, &plan))), [1, 1]);

    let enough = inventory(1);
    assert_eq!(replicas(&place(&problem(vec![idle, needy], &enough))), [2, 1]);
}

prop_compose! {
    fn any_model()(
        gpus_per_replica in 0..4_u32,
        min in 0..4_u32,
        more in 0..4_u32,
        idle_timeout in 0..100_i64,
        running in 0..6_u32,
        waiting in 0..6_u32,
        current in 0..9_u32,
        placed in 0..9_u32,
        idle_since in proptest::option::of(900..1100_i64),
    ) -> Model {
        Model {
            name: String::new(),
            gpus_per_replica,
            min_replicas: min,
            max_replicas: (min + more).max(1),
            idle_timeout: SignedDuration::from_secs(idle_timeout),
            demand: Demand { running, waiting },
            current,
            placed: placed.min(current),
            idle_since: idle_since.map(at),
        }
    }
}

proptest! {
    #[test]
    fn placing_twice_changes_nothing(
        mut models in proptest::collection::vec(any_model(), 1..6),
        replica_bound in 0..20_u32,
        paused: bool,
        free in 0..8_u32,
    ) {
        for (index, model) in models.iter_mut().enumerate() {
            model.name = format!("m{index}");
        }
        let gpus = inventory(free);
        let first = Problem { replica_bound, paused, ..problem(models, &gpus) };
        let plan = place(&first);
        prop_assert_eq!(place(&applied(&first, &plan)), plan);
    }

    #[test]
    fn every_bound_holds(
        models in proptest::collection::vec(any_model(), 1..6),
        replica_bound in 0..20_u32,
        paused: bool,
        free in 0..8_u32,
    ) {
        let gpus = inventory(free);
        let problem = Problem { replica_bound, paused, ..problem(models, &gpus) };
        let plan = place(&problem);
        prop_assert!(replicas(&plan).iter().sum::<u32>() <= replica_bound);
        for (model, placement) in problem.models.iter().zip(&plan.models) {
            prop_assert!(placement.replicas <= model.max_replicas);
            prop_assert!(!paused || placement.replicas <= model.current);
            prop_assert_eq!(placement.bounded.is_some(), model.demand.jobs() > 0 && placement.replicas == 0);
        }
    }
}

#[test]
fn an_offer_that_is_scaled_to_zero_says_so_and_blames_no_other_model() {
    let mut asked = model("a");
    asked.demand = waiting(1);
    let none = inventory(1);
    let plan = place(&Problem {
        replica_bound: 0,
        ..problem(vec![asked], &none)
    });
    let bound = plan.models[0].bounded.expect("it is bounded");
    assert_eq!(
        bound.message("a"),
        "a waits: spec.replicas is 0, so that no agent runs: raise it with `kubectl scale`"
    );
    assert!(Bound::Replicas(2).message("a").contains("in use by other models"));
}
