//! A contract whose object, and whose cluster, are gone.

use std::time::Duration;

use clap::Parser;
use cocoon_api::NanoTon;
use cocoon_ton::{ChannelParams, ChannelStatus, EndpointConfig, Network, Quorum, SecretKey};
use tempfile::TempDir;
use testbed_chain::testing::{LocalNetwork, Options};

use super::*;
use crate::{
    chain::{escrow::salt, outbox::Outbox},
    channel::show,
};

const SEED: [u8; 32] = [5; 32];

#[derive(Parser)]
struct CloseLine {
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    cluster: kubernetes::Arguments,
}

#[derive(Parser)]
struct ShowLine {
    #[command(flatten)]
    arguments: show::Arguments,
    #[command(flatten)]
    cluster: kubernetes::Arguments,
}

struct World {
    network: LocalNetwork,
    folder: TempDir,
    chain: Chain,
    payer: Payer,
    address: Address,
}

impl World {
    /// A channel that is open on the chain and that no cluster knows.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let network = LocalNetwork::start(Options {
            block_interval: Some(Duration::from_millis(20)),
            ..Options::default()
        })
        .expect("a network");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), hex::encode(SEED)).expect("a key file");
        let payer = Payer::new(SecretKey::from_seed(&SEED), &Network::TESTBED);
        let wallet = payer.wallet.address();
        network.fund(&wallet.to_string(), 5_000_000_000).expect("funds");
        let endpoints = [EndpointConfig::open(network.base_url())];
        let quorum = Quorum::new(Network::TESTBED, &endpoints).expect("usable");
        let outbox = Outbox::new(folder.path().to_owned());
        let chain = Chain::connect(quorum, outbox)
            .await
            .expect("the testbed's network");
        let params = ChannelParams {
            payer_key: payer.wallet.public_key(),
            payer: wallet,
            provider: wallet,
            claimer: wallet,
            challenge_period: 3_600,
            salt: salt("gone", "gone"),
        };
        let deposit = NanoTon::parse_ton("1").expect("TON");
        chain.open(&payer, &params, deposit).await.expect("opens");
        Self {
            network,
            folder,
            chain,
            payer,
            address: params.address(),
        }
    }

    fn line<'a>(&'a self, contract: &'a str, endpoint: &'a str) -> Vec<&'a str> {
        let folder = self.folder.path().to_str().expect("text");
        vec![
            "channel",
            contract,
            "--endpoint",
            endpoint,
            "--state",
            folder,
            "--kubeconfig",
            "/nowhere/kubeconfig",
        ]
    }

    async fn status(&self) -> ChannelStatus {
        self.chain.channel(&self.address).await.expect("a channel").status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_closed_by_its_address_without_a_cluster() {
    let world = World::start().await;
    let (endpoint, key) = (world.network.base_url(), world.folder.path().join("key"));
    let addresses = [
        world.address.friendly(&Network::TESTBED, true),
        world.address.to_string(),
    ];
    for (contract, after) in addresses.iter().zip([
        |status| matches!(status, ChannelStatus::Closing { .. }),
        |status| status == ChannelStatus::Closed,
    ]) {
        let mut line = world.line(contract, &endpoint);
        line.extend(["--key-file", key.to_str().expect("text"), "--network", "testbed"]);
        let CloseLine { arguments, cluster } = CloseLine::try_parse_from(line).expect("parses");
        run(arguments, cluster).await.expect("the next step");
        assert!(
            after(world.status().await),
            "{contract}: {:?}",
            world.status().await
        );
        world.network.advance(3_600).expect("time passes");
    }
    assert!(world.payer.wallet.address() != world.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_shown_by_its_address_without_a_cluster() {
    let world = World::start().await;
    let (endpoint, contract) = (
        world.network.base_url(),
        world.address.friendly(&Network::TESTBED, true),
    );
    for output in ["table", "json"] {
        let mut line = world.line(&contract, &endpoint);
        line.extend(["--network", "testbed", "--output", output]);
        let ShowLine { arguments, cluster } = ShowLine::try_parse_from(line).expect("parses");
        show::run(arguments, cluster).await.expect("shown");
    }
    // An address alone does not say on which network it is meant.
    let ShowLine { arguments, cluster } =
        ShowLine::try_parse_from(world.line(&contract, &endpoint)).expect("parses");
    let error = show::run(arguments, cluster).await.expect_err("which network");
    assert!(error.to_string().contains("--network"), "{error}");
}

#[test]
fn addresses_are_told_from_names() {
    for name in ["payer", "payer-1", "my.channel", "0", "eq"] {
        assert!(!object::is_address(name), "{name}");
    }
    let address = Address {
        workchain: 0,
        account: [7; 32],
    };
    for network in [Network::MAINNET, Network::TESTBED] {
        for bounceable in [true, false] {
            assert!(object::is_address(&address.friendly(&network, bounceable)));
        }
    }
    assert!(object::is_address(&address.to_string()));
}
