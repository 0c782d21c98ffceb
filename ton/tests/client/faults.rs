//! An endpoint that is down, slow to recover, or loses what it says.

use cocoon_ton::client::ATTEMPTS;
use cocoon_ton::message::InternalMessage;
use cocoon_ton::{ChainClient, ClientError, Network};
use testbed_chain::faults::FaultChange;

use crate::network::{Local, nano, nowhere};

#[tokio::test]
async fn an_endpoint_that_fails_now_and_then_is_asked_again() {
    let local = Local::start();
    local.chain.change_faults(FaultChange {
        unavailable: Some(ATTEMPTS - 1),
        ..FaultChange::default()
    });
    local
        .client()
        .global_id()
        .await
        .expect("the last attempt succeeds");
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_reported_as_unavailable() {
    let local = Local::start();
    local.chain.change_faults(FaultChange {
        unavailable: Some(ATTEMPTS),
        ..FaultChange::default()
    });
    let error = local.client().global_id().await.expect_err("unavailable");
    assert!(
        matches!(
            error,
            ClientError::EndpointUnavailable {
                attempts: ATTEMPTS,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_transient());
    local.client().global_id().await.expect("back again");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_reported_as_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/api/v2", listener.local_addr().expect("its address"));
    drop(listener);
    let error = ChainClient::new(&Network::TESTBED, &url, None)
        .expect("client")
        .head()
        .await
        .expect_err("nobody listens");
    assert!(
        matches!(error, ClientError::EndpointUnavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_message_whose_answer_got_lost_is_paid_once_however_often_it_is_sent() {
    let local = Local::start();
    let signed = local
        .sign(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    local.chain.change_faults(FaultChange {
        lost_replies: Some(1),
        ..FaultChange::default()
    });
    local
        .client()
        .send_boc(&signed.boc)
        .await
        .expect("the second attempt is answered");
    local.make_blocks();
    let error = local.client().send_boc(&signed.boc).await.expect_err("used up");
    assert!(matches!(error, ClientError::Rejected { .. }), "{error}");
    local.make_blocks();
    assert_eq!(
        local.chain.balance(&nowhere().to_string()).expect("balance"),
        5_000_000
    );
}

#[tokio::test]
async fn a_duplicated_message_is_paid_once() {
    let local = Local::start();
    local.chain.change_faults(FaultChange {
        duplicate_sends: Some(1),
        ..FaultChange::default()
    });
    local
        .send(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    assert_eq!(
        local.chain.balance(&nowhere().to_string()).expect("balance"),
        5_000_000
    );
}

#[tokio::test]
async fn a_dropped_message_leaves_seqno_and_history_as_they_were() {
    let local = Local::start();
    local.chain.change_faults(FaultChange {
        drop_sends: Some(1),
        ..FaultChange::default()
    });
    let signed = local
        .send(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    assert_eq!(
        local
            .reader
            .wallet_seqno(&signed.destination)
            .await
            .expect("seqno"),
        0
    );
    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, 0)
        .await;
    assert!(found.expect("search").is_none());
    local
        .client()
        .send_boc(&signed.boc)
        .await
        .expect("the same bytes are still good");
    local.make_blocks();
    assert_eq!(
        local
            .reader
            .wallet_seqno(&signed.destination)
            .await
            .expect("seqno"),
        1
    );
}
