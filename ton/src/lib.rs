//! TON for Cocoon: what is signed, what is sent and what the chain says about it.
//!
//! The pure half makes and checks bytes and performs no I/O: [`address`], [`key`], [`message`], [`wallet`] (v5r1),
//! [`voucher`], [`certificate`], [`channel`], [`transaction`], [`on_chain`] and [`sender`]. It is all there is without
//! the feature `client`, so that decisions can be made in its types by code that must not wait, read a clock or open a
//! connection.
//!
//! The other half asks. `client` and `reader` ask one toncenter v2 endpoint and treat every answer as hostile: sizes
//! are bounded, shapes are checked, and nothing is believed about payment but the state of the channel contract.
//! `quorum` asks several of them, and believes what a majority says.
//!
//! The contract itself is specified in `contracts/README.md`.
//!
//! # A payer opens a channel and signs a voucher
//!
//! ```no_run
//! use cocoon_api::NanoTon;
//! use cocoon_ton::wallet::SendMode;
//! use cocoon_ton::{ChainClient, ChannelParams, ChannelReader, Network, SecretKey, Signer, Voucher, Wallet, channel};
//!
//! # async fn example(secret: &str, provider: cocoon_ton::Address) -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::TESTBED;
//! let reader = ChannelReader::new(ChainClient::new(&network, "http://127.0.0.1:18081/api/v2", None)?);
//! reader.client().check_network(&network).await?;
//!
//! let key = SecretKey::parse(secret)?;
//! let wallet = Wallet::new(key.public_key(), &network);
//! let params = ChannelParams {
//!     payer_key: key.public_key(),
//!     payer: wallet.address(),
//!     provider,
//!     claimer: provider,
//!     challenge_period: 3_600,
//!     salt: 0,
//! };
//! let deposit = NanoTon::from_nano(1_000_000_000)?;
//! let message = channel::deploy_and_fund(&params, deposit, 0)?;
//!
//! let seqno = reader.wallet_seqno(&wallet.address()).await?;
//! let valid_until = reader.client().head().await?.time + 60;
//! let signed = wallet.transfer(seqno, valid_until, &[(SendMode::ExactValue, message)])?.sign(&key)?;
//! // Persist `signed.boc` here: these bytes, and no others, may be sent until `valid_until` has passed.
//! reader.client().send_boc(&signed.boc).await?;
//!
//! let voucher = Voucher {
//!     global_id: network.global_id(),
//!     channel: params.address(),
//!     cap: NanoTon::from_nano(200_000_000)?,
//!     valid_until: valid_until + 86_400,
//!     epoch: 0,
//! };
//! let signature = voucher.sign(&key)?.signature.to_string();
//! # let _ = signature;
//! # Ok(())
//! # }
//! ```
//!
//! # A provider redeems, and believes nothing but the channel
//!
//! ```no_run
//! # use cocoon_api::NanoTon;
//! # use cocoon_ton::wallet::SendMode;
//! # use cocoon_ton::{ChannelOnChain, ChannelReader, SecretKey, SignedVoucher, Wallet, channel};
//! # async fn example(
//! #     reader: ChannelReader, wallet: Wallet, key: SecretKey, voucher: SignedVoucher, claim: NanoTon,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let seqno = reader.wallet_seqno(&wallet.address()).await?;
//! let started = reader.client().head().await?.time;
//! let redeem = (SendMode::ExactValue, channel::redeem(&channel::Claim::new(voucher, claim), 0));
//! let signed = wallet.transfer(seqno, started + 90, &[redeem])?.sign(&key)?;
//! reader.client().send_boc(&signed.boc).await?;
//!
//! // Later, as often as it takes. Did the wallet send it, and did the channel pay it?
//! let found = reader.find_transaction_by_message_hash(&wallet.address(), &signed.hash, started).await?;
//! let left = found.is_some_and(|transaction| {
//!     let mut payments = transaction.payments().into_iter();
//!     payments.any(|payment| payment.destination == voucher.voucher.channel && payment.op == Some(channel::OP_REDEEM))
//! });
//! let paid = match reader.state(&voucher.voucher.channel).await? {
//!     ChannelOnChain::Channel { state, .. } => state.redeemed >= claim,
//!     _ => false,
//! };
//! # let _ = (left, paid);
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod binding;
mod cells;
pub mod certificate;
pub mod channel;
#[cfg(feature = "client")]
pub mod client;
pub mod key;
pub mod message;
mod mnemonic;
pub mod network;
pub mod on_chain;
pub mod prices;
#[cfg(feature = "client")]
pub mod quorum;
#[cfg(feature = "client")]
pub mod reader;
pub mod sender;
pub mod transaction;
pub mod voucher;
pub mod wallet;

pub use address::Address;
pub use binding::Binding;
pub use cells::{Cell, CellError, MAX_BOC_BYTES, cell_hash, decode_boc, encode_boc};
pub use certificate::Certificate;
pub use channel::{ChannelParams, ChannelState, ChannelStatus};
#[cfg(feature = "client")]
pub use client::{ApiKey, ChainClient, ClientError};
pub use key::{PublicKey, SecretKey, Signature, Signer};
pub use mnemonic::Phrase;
pub use network::Network;
pub use on_chain::{ChannelOnChain, Found, WalletOnChain};
pub use prices::Prices;
#[cfg(feature = "client")]
pub use quorum::{EndpointConfig, Quorum, QuorumError, Reading};
#[cfg(feature = "client")]
pub use reader::ChannelReader;
pub use voucher::{SignedVoucher, Voucher};
pub use wallet::{SignedMessage, Wallet};
