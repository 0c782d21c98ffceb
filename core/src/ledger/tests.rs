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

/// A job, or the session that has the job's UID as its id.
fn bill(number: u8, is_session: bool) -> Bill {
    let id = format!("id-{number}");
    if is_session {
        Bill::session(id)
    } else {
        Bill::job(id)
    }
}

fn bills() -> impl Strategy<Value = Bill> {
    (0..3u8, any::<bool>()).prop_map(|(number, is_session)| bill(number, is_session))
}

fn job(number: u8) -> Bill {
    bill(number, false)
}

fn counter(agent: u8, job: u8, attempt: u32, count: u32) -> Counter {
    count_of(agent, Subject::job(format!("id-{job}"), attempt), count)
}

fn count_of(agent: u8, subject: Subject, count: u32) -> Counter {
    Counter {
        agent: format!("agent-{agent}"),
        name: subject.bill().to_string(),
        subject,
        count,
        usage: Usage::default(),
        // A chain only grows, so its sum is a function of its length.
        nano: nano(u64::from(count) * 10),
        head: String::new(),
    }
}

fn counters() -> impl Strategy<Value = Vec<Counter>> {
    let one = (0..3u8, bills(), 1..3u32, 0..9u32).prop_map(|(agent, bill, attempt, count)| {
        let subject = match bill {
            Bill::Job { uid } => Subject::job(uid, attempt),
            Bill::Session { id } => Subject::session(id),
        };
        count_of(agent, subject, count)
    });
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
    // The session has the job's UID as its id, and is another bill all the same.
    let (a, b) = (bill(0, false), bill(0, true));
    assert_eq!(reserve(&mut status, &a, "a", nano(60)).unwrap(), Ok(()));
    let refused = reserve(&mut status, &b, "b", nano(41)).unwrap();
    assert_eq!(
        refused,
        Err(Refusal::Insufficient {
            available: nano(40),
            wanted: nano(41)
        })
    );
    assert_eq!(reserve(&mut status, &b, "b", nano(40)).unwrap(), Ok(()));
    assert_eq!(
        (reserved(&status, &a), reserved(&status, &b)),
        (Some(nano(60)), Some(nano(40)))
    );
}

#[test]
fn a_budget_can_be_raised_into_what_is_left() {
    let mut status = channel(100);
    reserve(&mut status, &job(0), "a", nano(60)).unwrap().unwrap();
    assert_eq!(reserve(&mut status, &job(0), "a", nano(100)).unwrap(), Ok(()));
    let refused = reserve(&mut status, &job(0), "a", nano(101)).unwrap();
    assert_eq!(
        refused,
        Err(Refusal::Insufficient {
            available: nano(100),
            wanted: nano(101)
        })
    );
    assert_eq!(reserved(&status, &job(0)), Some(nano(100)));
}

#[test]
fn on_a_channel_that_is_not_ready_nothing_is_available() {
    let mut status = channel(100);
    status.conditions.clear();
    assert_eq!(available(&status), Ok(NanoTon::ZERO));
}

#[test]
fn a_full_ledger_refuses_jobs_and_sessions() {
    let mut status = channel(1_000_000);
    for number in 0..MAX_LEDGER_ENTRIES {
        let id = (number / 2).to_string();
        let bill = if number % 2 == 0 {
            Bill::job(id)
        } else {
            Bill::session(id)
        };
        reserve(&mut status, &bill, "n", nano(1)).unwrap().unwrap();
    }
    for bill in [Bill::job("one more"), Bill::session("one more")] {
        assert_eq!(
            reserve(&mut status, &bill, "n", nano(1)).unwrap(),
            Err(Refusal::Full)
        );
    }
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
        covered in 0..1_000u64, wanted in proptest::collection::vec((bills(), 1..400u64), 0..30),
    ) {
        let mut status = channel(covered);
        for (bill, amount) in wanted {
            let _ = reserve(&mut status, &bill, "n", nano(amount)).unwrap();
            let sum: u64 = status.reservations.iter().map(|r| r.nano.nano()).sum();
            prop_assert!(sum <= covered);
            prop_assert_eq!(available(&status).unwrap().nano(), covered - sum);
        }
    }

    #[test]
    fn folding_changes_no_total_and_nothing_of_other_bills(counters in counters(), bill in bills()) {
        let mut status = merged(counters);
        let before = status.clone();
        fold(&mut status, &bill).unwrap();
        prop_assert_eq!(accrued(&status).unwrap(), accrued(&before).unwrap());
        prop_assert!(!holds(&status, &bill));
        let of_others = |status: &PaymentChannelStatus| -> Vec<Counter> {
            let counters = status.counters.iter();
            counters.filter(|counter| !bill.holds(&counter.subject)).cloned().collect()
        };
        prop_assert_eq!(of_others(&status), of_others(&before));
        let again = fold(&mut status, &bill).unwrap();
        prop_assert!(!again);
        prop_assert_eq!(accrued(&status).unwrap(), accrued(&before).unwrap());
    }

    /// A job and the session of its name, on one channel, whatever comes and however often.
    #[test]
    fn bills_reserve_are_metered_and_released_each_for_itself(
        covered in 0..400u64, events in proptest::collection::vec((bills(), 0..4u8, 1..9u32), 0..40),
    ) {
        let mut status = channel(covered);
        let mut metered: BTreeMap<Bill, u64> = BTreeMap::new();
        for (bill, event, amount) in events {
            let others_before: Vec<_> = other_bills(&status, &bill);
            match event {
                0 => {
                    let wanted = nano(u64::from(amount) * 10);
                    let is_held = reserve(&mut status, &bill, "n", wanted).unwrap().is_ok();
                    prop_assert!(!is_held || reserved(&status, &bill) >= Some(wanted));
                }
                1 => release(&mut status, &bill),
                // Metering within the reservation, as whoever serves is held to; once more, and with what came before.
                _ => {
                    let held = reserved(&status, &bill).unwrap_or_default().nano();
                    let count = amount.min(u32::try_from(held / 10).unwrap());
                    let subject = match &bill {
                        Bill::Job { uid } => Subject::job(uid, 1),
                        Bill::Session { id } => Subject::session(id),
                    };
                    merge(&mut status, count_of(0, subject.clone(), count)).unwrap();
                    let most = metered.entry(bill.clone()).or_default();
                    *most = (*most).max(u64::from(count) * 10);
                    let once = status.clone();
                    merge(&mut status, count_of(0, subject.clone(), count)).unwrap();
                    merge(&mut status, count_of(0, subject, count / 2)).unwrap();
                    prop_assert_eq!(&once, &status);
                }
            }
            prop_assert_eq!(other_bills(&status, &bill), others_before);
            prop_assert!(exposed(&status).unwrap() <= nano(covered));
            for (bill, most) in &metered {
                prop_assert_eq!(used(&status, bill).unwrap(), nano(*most));
            }
        }
    }
}

/// What the ledger holds of other bills than this.
fn other_bills(status: &PaymentChannelStatus, bill: &Bill) -> Vec<(Bill, NanoTon)> {
    let held = status
        .reservations
        .iter()
        .map(|held| (held.bill.clone(), held.nano));
    let used = status
        .counters
        .iter()
        .map(|counter| (counter.subject.bill(), counter.nano));
    held.chain(used).filter(|(other, _)| other != bill).collect()
}

#[test]
fn a_full_ledger_takes_less_than_half_of_what_etcd_does() {
    const HALF_OF_ETCD: usize = 1_572_864 / 2;
    let most = nano(i64::MAX as u64);
    let counter = serde_json::to_value(Counter {
        agent: "a".repeat(64),
        subject: Subject::job("j".repeat(36), 101),
        name: "n".repeat(63),
        count: 256,
        usage: Usage::default(),
        nano: most,
        head: "h".repeat(64),
    })
    .unwrap();
    let reservation = serde_json::to_value(Reservation {
        bill: Bill::session("j".repeat(36)),
        name: "n".repeat(63),
        nano: most,
    })
    .unwrap();
    // The lists are atomic, so that `managedFields` notes none of their entries.
    let entry = |value: &serde_json::Value| value.to_string().len() + 1;
    let counters = MAX_COUNTERS * entry(&counter);
    let reservations = MAX_LEDGER_ENTRIES * entry(&reservation);
    let rest = 64 * 1024;
    let total = counters + reservations + rest;
    assert!(
        total < HALF_OF_ETCD,
        "{counters} + {reservations} + {rest} = {total}"
    );
}

#[test]
fn a_ledger_makes_room_before_it_is_full() {
    let mut status = channel(0);
    for job in 0..799 {
        status.counters.push(Counter {
            subject: Subject::job(format!("{job:03}"), 1),
            ..counter(0, 0, 1, 1)
        });
    }
    assert!(!is_filling(&status));
    status.counters.push(Counter {
        // The session of a job's name is a bill of its own.
        subject: Subject::session("798"),
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
    let bills = [bill(0, false), bill(1, false), bill(0, true)];
    for (bill, budget) in bills.iter().zip([40, 40, 20]) {
        reserve(&mut status, bill, "n", nano(budget)).unwrap().unwrap();
    }
    let within = |status: &PaymentChannelStatus, total| {
        bills
            .each_ref()
            .map(|bill| is_within(status, bill, nano(total)).unwrap())
    };
    assert_eq!(within(&status, 100), [true, true, true]);
    assert_eq!(within(&status, 99), [true, true, false]);
    assert_eq!(within(&status, 79), [true, false, false]);
    // What has begun comes before what has not, and what was metered is not there a second time.
    merge(&mut status, count_of(0, Subject::session("id-0"), 1)).unwrap();
    assert_eq!(within(&status, 60), [true, false, true]);
    assert_eq!(within(&status, 19), [false, false, false]);
}
