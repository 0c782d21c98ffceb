//! A payer's commands against a network in the test's own process, without Kubernetes.

use std::time::Duration;

use cocoon_api::NanoTon;
use cocoon_ton::{
    Address, ChannelOnChain, ChannelParams, ChannelStatus, EndpointConfig, Network, Quorum, SecretKey,
    channel,
    sender::{EXPIRY_MARGIN_SECONDS, VALID_SECONDS},
    voucher::NO_EXPIRY,
    wallet::SendMode,
};
use tempfile::TempDir;
use testbed_chain::{
    faults::FaultChange,
    testing::{LocalNetwork, Options},
};

use super::{Chain, endpoints, escrow::Closing, escrow::salt, outbox::Outbox, parse_network};
use crate::payer::Payer;

const FUNDS: u64 = 10_000_000_000;
const CHALLENGE: u32 = 3_600;
const PROVIDER: Address = Address {
    workchain: 0,
    account: [0xAB; 32],
};

struct World {
    network: LocalNetwork,
    chain: Chain,
    payer: Payer,
    state: TempDir,
}

fn ton(text: &str) -> NanoTon {
    NanoTon::parse_ton(text).expect("decimal TON")
}

impl World {
    async fn start(funds: u64) -> Self {
        // Every test but the first of the process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let network = LocalNetwork::start(Options {
            block_interval: Some(Duration::from_millis(20)),
            ..Options::default()
        })
        .expect("a network");
        let payer = Payer::new(SecretKey::from_seed(&[5; 32]), &Network::TESTBED);
        if funds > 0 {
            network
                .fund(&payer.wallet.address().to_string(), funds)
                .expect("funds");
        }
        let state = tempfile::tempdir().expect("a folder");
        let chain = connect(&network, &state).await;
        Self {
            network,
            chain,
            payer,
            state,
        }
    }

    fn params(&self) -> ChannelParams {
        ChannelParams {
            payer_key: self.payer.wallet.public_key(),
            payer: self.payer.wallet.address(),
            provider: PROVIDER,
            claimer: PROVIDER,
            challenge_period: CHALLENGE,
            salt: salt("shop", "payer"),
        }
    }

    fn spent(&self) -> u128 {
        u128::from(FUNDS)
            - self
                .network
                .balance(&self.payer.wallet.address().to_string())
                .expect("a balance")
    }
}

fn quorum(network: Network, urls: &[String]) -> Quorum {
    let configs: Vec<_> = urls.iter().map(EndpointConfig::open).collect();
    Quorum::new(network, &configs).expect("usable endpoints")
}

async fn connect(network: &LocalNetwork, state: &TempDir) -> Chain {
    let outbox = Outbox::new(state.path().to_owned());
    Chain::connect(quorum(Network::TESTBED, &[network.base_url()]), outbox)
        .await
        .expect("the testbed's network")
}

#[tokio::test]
async fn a_channel_is_opened_topped_up_and_authorized() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let opened = chain.open(payer, &params, ton("1")).await.expect("opens");
    assert_eq!(
        (opened.state.status, opened.state.params, opened.state.epoch),
        (ChannelStatus::Open, params, 0)
    );
    assert!(opened.state.available >= ton("1"));

    let more = chain
        .top_up(payer, &params.address(), ton("0.5"))
        .await
        .expect("tops up");
    assert!(more.available >= ton("1.5"));
    assert!(
        world.spent() < 1_540_000_000,
        "fees and the reserve are all that goes beside the deposits"
    );

    let voucher = chain
        .voucher(payer, &params.address(), &more, ton("1.2"), Some(3_600))
        .await
        .expect("signs");
    voucher.verify(&params.payer_key).expect("the payer's signature");
    assert_eq!((voucher.voucher.cap, voucher.voucher.epoch), (ton("1.2"), 0));
    assert!(voucher.voucher.valid_until >= chain.time().await.expect("time") + 3_500);
    assert!(
        chain
            .outbox
            .load(chain.network(), &payer.wallet.address())
            .expect("loads")
            .is_none()
    );
}

#[tokio::test]
async fn opening_twice_deposits_once() {
    let world = World::start(FUNDS).await;
    world
        .chain
        .open(&world.payer, &world.params(), ton("1"))
        .await
        .expect("opens");
    let spent = world.spent();
    let again = connect(&world.network, &world.state).await;
    let opened = again
        .open(&world.payer, &world.params(), ton("1"))
        .await
        .expect("finds it open");
    assert_eq!((opened.paid, world.spent()), (NanoTon::ZERO, spent));
}

/// The process dies after it kept the signed message and before, or right after, the first broadcast.
#[tokio::test]
async fn a_run_that_was_killed_around_the_broadcast_is_completed_with_one_deposit() {
    for was_broadcast in [false, true] {
        let world = World::start(FUNDS).await;
        let (chain, payer, params) = (&world.chain, &world.payer, world.params());
        let message = channel::deploy_and_fund(&params, ton("1"), 0).expect("an amount");
        let valid_until = chain.time().await.expect("time") + VALID_SECONDS;
        let transfer = payer
            .wallet
            .transfer(0, valid_until, &[(SendMode::ExactValue, message)])
            .expect("a transfer");
        let signed = transfer.sign(&payer.key).expect("a signature");
        assert!(chain.outbox.store(chain.network(), &signed).expect("stores"));
        if was_broadcast {
            chain.quorum.send(&signed.boc).await.expect("accepted");
        }
        let opened = chain.open(payer, &params, ton("1")).await.expect("completes");
        assert!(opened.state.available >= ton("1"));
        assert_eq!(opened.paid, NanoTon::ZERO);
        assert!(
            world.spent() < 1_040_000_000,
            "one deposit, not {}",
            world.spent()
        );
    }
}

#[tokio::test]
async fn a_top_up_that_was_interrupted_is_finished_and_not_repeated() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let address = params.address();
    chain.open(payer, &params, ton("1")).await.expect("opens");
    let message = channel::top_up(address, ton("0.5"), 1).expect("an amount");
    let valid_until = chain.time().await.expect("time") + VALID_SECONDS;
    let transfer = payer
        .wallet
        .transfer(1, valid_until, &[(SendMode::ExactValue, message)])
        .expect("a transfer");
    let signed = transfer.sign(&payer.key).expect("a signature");
    assert!(chain.outbox.store(chain.network(), &signed).expect("stores"));
    let state = chain.top_up(payer, &address, ton("0.5")).await.expect("finishes");
    assert!(state.available >= ton("1.5") && state.available < ton("1.6"));
    assert!(world.spent() < 1_540_000_000);
}

#[tokio::test]
async fn a_message_that_expired_unused_is_signed_again() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let message = channel::deploy_and_fund(&params, ton("3"), 0).expect("an amount");
    let now = chain.time().await.expect("time");
    let transfer = payer
        .wallet
        .transfer(0, now + VALID_SECONDS, &[(SendMode::ExactValue, message)]);
    let signed = transfer
        .expect("a transfer")
        .sign(&payer.key)
        .expect("a signature");
    assert!(chain.outbox.store(chain.network(), &signed).expect("stores"));
    world
        .network
        .advance(VALID_SECONDS + EXPIRY_MARGIN_SECONDS + 1)
        .expect("time passes");
    let opened = chain.open(payer, &params, ton("1")).await.expect("opens");
    assert!(
        opened.state.available < ton("1.1"),
        "the expired message of 3 TON was never taken"
    );
}

#[tokio::test]
async fn a_faulty_endpoint_delays_and_pays_once() {
    let world = World::start(FUNDS).await;
    world.network.change_faults(FaultChange {
        drop_sends: Some(1),
        lost_replies: Some(1),
        unavailable: Some(2),
        ..FaultChange::default()
    });
    world
        .chain
        .open(&world.payer, &world.params(), ton("1"))
        .await
        .expect("opens in the end");
    assert!(world.spent() < 1_040_000_000);
}

#[tokio::test]
async fn a_wallet_that_is_too_poor_signs_nothing_and_learns_what_it_needs() {
    for funds in [0, 500_000_000] {
        let world = World::start(funds).await;
        let error = world
            .chain
            .open(&world.payer, &world.params(), ton("1"))
            .await
            .expect_err("too poor")
            .to_string();
        let wallet = world.payer.wallet.address().friendly(&Network::TESTBED, false);
        assert!(
            error.contains(&wallet) && error.contains("1.032 TON are needed"),
            "{error}"
        );
        assert!(
            world
                .chain
                .outbox
                .load(&Network::TESTBED, &world.payer.wallet.address())
                .expect("loads")
                .is_none()
        );
    }
}

#[tokio::test]
async fn closing_waits_for_the_window_and_returns_the_rest() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let address = params.address();
    chain.open(payer, &params, ton("1")).await.expect("opens");
    let Closing::Window { remaining, .. } = chain.close(payer, &address).await.expect("starts") else {
        panic!("the window runs")
    };
    assert!(remaining > 0 && remaining <= CHALLENGE);
    assert!(matches!(
        chain.close(payer, &address).await.expect("waits"),
        Closing::Window { .. }
    ));
    world.network.advance(CHALLENGE).expect("time passes");
    let Closing::Settled { returned } = chain.close(payer, &address).await.expect("settles") else {
        panic!("settled")
    };
    assert!(returned >= ton("1"));
    assert_eq!(
        chain.close(payer, &address).await.expect("knows"),
        Closing::Already
    );

    let opened = chain.open(payer, &params, ton("2")).await.expect("opens again");
    assert_eq!(
        (opened.state.status, opened.state.epoch),
        (ChannelStatus::Open, 1)
    );
}

#[tokio::test]
async fn a_top_up_of_a_closing_channel_opens_it_again() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let address = params.address();
    chain.open(payer, &params, ton("1")).await.expect("opens");
    for open_again in [false, true] {
        let closing = chain.close(payer, &address).await.expect("starts");
        assert!(matches!(closing, Closing::Window { .. }), "{closing:?}");
        let state = if open_again {
            chain.open(payer, &params, ton("1")).await.expect("opens").state
        } else {
            chain.top_up(payer, &address, ton("0.5")).await.expect("opens")
        };
        assert_eq!((state.status, state.epoch), (ChannelStatus::Open, 0));
        assert!(state.available >= ton("1.5"));
    }
    assert!(world.spent() < 1_550_000_000, "one deposit and one top-up");
}

#[tokio::test]
async fn a_voucher_without_an_end_is_the_default_and_lasts_as_long_as_the_epoch() {
    let world = World::start(FUNDS).await;
    let (chain, payer, params) = (&world.chain, &world.payer, world.params());
    let opened = chain.open(payer, &params, ton("1")).await.expect("opens");
    let voucher = chain
        .voucher(payer, &params.address(), &opened.state, ton("1"), None)
        .await
        .expect("signs");
    assert_eq!(voucher.voucher.valid_until, NO_EXPIRY);
    let error = chain
        .voucher(
            payer,
            &params.address(),
            &opened.state,
            ton("1"),
            Some(u32::MAX - 1),
        )
        .await
        .expect_err("beyond the end of time");
    assert!(error.to_string().contains("2106"), "{error}");
}

#[tokio::test]
async fn a_minority_that_lies_or_is_gone_does_not_keep_a_payer_from_paying_once() {
    let world = World::start(FUNDS).await;
    let (lying, good, down) = (
        world.network.open_endpoint().expect("an endpoint"),
        world.network.open_endpoint().expect("an endpoint"),
        world.network.open_endpoint().expect("an endpoint"),
    );
    lying.change_faults(FaultChange {
        lies: Some(true),
        ..FaultChange::default()
    });
    down.change_faults(FaultChange {
        unavailable: Some(u32::MAX),
        ..FaultChange::default()
    });
    for bad in [&lying, &down] {
        let urls = [bad.base_url(), good.base_url(), world.network.base_url()];
        let outbox = Outbox::new(world.state.path().to_owned());
        let chain = Chain::connect(quorum(Network::TESTBED, &urls), outbox)
            .await
            .expect("a majority");
        let opened = chain
            .open(&world.payer, &world.params(), ton("1"))
            .await
            .expect("opens");
        assert!(opened.state.available >= ton("1"));
    }
    assert!(world.spent() < 1_040_000_000, "one deposit");
}

#[test]
fn each_endpoint_gets_its_own_key_or_nothing_is_asked() {
    let urls = ["https://a.example".to_owned(), "https://b.example".to_owned()];
    let with_key = |keys: &str| -> Vec<bool> {
        let configs = endpoints(&urls, keys).expect("usable");
        configs.iter().map(|config| config.api_key.is_some()).collect()
    };
    assert_eq!(with_key(""), [false, false]);
    assert_eq!(with_key("one,two"), [true, true]);
    assert_eq!(with_key(",two"), [false, true]);
    for keys in ["top-secret", "top-secret,two,three"] {
        let error = endpoints(&urls, keys).expect_err("which key is whose");
        assert!(!format!("{error:?}").contains("top-secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_voucher_is_signed_by_the_channels_key_only() {
    let world = World::start(FUNDS).await;
    let params = world.params();
    let state = world
        .chain
        .open(&world.payer, &params, ton("1"))
        .await
        .expect("opens")
        .state;
    let stranger = Payer::new(SecretKey::from_seed(&[6; 32]), &Network::TESTBED);
    let error = world
        .chain
        .voucher(&stranger, &params.address(), &state, ton("1"), Some(60))
        .await
        .expect_err("refused");
    assert!(
        error
            .to_string()
            .contains(&stranger.wallet.public_key().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_is_done_on_another_network() {
    let world = World::start(0).await;
    let outbox = Outbox::new(world.state.path().to_owned());
    let elsewhere = quorum(Network::MAINNET, &[world.network.base_url()]);
    let Err(error) = Chain::connect(elsewhere, outbox).await else {
        panic!("another network")
    };
    assert!(format!("{error:#}").contains("-217"), "{error:#}");
}

#[tokio::test]
async fn a_channel_that_is_not_deployed_is_named() {
    let world = World::start(FUNDS).await;
    let address = world.params().address();
    assert!(matches!(
        world.chain.state(&address).await,
        Ok(ChannelOnChain::NotDeployed { .. })
    ));
    let error = world
        .chain
        .top_up(&world.payer, &address, ton("1"))
        .await
        .expect_err("not there")
        .to_string();
    assert!(
        error.contains(&address.friendly(&Network::TESTBED, true)),
        "{error}"
    );
}

#[test]
fn a_network_is_a_known_name_or_a_name_with_its_id() {
    assert_eq!(parse_network("testbed=-217").expect("parses"), Network::TESTBED);
    assert_eq!(parse_network("mainnet").expect("parses"), Network::MAINNET);
    assert_eq!(parse_network("lab=-5").expect("parses").global_id(), -5);
    for wrong in ["lab", "=-5", "lab=", "lab=x", "mainnet=-3", "lab=99999999999"] {
        assert!(parse_network(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_salt_depends_on_namespace_and_name_alone() {
    assert_eq!(salt("shop", "payer"), salt("shop", "payer"));
    assert_ne!(salt("shop", "payer"), salt("payer", "shop"));
    assert_ne!(salt("a", "b"), salt("a", "c"));
}
