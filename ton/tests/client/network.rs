//! A network in the test's own process, blocks made on request.

use cocoon_api::NanoTon;
use cocoon_ton::message::InternalMessage;
use cocoon_ton::wallet::SendMode;
use cocoon_ton::{Address, ChainClient, ChannelReader, Network, SecretKey, SignedMessage, Signer, Wallet};
use testbed_chain::testing::{LocalNetwork, Options};

/// Blocks after which a message and all that it causes are over: wallet, channel, receiver, and a bounce.
const BLOCKS_PER_MESSAGE: usize = 5;

/// What each wallet starts with.
pub const FUNDS: u64 = 10_000_000_000;

pub struct Local {
    pub chain: LocalNetwork,
    pub reader: ChannelReader,
    pub key: SecretKey,
    pub wallet: Wallet,
}

pub fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).expect("in range")
}

impl Local {
    /// A network with one funded wallet that is not deployed yet.
    pub fn start() -> Self {
        let options = Options {
            block_interval: None,
            ..Options::default()
        };
        let chain = LocalNetwork::start(options).expect("network");
        let client = ChainClient::new(&Network::TESTBED, &chain.base_url(), None).expect("client");
        let key = SecretKey::from_seed(&[1; 32]);
        let wallet = Wallet::new(key.public_key(), &Network::TESTBED);
        chain.fund(&wallet.address().to_string(), FUNDS).expect("funds");
        Self {
            chain,
            reader: ChannelReader::new(client),
            key,
            wallet,
        }
    }

    pub fn client(&self) -> &ChainClient {
        self.reader.client()
    }

    /// Signs a transfer with the seqno that the chain shows.
    pub async fn sign(&self, message: InternalMessage) -> SignedMessage {
        self.sign_all(vec![message]).await
    }

    async fn sign_all(&self, messages: Vec<InternalMessage>) -> SignedMessage {
        let seqno = self
            .reader
            .wallet_seqno(&self.wallet.address())
            .await
            .expect("seqno");
        let time = self.client().head().await.expect("head").time;
        let messages: Vec<_> = messages
            .into_iter()
            .map(|message| (SendMode::ExactValue, message))
            .collect();
        let unsigned = self
            .wallet
            .transfer(seqno, time + 60, &messages)
            .expect("transfer");
        unsigned.sign(&self.key).expect("signature")
    }

    /// Signs, broadcasts and waits until all effects are on the chain.
    pub async fn send(&self, message: InternalMessage) -> SignedMessage {
        self.send_all(vec![message]).await
    }

    /// Sends several messages in one transfer.
    pub async fn send_all(&self, messages: Vec<InternalMessage>) -> SignedMessage {
        let signed = self.sign_all(messages).await;
        self.client().send_boc(&signed.boc).await.expect("accepted");
        self.make_blocks();
        signed
    }

    pub fn make_blocks(&self) {
        for _ in 0..BLOCKS_PER_MESSAGE {
            self.chain.make_block().expect("block");
        }
    }
}

/// An address where nothing is.
pub fn nowhere() -> Address {
    Address {
        workchain: 0,
        account: [0xAB; 32],
    }
}
