//! The payment channel contract: its address, the messages it takes and the state it shows.
//!
//! `contracts/README.md` is the specification; layouts here follow `contracts/*.tolk` field by field.

mod fees;
mod messages;
mod params;
mod state;

pub use fees::{MAX_CHALLENGE, MIN_CHALLENGE, MIN_STEP, RENT_RESERVE};
pub use messages::{
    CLOSE_VALUE, Claim, DEPOSIT_ALLOWANCE, NO_RECEIPTS, OP_REDEEM, Payout, REDEEM_VALUE, SETTLE_VALUE, close,
    deploy_and_fund, redeem, refund, settle, top_up,
};
pub use params::{ChannelParams, code_hash};
pub use state::{ChannelState, ChannelStatus, StackEntry, StackError};

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

#[cfg(test)]
mod tests;
