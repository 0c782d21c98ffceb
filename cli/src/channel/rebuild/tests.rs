use super::*;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn rebuilt(redeemed: u64) -> Rebuilt {
    Rebuilt {
        redeemed_nano: nano(redeemed),
        finished_nano: NanoTon::ZERO,
        gone_nano: nano(redeemed),
        open_nano: NanoTon::ZERO,
    }
}

#[test]
fn a_ruling_keeps_what_it_said_of_this_channel_and_of_others() {
    let other = Ruling {
        uid: "other".into(),
        write_off: true,
        acknowledged_nano: None,
        rebuilt: None,
    };
    let own = Ruling {
        uid: "own".into(),
        write_off: false,
        acknowledged_nano: Some(nano(3)),
        rebuilt: Some(rebuilt(5)),
    };
    let added = with(vec![other.clone()], "own", rebuilt(7));
    assert_eq!((&added[0], added[1].rebuilt), (&other, Some(rebuilt(7))));
    let replaced = with(vec![own, other], "own", rebuilt(9));
    assert_eq!(replaced.len(), 2);
    assert_eq!(
        (replaced[0].acknowledged_nano, replaced[0].rebuilt),
        (Some(nano(3)), Some(rebuilt(9)))
    );
}

#[test]
fn a_proof_is_printed_by_job_and_agent_and_beside_what_was_redeemed() {
    let proof = Proof {
        rows: vec![cocoon_core::ledger::rebuild::Row {
            subject: Subject::job("uid", 2),
            agent: AgentKey([0xab; 32]),
            receipts: 3,
            nano: nano(1_500_000_000),
            standing: Standing::Gone,
        }],
        rebuilt: rebuilt(1_500_000_000),
        metered: NanoTon::ZERO,
        added: nano(1_500_000_000),
    };
    let text = table(&proof, &BTreeMap::new()).to_string();
    for word in ["uid", "abababab", "1.5", "gone"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(sums(&proof).to_string().contains("redeemed by the contract"));
}

#[test]
fn a_file_of_receipts_is_read_to_its_limit_and_a_damaged_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    std::fs::write(&path, "").unwrap();
    assert_eq!(file(&path).unwrap(), Vec::new());
    std::fs::write(&path, "{}\n").unwrap();
    let error = format!("{:#}", file(&path).unwrap_err());
    assert!(error.contains("line 1"), "{error}");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(MAX_FILE_BYTES + 1)
        .unwrap();
    assert!(file(&path).unwrap_err().to_string().contains("more than"));
}
