//! However much there is, a view stays a page.

use serde_json::json;

use super::objects::{Objects, channel, job, provider, settlement, text, views};
use crate::page::{channels, jobs, listing::Listing, offers, settlements, text as words};

/// The most that a view may weigh, in bytes.
const MAX_BYTES: usize = 2 << 20;

/// The longest text that a status may hold, of what takes most room escaped.
fn long() -> String {
    "\"".repeat(1_024)
}

#[test]
fn ten_thousand_jobs_with_the_longest_messages_are_pages_of_fifty() {
    let mut objects = Objects::farm();
    objects.jobs = (0..10_000)
        .map(|number| {
            let mut job = job("farm", &format!("job-{number}"), &format!("{number}"));
            job["status"]["conditions"][1]["message"] = json!(long());
            job
        })
        .collect();
    let snapshot = objects.snapshot();
    for (view, html) in views(&snapshot) {
        assert!(html.len() < MAX_BYTES, "{view} takes {} bytes", html.len());
    }
    let first = text(&jobs::view(&snapshot, 1));
    assert!(
        first.contains("10 000 waiting") && first.contains("Page 1 of 200 After"),
        "{first}"
    );
    let last = text(&jobs::view(&snapshot, usize::MAX));
    assert!(
        last.contains("Before Page 200 of 200"),
        "a page beyond the last is the last"
    );
}

#[test]
fn offers_channels_and_settlements_are_paged_as_well() {
    let mut objects = Objects::default();
    for number in 0..300 {
        let name = format!("n-{number}");
        let mut offer = provider("farm", &name);
        let model = offer["spec"]["models"][0].clone();
        offer["spec"]["models"] = json!(vec![model; 32]);
        let product = offer["status"]["products"][0].clone();
        offer["status"]["products"] = json!(vec![product; 64]);
        let mut download = offer["status"]["models"][0]["downloads"][0].clone();
        download["failure"] = json!(long());
        offer["status"]["models"][0]["downloads"] = json!(vec![download; 16]);
        objects.providers.push(offer);
        objects.channels.push(channel("farm", &name, &name));
        objects
            .settlements
            .push(settlement(&name, "2026-11-26T09:00:00Z", 1));
    }
    let snapshot = objects.snapshot();
    for (view, html) in [
        ("offers", offers::view(&snapshot, 2)),
        ("channels", channels::view(&snapshot, 2)),
        ("settlements", settlements::view(&snapshot, 2)),
    ] {
        assert!(html.contains("Page 2 of"), "{view} has pages");
        assert!(html.len() < MAX_BYTES, "{view} takes {} bytes", html.len());
    }
}

#[test]
fn every_row_is_on_one_page_and_pages_are_within_what_there_is() {
    for total in [0, 1, 49, 50, 51, 100, 101] {
        let all: Vec<usize> = (0..total).collect();
        let pages = Listing::of(all.clone(), 1, 50).pages;
        let rows: Vec<usize> = (1..=pages)
            .flat_map(|page| Listing::of(all.clone(), page, 50).rows)
            .collect();
        assert_eq!(rows, all, "{total} rows");
        for page in [0, usize::MAX] {
            let listing = Listing::of(all.clone(), page, 50);
            assert!((1..=pages).contains(&listing.page), "page {page} of {total} rows");
        }
    }
}

#[test]
fn a_long_text_is_cut_and_what_is_not_seen_is_shown_as_a_sign() {
    assert_eq!(
        words::plain("a\u{202e}b\u{0}c\nd\u{200b}"),
        "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"
    );
    let most = "ä".repeat(words::MAX_CHARS);
    assert_eq!(words::plain(&most), most);
    assert_eq!(words::plain(&format!("{most}x")), format!("{most}…"));
}
