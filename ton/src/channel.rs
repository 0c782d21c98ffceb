//! The payment channel contract: its address, the messages it takes and the state it shows.
//!
//! `contracts/README.md` is the specification; layouts here follow `contracts/*.tolk` field by field.

mod messages;
mod state;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cocoon_api::NanoTon;
use serde::Deserialize;

pub use messages::{
    CLOSE_VALUE, Claim, DEPOSIT_ALLOWANCE, NO_RECEIPTS, OP_REDEEM, Payout, REDEEM_VALUE, SETTLE_VALUE, close,
    deploy_and_fund, redeem, refund, settle, top_up,
};
pub use state::{ChannelState, ChannelStatus, StackEntry, StackError};

use crate::cells::Layout;
use crate::message::StateInit;
use crate::{Address, Cell, PublicKey, cell_hash, decode_boc};

/// Stays in the channel for its storage and is never paid out; `RENT_RESERVE` in `contracts/fees.tolk`.
pub const RENT_RESERVE: NanoTon = nano(20_000_000);

/// Smallest step of one redeem; `MIN_STEP` in `contracts/fees.tolk`.
pub const MIN_STEP: NanoTon = nano(1_000);

/// Shortest challenge window, in seconds; `MIN_CHALLENGE` in `contracts/fees.tolk`.
pub const MIN_CHALLENGE: u32 = 60;

/// Longest challenge window, in seconds; `MAX_CHALLENGE` in `contracts/fees.tolk`.
pub const MAX_CHALLENGE: u32 = 30 * 86_400;

const fn nano(value: u64) -> NanoTon {
    match NanoTon::from_nano(value) {
        Ok(amount) => amount,
        Err(_) => panic!("a constant amount is out of range"),
    }
}

/// Exit codes of the contract, as `contracts/errors.tolk` names them.
pub mod exit_code {
    /// The sender is neither the provider nor, for a redeem, its claimer.
    pub const NOT_PROVIDER: i32 = 401;
    /// The sender is not the payer.
    pub const NOT_PAYER: i32 = 402;
    /// The voucher was not signed by the payer for this network, channel, cap, validity and epoch.
    pub const BAD_SIGNATURE: i32 = 410;
    /// The voucher's last second is over.
    pub const VOUCHER_EXPIRED: i32 = 411;
    /// The voucher belongs to another epoch.
    pub const WRONG_EPOCH: i32 = 412;
    /// The claim exceeds the voucher's cap.
    pub const CLAIM_ABOVE_CAP: i32 = 420;
    /// The claim is not above what was redeemed by [`super::MIN_STEP`].
    pub const STEP_TOO_SMALL: i32 = 421;
    /// The deposit does not cover the step.
    pub const CANNOT_PAY: i32 = 422;
    /// The channel is closing or closed.
    pub const NOT_OPEN: i32 = 430;
    /// There is no challenge window to end.
    pub const NOT_CLOSING: i32 = 431;
    /// The channel is closed.
    pub const CLOSED: i32 = 432;
    /// The challenge window is over: nothing can be redeemed any more.
    pub const WINDOW_OVER: i32 = 433;
    /// The challenge window is not over yet.
    pub const WINDOW_RUNNING: i32 = 434;
    /// The attached value does not cover the operation's fees.
    pub const VALUE_TOO_SMALL: i32 = 440;
    /// The body is no operation of this contract.
    pub const WRONG_OP: i32 = 0xFFFF;

    /// What an exit code of the channel means, for people.
    pub fn describe(code: i32) -> &'static str {
        match code {
            0 | 1 => "success",
            -14 => "out of gas",
            NOT_PROVIDER => "the sender is neither the channel's provider nor its claimer",
            NOT_PAYER => "the sender is not the channel's payer",
            BAD_SIGNATURE => "the voucher is not signed by the payer for this network, channel and epoch",
            VOUCHER_EXPIRED => "the voucher expired",
            WRONG_EPOCH => "the voucher belongs to another epoch of the channel",
            CLAIM_ABOVE_CAP => "the claim exceeds the voucher's cap",
            STEP_TOO_SMALL => "the claim is not above what was redeemed before",
            CANNOT_PAY => "the deposit does not cover the claim",
            NOT_OPEN => "the channel is not open",
            NOT_CLOSING => "the channel is not closing",
            CLOSED => "the channel is closed",
            WINDOW_OVER => "the challenge window is over",
            WINDOW_RUNNING => "the challenge window is not over yet",
            VALUE_TOO_SMALL => "the attached value does not cover the fees",
            WRONG_OP => "the contract knows no such operation",
            _ => "unknown exit code",
        }
    }
}

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
    let artifact: Artifact = serde_json::from_str(include_str!("../../contracts/build/channel.json"))
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
    /// May redeem beside the provider, and gets nothing but what is left of its fees; the provider itself where it keeps
    /// no key apart for claims.
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

#[cfg(test)]
mod tests;
