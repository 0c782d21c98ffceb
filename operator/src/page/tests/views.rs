//! What the views say of a farm.

use serde_json::json;

use super::objects::{Objects, job, now, provider, settlement, text, views};
use crate::page::{jobs, overview, settlements, text as words};

#[test]
fn a_cluster_without_anything_says_what_to_do() {
    let said: Vec<String> = views(&Objects::default().snapshot())
        .map(|(_, html)| text(&html))
        .into();
    assert!(
        said[0].contains("Nothing is offered yet, so nothing is earned"),
        "{}",
        said[0]
    );
    assert!(said[1].contains("kubectl cocoon model add"), "{}", said[1]);
    assert!(said[2].contains("No job has been submitted"), "{}", said[2]);
    assert!(said[3].contains("No payer has opened a channel"), "{}", said[3]);
    assert!(said[4].contains("Nothing has been claimed yet"), "{}", said[4]);
}

#[test]
fn days_add_up_to_what_the_ledgers_say_and_a_day_that_lost_settlements_is_told_in_part() {
    let said = text(&overview::view(&Objects::farm().snapshot()));
    // 4.5 TON in the ledger, of which settlements that are kept explain four.
    assert!(said.contains("Earned 4.5 TON testnet"), "{said}");
    assert!(said.contains("Not yet paid 1 TON"), "{said}");
    assert!(
        said.contains("2026-11-26 1 3.000 2026-11-25 in part 1 1.000 Before 0.500"),
        "{said}"
    );
}

#[test]
fn what_settlements_say_beyond_the_ledgers_is_not_called_earned() {
    let mut objects = Objects::farm();
    objects
        .settlements
        .push(settlement("gpus-0-3", "2026-11-26T11:00:00Z", 2_000_000_000));
    let said = text(&overview::view(&objects.snapshot()));
    assert!(said.contains("Earned 4.5 TON"), "{said}");
    assert!(
        said.contains("1.5 TON of this are confirmed and not yet in the offers' ledgers"),
        "{said}"
    );
}

#[test]
fn coins_of_two_networks_are_never_added() {
    let mut objects = Objects::farm();
    let mut other = provider("farm", "lab");
    other["spec"]["payout"]["network"] = json!("lab");
    objects.providers.push(other);
    let said = text(&overview::view(&objects.snapshot()));
    assert_eq!(said.matches("Earned 4.5 TON").count(), 2 + 2, "{said}");
    assert!(!said.contains("Earned 9"), "{said}");
}

#[test]
fn a_sum_that_no_amount_holds_is_no_figure() {
    let mut objects = Objects::farm();
    for name in ["a", "b"] {
        let mut rich = provider("farm", name);
        rich["status"]["earnings"]["confirmedNano"] = json!(i64::MAX);
        objects.providers.push(rich);
    }
    let said = text(&overview::view(&objects.snapshot()));
    assert!(said.contains("The sums exceed what an amount can hold"), "{said}");
}

#[test]
fn an_offer_shows_its_cards_models_and_what_is_wrong() {
    let said = text(&overview::view(&Objects::farm().snapshot()));
    for words in [
        "farm/ gpus Not ready",
        "GPUs free 3 of 8",
        "Nodes ready 2 of 3",
        "LowBalance wallet-message",
        "llama Starting 1 of 4 7 1 500 node-1 25 %, 9 s left: download-failure",
        "H100 8 81 559 MiB 9.0 570.1",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn jobs_that_wait_come_first_the_longest_wait_before_and_those_that_ended_last_come_before_earlier_ones() {
    let mut objects = Objects::default();
    objects.providers.push(provider("farm", "gpus"));
    let mut add = |name: &str, created: &str, ended: Option<&str>| {
        let mut job = job("farm", name, name);
        job["metadata"]["creationTimestamp"] = json!(created);
        if let Some(ended) = ended {
            job["status"]["phase"] = json!("Settled");
            job["status"]["completionTime"] = json!(ended);
            job["status"]["conditions"] = json!([{"type": "Complete", "status": "True", "reason": "RequestsFinished",
                "message": "", "lastTransitionTime": ended}]);
        }
        objects.jobs.push(job);
    };
    add(
        "ended-early",
        "2026-11-20T00:00:00Z",
        Some("2026-11-21T00:00:00Z"),
    );
    add("waits-briefly", "2026-11-26T00:00:00Z", None);
    add("ended-late", "2026-11-19T00:00:00Z", Some("2026-11-25T00:00:00Z"));
    add("waits-long", "2026-11-24T00:00:00Z", None);
    let said = text(&jobs::view(&objects.snapshot(), 1));
    let places: Vec<usize> = ["waits-long", "waits-briefly", "ended-late", "ended-early"]
        .map(|name| said.find(name).unwrap_or_else(|| panic!("{name}: {said}")))
        .into();
    assert!(places.is_sorted(), "{places:?}: {said}");
    assert!(said.contains("0 running 2 waiting 2 complete 0 failed"), "{said}");
}

#[test]
fn a_job_says_its_reason_its_work_and_its_cost() {
    let said = text(&jobs::view(&Objects::farm().snapshot(), 1));
    let row =
        "own-job farm Pending llama farm/gpus 2 of 6 1 234 1.5 1 h WaitingForFunds job-message 3 before it";
    assert!(said.contains(row), "{said}");
}

#[test]
fn a_settlement_says_what_became_of_it() {
    let said = text(&settlements::view(&Objects::farm().snapshot(), 1));
    assert!(
        said.contains("gpus-0-1 by farm/gpus Confirmed 1 3 3 0.0015 3 h c0ffee"),
        "{said}"
    );
    assert!(said.contains("Failed NotRedeemed"), "{said}");
}

#[test]
fn figures_are_exact_and_readable() {
    let ton = |nano: u64| words::ton(cocoon_api::NanoTon::from_nano(nano).unwrap());
    assert_eq!(ton(1), "0.000000001");
    assert_eq!(ton(1_234_567_000_000_001), "1\u{202f}234\u{202f}567.000000001");
    let amount = |nano: u64| cocoon_api::NanoTon::from_nano(nano).unwrap();
    for (nano, whole, rest) in [
        (1_687_204_117, "1.687", "204117"),
        (1_500_000_000, "1.5", ""),
        (7_000_000_000, "7", ""),
        (1, "0.000", "000001"),
    ] {
        assert_eq!(
            words::ton_parts(amount(nano)),
            (whole.to_owned(), rest.to_owned())
        );
    }
    assert_eq!(words::ton_to(amount(7_000_000_000), 3), "7.000");
    assert_eq!(words::ton_to(amount(7_120_000_000), 3), "7.120");
    assert_eq!(words::ton_to(amount(7_000_000_001), 3), "7.000000001");
    assert_eq!(words::count(999), "999");
    assert_eq!(words::count(1_000), "1\u{202f}000");
    let ago = |then: &str| words::ago(then.parse().unwrap(), now());
    assert_eq!(
        [
            "2026-11-26T11:59:01Z",
            "2026-11-26T11:00:01Z",
            "2026-11-24T12:00:01Z",
            "2026-11-24T12:00:00Z",
            "2027-01-01T00:00:00Z"
        ]
        .map(ago),
        ["59 s", "59 min", "47 h", "2 d", "0 s"]
    );
    assert_eq!(words::moment(now()), "2026-11-26 12:00 UTC");
}
