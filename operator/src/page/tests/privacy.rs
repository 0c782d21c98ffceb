//! What must not be on any view: see `docs/decisions/0020-what-the-page-shows.md`.

use super::objects::{Objects, views};

/// What stands in objects and is nobody's business here, whoever's the object is.
const NEVER: [&str; 12] = [
    "secret-address",
    "payout-address",
    "wallet-secret",
    "wallet-address",
    "contract-address",
    "payer-key",
    "voucher-signature",
    "message-hash",
    "input-secret",
    "settlement-message",
    "failed-message",
    "waiting-message",
];

#[test]
fn addresses_keys_secrets_and_what_may_name_them_are_on_no_view() {
    for (view, html) in views(&Objects::farm().snapshot()) {
        for word in NEVER {
            assert!(!html.contains(word), "{word} is on the view {view}");
        }
    }
}

#[test]
fn of_a_payers_namespace_no_name_and_no_message_is_shown_and_its_objects_go_by_their_uid() {
    let shown: String = views(&Objects::farm().snapshot()).map(|(_, html)| html).concat();
    for word in ["payers-job", "payers-channel"] {
        assert!(!shown.contains(word), "{word} is shown");
    }
    for word in ["33333333", "55555555", "own-job", "own-channel"] {
        assert!(shown.contains(word), "{word} is not shown");
    }
    assert!(!shown.contains("33333333-"), "the beginning of a UID is enough");

    let mut objects = Objects::farm();
    objects.jobs.remove(0);
    objects.channels.remove(0);
    let shown: String = views(&objects.snapshot()).map(|(_, html)| html).concat();
    for word in ["job-message", "channel-message"] {
        assert!(!shown.contains(word), "{word} of a payer's object is shown");
    }
    for word in ["WaitingForFunds", "Expired"] {
        assert!(
            shown.contains(word),
            "the reason {word} of a payer's object is not shown"
        );
    }
}

#[test]
fn a_model_that_nobody_offers_is_its_payers_word() {
    let mut objects = Objects::farm();
    objects.jobs[1]["spec"]["model"] = serde_json::json!("payers-word");
    let shown: String = views(&objects.snapshot()).map(|(_, html)| html).concat();
    assert!(!shown.contains("payers-word"));
    objects.jobs[0]["spec"]["model"] = serde_json::json!("own-word");
    let shown: String = views(&objects.snapshot()).map(|(_, html)| html).concat();
    assert!(shown.contains("own-word"));
}
