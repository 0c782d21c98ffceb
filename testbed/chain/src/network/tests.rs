//! Tests of a running network.

use super::{Network, NetworkError};
use crate::chain::TESTBED_GLOBAL_ID;
use crate::faults::FaultChange;
use crate::wallet::{Wallet, payment, stranger};

const TON: u128 = 1_000_000_000;

fn open(folder: &tempfile::TempDir) -> Network {
    Network::open(TESTBED_GLOBAL_ID, Some(folder.path())).unwrap()
}

/// Makes the faucet pay the wallet of seed 1.
fn funded(network: &Network) -> Wallet {
    let wallet = Wallet::new(1);
    let message = network.faucet(&wallet.address(), 5 * TON).unwrap();
    while !network.faucet_paid(&message).unwrap() {
        network.make_block().unwrap();
    }
    wallet
}

#[test]
fn a_killed_network_continues_with_its_last_block_and_its_advanced_time() {
    let folder = tempfile::tempdir().unwrap();
    let network = open(&folder);
    let wallet = funded(&network);
    network
        .send(&wallet.transfer_boc(0, &[payment(&stranger(7), TON)]))
        .unwrap();
    network.make_block().unwrap();
    network.advance(1_000_000).unwrap();
    let before = network.read(|chain| chain.snapshot().unwrap());
    // No flush: as if the process had been killed.
    drop(network);

    let network = open(&folder);
    assert_eq!(network.read(|chain| chain.snapshot().unwrap()), before);
    let ahead = network.status().unwrap().ahead_seconds;
    assert!((999_000..=1_000_001).contains(&ahead), "{ahead}");
    network.make_block().unwrap();
    assert_eq!(network.read(|chain| chain.balance(&stranger(7)).unwrap()), TON);
}

#[test]
fn a_message_that_waited_is_forgotten_by_a_restart_and_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let network = open(&folder);
    let wallet = funded(&network);
    let boc = wallet.transfer_boc(0, &[payment(&stranger(7), TON)]);
    network.send(&boc).unwrap();
    drop(network);

    let network = open(&folder);
    assert_eq!(network.status().unwrap().waiting, 0);
    network.send(&boc).unwrap();
    network.make_block().unwrap();
    network.make_block().unwrap();
    assert_eq!(network.read(|chain| chain.balance(&stranger(7)).unwrap()), TON);
}

#[test]
fn a_folder_of_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let error = Network::open(-3, Some(folder.path())).unwrap_err();
    assert!(
        matches!(
            error,
            NetworkError::OtherNetwork {
                found: TESTBED_GLOBAL_ID,
                expected: -3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_block_that_cannot_be_stored_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let network = open(&folder);
    let before = network.status().unwrap().seqno;
    network.lock().store.as_mut().unwrap().lose_journal();
    network.make_block().unwrap_err();
    assert_eq!(network.status().unwrap().seqno, before);
}

#[test]
fn requests_of_a_restarted_faucet_are_messages_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let network = open(&folder);
    let first = network.faucet(&stranger(7), 1).unwrap();
    network.make_block().unwrap();
    drop(network);
    let network = open(&folder);
    assert_ne!(network.faucet(&stranger(7), 1).unwrap(), first);
}

#[test]
fn stale_reads_do_not_stop_the_chain() {
    let network = Network::open(TESTBED_GLOBAL_ID, None).unwrap();
    network.change_faults(FaultChange {
        stale_reads: Some(true),
        ..FaultChange::default()
    });
    let stale = network.read(|chain| chain.head().seqno);
    network.make_block().unwrap();
    assert_eq!(network.read(|chain| chain.head().seqno), stale);
    assert_eq!(network.read_current(|chain| chain.head().seqno), stale + 1);
}
