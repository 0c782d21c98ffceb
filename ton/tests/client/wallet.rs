//! Wallets, transactions and the network's identity through the endpoint.

use cocoon_ton::client::AccountState;
use cocoon_ton::message::InternalMessage;
use cocoon_ton::{ChannelOnChain, ClientError, Network, wallet};

use crate::network::{FUNDS, Local, nano, nowhere};

#[tokio::test]
async fn the_head_tells_block_time_and_network() {
    let local = Local::start();
    let before = local.client().head().await.expect("head");
    local.chain.advance(100).expect("time passes");
    local.chain.make_block().expect("block");
    let after = local.client().head().await.expect("head");
    assert!(after.seqno > before.seqno);
    assert!(after.time >= before.time + 100);
    assert_eq!(after.global_id, Network::TESTBED.global_id());
}

#[tokio::test]
async fn an_endpoint_of_another_network_is_refused() {
    let local = Local::start();
    local
        .client()
        .check_network(&Network::TESTBED)
        .await
        .expect("the testbed");
    let error = local
        .client()
        .check_network(&Network::MAINNET)
        .await
        .expect_err("another network");
    assert!(
        matches!(
            error,
            ClientError::WrongNetwork {
                found: -217,
                expected: -239,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_wallet_counts_its_transfers() {
    let local = Local::start();
    let address = local.wallet.address();
    let before = local.reader.wallet(&address).await.expect("wallet");
    assert_eq!(
        (before.deployed, before.seqno, before.balance.nano()),
        (false, 0, FUNDS)
    );
    for seqno in 1..=2 {
        local
            .send(InternalMessage::transfer(nowhere(), nano(1_000_000)))
            .await;
        let after = local.reader.wallet(&address).await.expect("wallet");
        assert_eq!((after.deployed, after.seqno), (true, seqno));
    }
    let account = local.client().account(&address).await.expect("account");
    assert_eq!(
        account.state,
        AccountState::Active {
            code_hash: wallet::code_hash()
        }
    );
}

#[tokio::test]
async fn an_address_where_nothing_is_reads_as_nothing() {
    let local = Local::start();
    let account = local.client().account(&nowhere()).await.expect("account");
    assert_eq!(
        (account.state, account.balance, account.last_transaction),
        (AccountState::Uninitialized, nano(0), None)
    );
    let state = local.reader.state(&nowhere()).await.expect("state");
    assert_eq!(state, ChannelOnChain::NotDeployed { balance: nano(0) });
    assert_eq!(
        local
            .client()
            .transactions(&nowhere(), None, 10)
            .await
            .expect("transactions")
            .len(),
        0
    );
    let found = local
        .reader
        .find_transaction_by_message_hash(&nowhere(), &[0; 32], 0)
        .await
        .expect("search");
    assert!(found.is_none());
}

#[tokio::test]
async fn a_transfer_is_found_by_its_hash_with_what_it_paid() {
    let local = Local::start();
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(7_000_000)))
        .await;
    for _ in 0..3 {
        local
            .send(InternalMessage::transfer(nowhere(), nano(1_000_000)))
            .await;
    }
    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, 0)
        .await;
    let transaction = found.expect("search").expect("the transfer's transaction");
    assert!(transaction.succeeded());
    assert_eq!(
        (transaction.exit_code(), transaction.action_result_code()),
        (Some(0), Some(0))
    );
    let payments = transaction.payments();
    assert_eq!(
        (payments[0].destination, payments[0].value),
        (nowhere(), nano(7_000_000))
    );
    assert!(transaction.total_fees > nano(0));
}

#[tokio::test]
async fn a_search_ends_at_its_first_moment() {
    let local = Local::start();
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(7_000_000)))
        .await;
    let search = |since| {
        local
            .reader
            .find_transaction_by_message_hash(&signed.destination, &signed.hash, since)
    };
    let transaction = search(0).await.expect("search").expect("found");
    assert!(search(transaction.now).await.expect("search").is_some());
    assert!(search(transaction.now + 1).await.expect("search").is_none());
}

#[tokio::test]
async fn a_search_reads_as_many_pages_as_it_takes() {
    let local = Local::start();
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(7_000_000)))
        .await;
    for _ in 0..40 {
        local
            .chain
            .fund(&signed.destination.to_string(), 1_000_000)
            .expect("funds");
    }
    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, 0)
        .await;
    assert!(found.expect("search").is_some());
}

#[tokio::test]
async fn a_payment_that_the_wallet_cannot_afford_shows_as_not_made() {
    let local = Local::start();
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(2 * FUNDS)))
        .await;
    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, 0)
        .await;
    let transaction = found.expect("search").expect("accepted all the same");
    assert_eq!(transaction.exit_code(), Some(0));
    assert!(!transaction.succeeded());
    assert_eq!(transaction.payments(), []);
    assert_eq!(
        local
            .reader
            .wallet_seqno(&signed.destination)
            .await
            .expect("seqno"),
        1
    );
}

#[tokio::test]
async fn a_replayed_or_expired_message_is_rejected_with_the_contracts_exit_code() {
    let local = Local::start();
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(1_000_000)))
        .await;
    let error = local.client().send_boc(&signed.boc).await.expect_err("replayed");
    assert!(
        matches!(&error, ClientError::Rejected { reason, .. } if reason.contains("133")),
        "{error}"
    );
    let late = local
        .sign(InternalMessage::transfer(nowhere(), nano(1_000_000)))
        .await;
    local.chain.advance(61).expect("time passes");
    let error = local.client().send_boc(&late.boc).await.expect_err("expired");
    assert!(
        matches!(&error, ClientError::Rejected { reason, .. } if reason.contains("136")),
        "{error}"
    );
}

#[tokio::test]
async fn a_contract_that_is_no_wallet_has_no_seqno() {
    let local = Local::start();
    let faucet = local
        .chain
        .status()
        .expect("status")
        .faucet
        .parse()
        .expect("address");
    let error = local
        .reader
        .wallet_seqno(&faucet)
        .await
        .expect_err("the faucet is no wallet");
    assert!(matches!(error, ClientError::OtherContract { .. }), "{error}");
}
