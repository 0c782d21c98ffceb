//! What payer and provider send to a channel.

use cocoon_api::NanoTon;
use cocoon_api::units::UnitError;

use super::{ChannelParams, RENT_RESERVE, nano};
use crate::cells::Layout;
use crate::message::InternalMessage;
use crate::{Address, Cell, SignedVoucher};

/// First 32 bits of a redeem's body, by which it is recognised among a wallet's payments.
pub const OP_REDEEM: u32 = 0x4354_0002;

const OP_TOP_UP: u32 = 0x4354_0001;
const OP_CLOSE: u32 = 0x4354_0003;
const OP_SETTLE: u32 = 0x4354_0004;
const OP_REFUND: u32 = 0x4354_0005;

/// Added to a deposit so that the deposit itself arrives whole. A top-up burns about 0.0002 TON of gas; ten times
/// that covers prices as they were before 2026. The rest stays in the deposit.
pub const DEPOSIT_ALLOWANCE: NanoTon = nano(2_000_000);

/// Attached to a redeem; what the fees (about 0.0005 TON) leave comes back with the claim. The contract asks for
/// its upper bound at the prices of the chain; this is twenty times that bound.
pub const REDEEM_VALUE: NanoTon = nano(10_000_000);

/// Attached to a close; what the fees leave comes back.
pub const CLOSE_VALUE: NanoTon = nano(10_000_000);

/// Attached to a settle or refund; what the fees leave comes back.
pub const SETTLE_VALUE: NanoTon = nano(10_000_000);

/// Deploys the channel with at least `deposit` to claim from. From the payer's wallet.
///
/// Attaches the rent reserve and [`DEPOSIT_ALLOWANCE`] on top. Safe to send twice: the second one is a top-up.
pub fn deploy_and_fund(
    params: &ChannelParams,
    deposit: NanoTon,
    query_id: u64,
) -> Result<InternalMessage, UnitError> {
    let init = params.state_init();
    let value = NanoTon::sum([deposit, RENT_RESERVE, DEPOSIT_ALLOWANCE])?;
    Ok(InternalMessage {
        init: Some(init),
        ..message(params.address(), value, plain(OP_TOP_UP, query_id))
    })
}

/// Adds at least `deposit`. From anyone; from the payer it also opens a closed channel again.
pub fn top_up(channel: Address, deposit: NanoTon, query_id: u64) -> Result<InternalMessage, UnitError> {
    let value = deposit.checked_add(DEPOSIT_ALLOWANCE)?;
    Ok(message(channel, value, plain(OP_TOP_UP, query_id)))
}

/// Claims `claim` nanoTON in total since the channel's first day. From the provider's wallet.
///
/// Pays what `claim` exceeds the redeemed total by, so it may be sent again until the channel shows it.
pub fn redeem(voucher: &SignedVoucher, claim: NanoTon, query_id: u64) -> InternalMessage {
    let body = Layout::new()
        .uint(u64::from(OP_REDEEM), 32)
        .uint(query_id, 64)
        .bytes(&voucher.signature.0)
        .coins(voucher.voucher.cap)
        .uint(u64::from(voucher.voucher.valid_until), 32)
        .uint(u64::from(voucher.voucher.epoch), 32)
        .coins(claim)
        .build();
    message(voucher.voucher.channel, REDEEM_VALUE, body)
}

/// Starts the challenge window. From the payer's wallet.
pub fn close(channel: Address, query_id: u64) -> InternalMessage {
    message(channel, CLOSE_VALUE, plain(OP_CLOSE, query_id))
}

/// Ends the challenge window once it is over: the remainder goes to the payer. From anyone.
pub fn settle(channel: Address, query_id: u64) -> InternalMessage {
    message(channel, SETTLE_VALUE, plain(OP_SETTLE, query_id))
}

/// Gives the remainder back to the payer at once. From the provider's wallet.
pub fn refund(channel: Address, query_id: u64) -> InternalMessage {
    message(channel, SETTLE_VALUE, plain(OP_REFUND, query_id))
}

fn plain(op: u32, query_id: u64) -> Cell {
    Layout::new().uint(u64::from(op), 32).uint(query_id, 64).build()
}

/// Bounceable, so that the value of a refused operation comes back.
fn message(channel: Address, value: NanoTon, body: Cell) -> InternalMessage {
    InternalMessage {
        destination: channel,
        value,
        bounce: true,
        init: None,
        body: Some(body),
    }
}
