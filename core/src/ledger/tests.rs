use cocoon_api::Usage;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

/// A channel whose voucher and deposit cover `covered`.
fn channel(covered: u64) -> PaymentChannelStatus {
    let mut status = PaymentChannelStatus {
        cap_nano: nano(covered),
        deposit_nano: nano(covered),
        ..Default::default()
    };
    conditions::set(
        &mut status.conditions,
        Ready::Ready.condition("in order"),
        None,
        Timestamp::UNIX_EPOCH,
    );
    status
}

fn counter(agent: u8, job: u8, attempt: u32, count: u32) -> Counter {
    Counter {
        agent: format!("agent-{agent}"),
        job: format!("job-{job}"),
        name: format!("name-{job}"),
        attempt,
        count,
        usage: Usage::default(),
        // A chain only grows, so its sum is a function of its length.
        nano: nano(u64::from(count) * 10),
        head: String::new(),
    }
}

fn counters() -> impl Strategy<Value = Vec<Counter>> {
    let one = (0..3u8, 0..3u8, 1..3u32, 0..9u32)
        .prop_map(|(agent, job, attempt, count)| counter(agent, job, attempt, count));
    proptest::collection::vec(one, 0..20)
}

fn merged(counters: impl IntoIterator<Item = Counter>) -> PaymentChannelStatus {
    let mut status = channel(0);
    for counter in counters {
        merge(&mut status, counter).unwrap();
    }
    status
}

#[test]
fn a_budget_beyond_what_is_covered_is_refused() {
    let mut status = channel(100);
    assert_eq!(reserve(&mut status, "a", "a", nano(60)).unwrap(), Ok(()));
    let refused = reserve(&mut status, "b", "b", nano(41)).unwrap();
    assert_eq!(
        refused,
        Err(Refusal::Insufficient {
            available: nano(40),
            wanted: nano(41)
        })
    );
    assert_eq!(reserve(&mut status, "b", "b", nano(40)).unwrap(), Ok(()));
    assert_eq!(reserved(&status, "b"), Some(nano(40)));
}

#[test]
fn a_budget_can_be_raised_into_what_is_left() {
    let mut status = channel(100);
    reserve(&mut status, "a", "a", nano(60)).unwrap().unwrap();
    assert_eq!(reserve(&mut status, "a", "a", nano(100)).unwrap(), Ok(()));
    let refused = reserve(&mut status, "a", "a", nano(101)).unwrap();
    assert_eq!(
        refused,
        Err(Refusal::Insufficient {
            available: nano(100),
            wanted: nano(101)
        })
    );
    assert_eq!(reserved(&status, "a"), Some(nano(100)));
}

#[test]
fn on_a_channel_that_is_not_ready_nothing_is_available() {
    let mut status = channel(100);
    status.conditions.clear();
    assert_eq!(available(&status), Ok(NanoTon::ZERO));
}

#[test]
fn a_full_ledger_refuses_jobs() {
    let mut status = channel(1_000_000);
    for job in 0..MAX_LEDGER_ENTRIES {
        reserve(&mut status, &job.to_string(), "n", nano(1))
            .unwrap()
            .unwrap();
    }
    assert_eq!(
        reserve(&mut status, "one more", "n", nano(1)).unwrap(),
        Err(Refusal::Full)
    );
}

#[test]
fn accruing_since_marks_the_oldest_unredeemed_amount() {
    let mut status = channel(100);
    recompute(&mut status, 5).unwrap();
    assert_eq!(status.accruing_since, None);
    merge(&mut status, counter(0, 0, 1, 2)).unwrap();
    recompute(&mut status, 7).unwrap();
    recompute(&mut status, 9).unwrap();
    assert_eq!(status.accruing_since, Some(7));
    status.redeemed_nano = nano(20);
    recompute(&mut status, 11).unwrap();
    assert_eq!(status.accruing_since, None);
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(counters in counters(), seed in any::<u64>()) {
        let straight = merged(counters.clone());
        let mut shuffled = counters.clone();
        let length = shuffled.len().max(1) as u64;
        for index in 0..shuffled.len() {
            shuffled.swap(index, usize::try_from((seed >> (index % 48)) % length).unwrap());
        }
        prop_assert_eq!(&straight.counters, &merged(shuffled).counters);
        prop_assert_eq!(&straight.counters, &merged(counters.iter().chain(&counters).cloned()).counters);
        let (left, right) = counters.split_at(counters.len() / 2);
        let halves = [merged(left.to_vec()).counters, merged(right.to_vec()).counters].concat();
        prop_assert_eq!(straight.counters, merged(halves).counters);
    }

    #[test]
    fn merging_never_lowers_a_counter(counters in counters(), late in 0..20usize) {
        let before = merged(counters.clone());
        let mut after = before.clone();
        if let Some(counter) = counters.get(late) {
            merge(&mut after, counter.clone()).unwrap();
        }
        prop_assert!(accrued(&after).unwrap() >= accrued(&before).unwrap());
    }

    #[test]
    fn reservations_never_exceed_what_is_covered(
        covered in 0..1_000u64, wanted in proptest::collection::vec((0..6u8, 1..400u64), 0..30),
    ) {
        let mut status = channel(covered);
        for (job, amount) in wanted {
            let _ = reserve(&mut status, &format!("job-{job}"), "n", nano(amount)).unwrap();
            let sum: u64 = status.reservations.iter().map(|r| r.nano.nano()).sum();
            prop_assert!(sum <= covered);
            prop_assert_eq!(available(&status).unwrap().nano(), covered - sum);
        }
    }

    #[test]
    fn folding_changes_no_total(counters in counters(), job in 0..3u8) {
        let mut status = merged(counters);
        let job = format!("job-{job}");
        let before = accrued(&status).unwrap();
        fold(&mut status, &job).unwrap();
        prop_assert_eq!(accrued(&status).unwrap(), before);
        let again = fold(&mut status, &job).unwrap();
        prop_assert!(!again);
        prop_assert_eq!(accrued(&status).unwrap(), before);
    }
}

/// What the API server notes in `managedFields` of one entry of a list that is keyed: its key and each of its fields.
fn noted(entry: &serde_json::Value, keys: &[&str]) -> usize {
    let fields = entry.as_object().unwrap();
    let key: serde_json::Map<_, _> = keys
        .iter()
        .map(|&key| (key.to_owned(), fields[key].clone()))
        .collect();
    let key = format!("k:{}", serde_json::to_string(&key).unwrap());
    let names: serde_json::Map<_, _> = fields
        .keys()
        .map(|name| format!("f:{name}"))
        .chain([".".to_owned()])
        .map(|name| (name, serde_json::json!({})))
        .collect();
    serde_json::json!({ key: names }).to_string().len()
}

#[test]
fn a_full_ledger_fits_into_etcd() {
    const ETCD_BYTES: usize = 1_572_864;
    let most = nano(i64::MAX as u64);
    let counter = serde_json::to_value(Counter {
        agent: "a".repeat(64),
        job: "j".repeat(36),
        name: "n".repeat(63),
        attempt: 101,
        count: 256,
        usage: Usage::default(),
        nano: most,
        head: "h".repeat(64),
    })
    .unwrap();
    let reservation = serde_json::to_value(Reservation {
        job: "j".repeat(36),
        name: "n".repeat(63),
        nano: most,
    })
    .unwrap();
    let entry = |value: &serde_json::Value, keys: &[&str]| value.to_string().len() + noted(value, keys) + 2;
    let counters = MAX_COUNTERS * entry(&counter, &["agent", "job", "attempt"]);
    let reservations = MAX_LEDGER_ENTRIES * entry(&reservation, &["job"]);
    let rest = 64 * 1024;
    let total = counters + reservations + rest;
    assert!(
        total < ETCD_BYTES,
        "{counters} + {reservations} + {rest} = {total}"
    );
}

#[test]
fn a_ledger_makes_room_before_it_is_full() {
    let mut status = channel(0);
    for job in 0..799 {
        status.counters.push(Counter {
            job: format!("{job:03}"),
            ..counter(0, 0, 1, 1)
        });
    }
    assert!(!is_filling(&status));
    status.counters.push(Counter {
        job: "799".into(),
        ..counter(0, 0, 1, 1)
    });
    assert!(is_filling(&status));
}

#[test]
fn of_what_other_ledgers_redeemed_only_what_the_contract_shows_is_owed() {
    let mut status = channel(1_000);
    (status.earlier_nano, status.finished_nano, status.redeemed_nano) = (nano(300), nano(350), nano(300));
    merge(&mut status, counter(0, 0, 1, 2)).unwrap();
    assert_eq!(accrued(&status), Ok(nano(370)));
    // The 300 were a lie, and a later look shows 40: of them, 260 must not be claimed.
    status.redeemed_nano = nano(40);
    assert_eq!(accrued(&status), Ok(nano(110)));
}

#[test]
fn where_what_is_covered_shrinks_the_later_jobs_are_outside_it() {
    let mut status = channel(100);
    for (job, budget) in [("job-0", 40), ("job-1", 40), ("job-2", 20)] {
        reserve(&mut status, job, job, nano(budget)).unwrap().unwrap();
    }
    let within = |status: &PaymentChannelStatus, total| {
        ["job-0", "job-1", "job-2"].map(|job| is_within(status, job, nano(total)).unwrap())
    };
    assert_eq!(within(&status, 100), [true, true, true]);
    assert_eq!(within(&status, 99), [true, true, false]);
    assert_eq!(within(&status, 79), [true, false, false]);
    // What has begun comes before what has not, and what was metered is not there a second time.
    merge(&mut status, counter(0, 2, 1, 1)).unwrap();
    assert_eq!(within(&status, 60), [true, false, true]);
    assert_eq!(within(&status, 19), [false, false, false]);
}
