//! Tests of the state on disk.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Store, StoreError};
use crate::chain::{Chain, TESTBED_GLOBAL_ID};
use crate::wallet::stranger;

const NOW: u32 = 1_792_000_000;

/// A chain in a folder, with some payments made.
struct Fixture {
    folder: tempfile::TempDir,
    chain: Chain,
    store: Option<Store>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, stored) = Store::open(folder.path()).unwrap();
        assert!(stored.is_none());
        let chain = Chain::genesis(TESTBED_GLOBAL_ID, NOW).unwrap();
        store.compact(&chain).unwrap();
        Self {
            folder,
            chain,
            store: Some(store),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A payment, and the two blocks that it takes.
    fn pay(&mut self, nonce: u64) {
        let request = self.chain.faucet_request(&stranger(7), 1_000_000, nonce).unwrap();
        self.chain.submit(request).unwrap();
        self.block();
        self.block();
    }

    fn block(&mut self) {
        let record = self.chain.plan_block(NOW + 1).unwrap();
        self.store.as_mut().unwrap().append(&record).unwrap();
        self.chain.apply(record).unwrap();
    }

    fn compact(&mut self) {
        self.store.as_mut().unwrap().compact(&self.chain).unwrap();
    }

    /// Forgets everything in memory and reads the folder.
    fn reopen(&mut self) -> Chain {
        self.store = None;
        let (store, chain) = Store::open(self.path()).unwrap();
        self.store = Some(store);
        chain.unwrap()
    }

    fn newest(&self, kind: &str) -> PathBuf {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind));
        names.sort();
        names.pop().unwrap()
    }
}

fn assert_same(read: &Chain, expected: &Chain) {
    assert_eq!(read.snapshot().unwrap(), expected.snapshot().unwrap());
}

#[test]
fn a_restart_gives_the_same_accounts_history_and_seqno() {
    let mut fixture = Fixture::new();
    fixture.pay(1);
    // One message is under way when the process ends.
    let request = fixture.chain.faucet_request(&stranger(7), 5, 2).unwrap();
    fixture.chain.submit(request).unwrap();
    fixture.block();
    assert_eq!(fixture.chain.queued(), 1);
    let read = fixture.reopen();
    assert_same(&read, &fixture.chain);
    assert_eq!(read.head().seqno, 3);
}

#[test]
fn a_torn_journal_line_costs_only_itself() {
    let mut fixture = Fixture::new();
    fixture.pay(1);
    let before = fixture.chain.clone();
    let intact = fs::metadata(fixture.newest("journal-")).unwrap().len();
    fixture.block();
    let journal = fixture.newest("journal-");
    let torn = fs::metadata(&journal).unwrap().len() - 1;
    for length in [torn, intact + 20, intact + 1] {
        fs::OpenOptions::new()
            .write(true)
            .open(&journal)
            .unwrap()
            .set_len(length)
            .unwrap();
        assert_same(&fixture.reopen(), &before);
    }
}

#[test]
fn a_damaged_snapshot_costs_nothing_while_the_one_before_it_is_there() {
    let mut fixture = Fixture::new();
    fixture.pay(1);
    fixture.compact();
    fixture.pay(2);
    let snapshot = fixture.newest("snapshot-");
    let bytes = fs::read(&snapshot).unwrap();
    fs::write(&snapshot, &bytes[..bytes.len() / 2]).unwrap();
    assert_same(&fixture.reopen(), &fixture.chain);
}

#[test]
fn a_snapshot_that_was_never_renamed_into_place_is_ignored() {
    let mut fixture = Fixture::new();
    fixture.pay(1);
    fs::write(fixture.path().join("snapshot-0000000009.partial"), b"half").unwrap();
    assert_same(&fixture.reopen(), &fixture.chain);
}

#[test]
fn a_folder_without_a_whole_snapshot_is_refused_rather_than_started_anew() {
    let mut fixture = Fixture::new();
    fixture.pay(1);
    fixture.store = None;
    fs::write(fixture.newest("snapshot-"), b"damaged").unwrap();
    assert!(matches!(
        Store::open(fixture.path()),
        Err(StoreError::NoWholeSnapshot(_))
    ));
}

#[test]
fn a_folder_in_use_is_refused() {
    let fixture = Fixture::new();
    assert!(matches!(Store::open(fixture.path()), Err(StoreError::InUse(_))));
}

#[test]
fn old_generations_are_forgotten_but_the_one_before_the_newest() {
    let mut fixture = Fixture::new();
    for nonce in 0..4 {
        fixture.pay(nonce);
        fixture.compact();
    }
    let snapshots = super::generations(fixture.path()).unwrap();
    assert_eq!(snapshots, [4, 5]);
    assert_same(&fixture.reopen(), &fixture.chain);
}
