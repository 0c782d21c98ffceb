//! A channel's life through the endpoint, as payer and provider see it.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, Claim};
use cocoon_ton::voucher::NO_EXPIRY;
use cocoon_ton::wallet::MAX_MESSAGES;
use cocoon_ton::{
    Address, ChannelOnChain, ChannelParams, ChannelState, ChannelStatus, Network, SignedVoucher, Signer,
    Voucher,
};

use crate::network::{Local, nano};

/// One wallet at both ends: the contract does not mind, and the test needs no second one.
pub fn params(local: &Local) -> ChannelParams {
    ChannelParams {
        payer_key: local.key.public_key(),
        payer: local.wallet.address(),
        provider: local.wallet.address(),
        claimer: local.wallet.address(),
        challenge_period: 60,
        salt: 0,
    }
}

/// A voucher of the first epoch that does not expire.
pub fn voucher(local: &Local, params: &ChannelParams, cap: NanoTon) -> SignedVoucher {
    let voucher = Voucher {
        global_id: Network::TESTBED.global_id(),
        channel: params.address(),
        cap,
        valid_until: NO_EXPIRY,
        epoch: 0,
    };
    voucher.sign(&local.key).expect("signature")
}

async fn channel_state(local: &Local, address: &Address) -> ChannelState {
    match local.reader.state(address).await.expect("state") {
        ChannelOnChain::Channel { state, balance, .. } => {
            assert!(balance >= state.available);
            state
        }
        other => panic!("a channel, not {other:?}"),
    }
}

#[tokio::test]
async fn a_channel_is_opened_redeemed_closed_and_settled() {
    let local = Local::start();
    let params = params(&local);
    let address = params.address();
    assert!(matches!(
        local.reader.state(&address).await,
        Ok(ChannelOnChain::NotDeployed { .. })
    ));

    local
        .send(channel::deploy_and_fund(&params, nano(1_000_000_000), 1).expect("amount"))
        .await;
    let open = channel_state(&local, &address).await;
    assert_eq!(
        (open.status, open.redeemed, open.params),
        (ChannelStatus::Open, nano(0), params)
    );
    assert!(open.available >= nano(1_000_000_000));

    let time = local.client().head().await.expect("head").time;
    let voucher = Voucher {
        global_id: Network::TESTBED.global_id(),
        channel: address,
        cap: nano(600_000_000),
        valid_until: time + 3_600,
        epoch: open.epoch,
    };
    let voucher = voucher.sign(&local.key).expect("signature");
    let signed = local
        .send(channel::redeem(&Claim::new(voucher, nano(500_000_000)), 1))
        .await;
    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, 0)
        .await;
    assert_eq!(
        found.expect("search").expect("found").payments()[0].destination,
        address
    );
    assert_eq!(channel_state(&local, &address).await.redeemed, nano(500_000_000));

    local.send(channel::close(address, 1)).await;
    let closing = channel_state(&local, &address).await;
    assert!(matches!(closing.status, ChannelStatus::Closing { deadline } if deadline >= time + 60));

    local.chain.advance(61).expect("time passes");
    local.send(channel::settle(address, 1)).await;
    let closed = channel_state(&local, &address).await;
    assert_eq!(
        (closed.status, closed.epoch, closed.available),
        (ChannelStatus::Closed, 1, nano(0))
    );
    assert_eq!(closed.redeemed, nano(500_000_000));
}

#[tokio::test]
async fn a_settlement_of_255_redeems_is_found_behind_the_255_payouts_it_caused() {
    let local = Local::start();
    let params = params(&local);
    local
        .send(channel::deploy_and_fund(&params, nano(1_000_000_000), 1).expect("amount"))
        .await;
    let time = local.client().head().await.expect("head").time;
    let voucher = Voucher {
        global_id: Network::TESTBED.global_id(),
        channel: params.address(),
        cap: nano(1_000_000_000),
        valid_until: time + 3_600,
        epoch: 0,
    };
    let voucher = voucher.sign(&local.key).expect("signature");
    let redeems =
        (1..=MAX_MESSAGES as u64).map(|n| channel::redeem(&Claim::new(voucher, nano(n * 1_000_000)), n));
    let signed = local.send_all(redeems.collect()).await;

    let found = local
        .reader
        .find_transaction_by_message_hash(&signed.destination, &signed.hash, time)
        .await;
    let payments = found.expect("search").expect("found").payments();
    assert_eq!(payments.len(), MAX_MESSAGES);
    let redeems = payments
        .iter()
        .filter(|payment| payment.op == Some(channel::OP_REDEEM));
    assert!(
        redeems
            .clone()
            .all(|payment| payment.destination == params.address())
    );
    assert_eq!(redeems.count(), MAX_MESSAGES);
    assert_eq!(
        channel_state(&local, &params.address()).await.redeemed,
        nano(255_000_000)
    );
}

#[tokio::test]
async fn a_contract_with_other_code_is_no_channel() {
    let local = Local::start();
    let faucet = local
        .chain
        .status()
        .expect("status")
        .faucet
        .parse()
        .expect("address");
    let state = local.reader.state(&faucet).await.expect("state");
    assert!(
        matches!(state, ChannelOnChain::ForeignCode { hash } if hash != channel::code_hash()),
        "{state:?}"
    );
}

#[tokio::test]
async fn the_channels_code_with_another_first_state_is_no_channel() {
    let local = Local::start();
    let genuine = params(&local).state_init();
    // The first storage of a channel on which 5 epochs are claimed to have passed.
    let mut forged = channel::deploy_and_fund(&params(&local), nano(1_000_000_000), 1).expect("amount");
    let init = forged.init.as_mut().expect("a deployment");
    init.data = with_epoch(&genuine.data, 5);
    forged.destination = init.address();
    let address = forged.destination;
    local.send(forged).await;
    assert_eq!(
        local.reader.state(&address).await.expect("state"),
        ChannelOnChain::ForeignState
    );
}

/// The storage cell with another epoch: bits 8 to 39.
fn with_epoch(data: &cocoon_ton::Cell, epoch: u32) -> cocoon_ton::Cell {
    let boc = cocoon_ton::encode_boc(data).expect("encodes");
    let genuine = tycho_types::prelude::Boc::decode(&boc).expect("decodes");
    let mut builder = tycho_types::prelude::CellBuilder::new();
    let mut slice = genuine.as_slice().expect("ordinary");
    builder.store_u8(slice.load_u8().expect("status")).expect("fits");
    slice.load_u32().expect("epoch");
    builder.store_u32(epoch).expect("fits");
    builder.store_slice(slice).expect("fits");
    let cell = builder.build().expect("fits");
    cocoon_ton::decode_boc(&tycho_types::prelude::Boc::encode(&cell)).expect("decodes")
}
