use proptest::prelude::*;

use super::{Trigger, parse};

#[test]
fn a_preset_is_changed_key_by_key() {
    let cards = parse(
        "rtx-3090*2, RTX-4090:memory=8GiB:pcie=1x1:name=Rig card:cc=7.5:sms=3:lost-after=100:ecc-when=/tmp/x:skips=product_1",
    )
    .expect("well written");
    assert_eq!(cards.len(), 3);
    assert_eq!((cards[0].bus, cards[1].bus), (1, 2));
    assert_ne!(cards[0].uuid, cards[1].uuid);
    let last = &cards[2];
    assert_eq!(
        (last.memory, last.pcie, last.capability, last.sms),
        (8 << 30, (1, 1), (7, 5), 3)
    );
    assert_eq!(last.name, "Rig card");
    assert_eq!(
        (&cards[0].skips, last.skips.as_deref()),
        (&None, Some("product_1"))
    );
    assert_eq!(
        last.lost,
        Trigger {
            after: Some(100),
            when: None
        }
    );
    assert_eq!(
        last.ecc_error,
        Trigger {
            after: None,
            when: Some("/tmp/x".into())
        }
    );
}

#[test]
fn a_wrong_entry_is_named() {
    for (text, words) in [
        ("voodoo2", "voodoo2"),
        ("h100:memory=lots", "lots"),
        ("h100:memory=0", "memory"),
        ("h100:colour=red", "colour"),
        ("h100:memory", "key=value"),
        ("h100*0", "count"),
        ("h100*65", "64"),
        ("h100*40,h100*40", "64"),
        ("h100:cc=86", "8.6"),
        ("h100:uuid=12", "32"),
        ("h100*2:uuid=00112233445566778899aabbccddeeff", "same uuid"),
    ] {
        let problem = parse(text).expect_err(text);
        assert!(problem.contains(words), "{text}: {problem}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text in "\\PC{0,80}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_panics_the_parser(key in "[a-z-]{1,12}", value in "\\PC{0,20}") {
        let _ = parse(&format!("h100:{key}={value}"));
    }
}
