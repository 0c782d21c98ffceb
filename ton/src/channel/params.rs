//! What makes a channel's address: its code, its two ends and its rules.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cocoon_api::NanoTon;
use serde::Deserialize;

use super::fees::{MAX_CHALLENGE, MIN_CHALLENGE};
use crate::cells::Layout;
use crate::message::StateInit;
use crate::{Address, Cell, PublicKey, cell_hash, decode_boc};

/// Written by `node contracts/build.mjs`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    code_hash: String,
    code_boc: String,
}

struct Code {
    cell: Cell,
    hash: [u8; 32],
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let artifact: Artifact = serde_json::from_str(include_str!("../../../contracts/build/channel.json"))
        .expect("the embedded channel artifact is JSON");
    let bytes = STANDARD
        .decode(artifact.code_boc)
        .expect("the embedded channel code is base64");
    let cell = decode_boc(&bytes).expect("the embedded channel code is a bag of cells");
    let hash = cell_hash(&cell).expect("the embedded channel code has a hash");
    assert_eq!(
        hex::encode(hash),
        artifact.code_hash,
        "the embedded channel code is not the one of its hash"
    );
    Code { cell, hash }
});

/// Hash of the channel's code. An account with other code is no channel, whatever its getters say.
pub fn code_hash() -> [u8; 32] {
    CODE.hash
}

/// The two ends of a channel and its rules. They make its address and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelParams {
    /// Key that signs vouchers.
    pub payer_key: PublicKey,
    /// Gets refunds; alone may close.
    pub payer: Address,
    /// Gets every claim that is paid; alone may refund.
    pub provider: Address,
    /// May redeem beside the provider, and gets nothing but what is left of its fees; the provider itself where it
    /// keeps no key apart for claims.
    pub claimer: Address,
    /// Seconds between close and settle, in which the provider may still redeem. A provider should refuse a
    /// channel whose period is shorter than what it needs to notice and redeem. The contract holds it to
    /// [`MIN_CHALLENGE`] and [`MAX_CHALLENGE`]: [`ChannelParams::challenge_window`].
    pub challenge_period: u32,
    /// Tells several channels of one pair apart.
    pub salt: u32,
}

impl ChannelParams {
    /// Code and first storage: open, epoch 0, nothing redeemed.
    pub fn state_init(&self) -> StateInit {
        let parties = Layout::new()
            .address(&self.payer)
            .address(&self.provider)
            .address(&self.claimer)
            .uint(u64::from(self.challenge_period), 32)
            .uint(u64::from(self.salt), 32)
            .build();
        let data = Layout::new()
            .uint(0, 8 + 32)
            .uint(0, 32)
            .coins(NanoTon::ZERO)
            .bytes(&self.payer_key.0)
            .reference(&parties)
            .build();
        StateInit {
            code: CODE.cell.clone(),
            data,
        }
    }

    /// Seconds that a close gives the provider, whatever [`ChannelParams::challenge_period`] says.
    pub fn challenge_window(&self) -> u32 {
        self.challenge_period.clamp(MIN_CHALLENGE, MAX_CHALLENGE)
    }

    /// The contract's address, the same on every network.
    pub fn address(&self) -> Address {
        self.state_init().address()
    }
}
