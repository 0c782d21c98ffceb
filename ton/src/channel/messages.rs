//! What payer and provider send to a channel.

use cocoon_api::NanoTon;
use cocoon_api::units::UnitError;

use super::fees::{RENT_RESERVE, nano};
use super::params::ChannelParams;
use crate::cells::{Fields, Layout};
use crate::message::InternalMessage;
use crate::{Address, Cell, SignedVoucher};

/// First 32 bits of a redeem's body, by which it is recognised among a wallet's payments.
pub const OP_REDEEM: u32 = 0x4354_0002;

const OP_TOP_UP: u32 = 0x4354_0001;
const OP_CLOSE: u32 = 0x4354_0003;
const OP_SETTLE: u32 = 0x4354_0004;
const OP_REFUND: u32 = 0x4354_0005;
const OP_CLAIM_PAID: u32 = 0x4354_0011;
const OP_DEPOSIT_RETURNED: u32 = 0x4354_0012;
const OP_EXCESSES: u32 = 0xD532_76DB;

/// The receipts root of a claim that commits to no receipts.
pub const NO_RECEIPTS: [u8; 32] = [0; 32];

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

/// Adds at least `deposit`. From anyone; from the payer it also opens a channel that is closing or closed.
pub fn top_up(channel: Address, deposit: NanoTon, query_id: u64) -> Result<InternalMessage, UnitError> {
    let value = deposit.checked_add(DEPOSIT_ALLOWANCE)?;
    Ok(message(channel, value, plain(OP_TOP_UP, query_id)))
}

/// What a provider asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What the payer promised: the channel, the epoch and the most that may be claimed.
    pub voucher: SignedVoucher,
    /// In total since the channel's first day.
    pub total: NanoTon,
    /// Commits the provider to the receipts that make up the total; [`NO_RECEIPTS`] where it does not. The contract
    /// ignores it.
    pub receipts_root: [u8; 32],
}

impl Claim {
    /// A claim that commits to no receipts.
    pub fn new(voucher: SignedVoucher, total: NanoTon) -> Self {
        Self {
            voucher,
            total,
            receipts_root: NO_RECEIPTS,
        }
    }

    /// `Claim` in `contracts/messages.tolk`.
    fn append_to(&self, body: Layout) -> Layout {
        let voucher = &self.voucher.voucher;
        let signed = Layout::new()
            .bytes(&self.voucher.signature.0)
            .coins(voucher.cap)
            .uint(u64::from(voucher.valid_until), 32)
            .uint(u64::from(voucher.epoch), 32)
            .build();
        body.coins(self.total)
            .bytes(&self.receipts_root)
            .reference(&signed)
    }
}

/// Claims a total. From the provider's wallet or its claimer's; the money goes to the provider.
///
/// Pays what the total exceeds the redeemed one by, so it may be sent again until the channel shows it.
pub fn redeem(claim: &Claim, query_id: u64) -> InternalMessage {
    let body = claim.append_to(operation(OP_REDEEM, query_id)).build();
    message(claim.voucher.voucher.channel, REDEEM_VALUE, body)
}

/// Starts the challenge window. From the payer's wallet.
pub fn close(channel: Address, query_id: u64) -> InternalMessage {
    message(channel, CLOSE_VALUE, plain(OP_CLOSE, query_id))
}

/// Ends the challenge window once it is over: the remainder goes to the payer. From anyone.
pub fn settle(channel: Address, query_id: u64) -> InternalMessage {
    message(channel, SETTLE_VALUE, plain(OP_SETTLE, query_id))
}

/// Pays the last claim, where there is one, and gives the remainder back to the payer at once: the end of `epoch`. From
/// the provider's own wallet. In another epoch, or with a claim that is not paid, nothing happens at all.
pub fn refund(channel: Address, epoch: u32, last: Option<&Claim>, query_id: u64) -> InternalMessage {
    let body = operation(OP_REFUND, query_id).uint(u64::from(epoch), 32);
    let body = match last {
        Some(last) => last.append_to(body.bit(true)),
        None => body.bit(false),
    };
    message(channel, SETTLE_VALUE, body.build())
}

/// What a channel sends along with money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payout {
    /// To the provider: a claim was paid.
    ClaimPaid {
        /// Of the operation that claimed it.
        query_id: u64,
        /// The channel's epoch.
        epoch: u32,
        /// Paid since the first day, this claim included.
        redeemed: NanoTon,
    },
    /// To the payer: the rest of the deposit came back.
    DepositReturned {
        /// Of the operation that settled the channel.
        query_id: u64,
        /// The epoch that ended.
        epoch: u32,
        /// Paid to the provider since the first day.
        redeemed: NanoTon,
    },
    /// To whoever sent an operation: what its fees left of the attached value.
    Excesses {
        /// Of that operation.
        query_id: u64,
    },
}

impl Payout {
    /// Reads the body of a message from a channel; none where it is none of the contract's. Who sent it is for the
    /// caller to check: anybody can write such a body.
    pub fn parse(body: &Cell) -> Option<Self> {
        let mut fields = Fields::new(body, "payout");
        let op = fields.u32().ok()?;
        let query_id = fields.uint(64).ok()?;
        if op == OP_EXCESSES {
            return Some(Self::Excesses { query_id });
        }
        let epoch = fields.u32().ok()?;
        let redeemed = fields.coins().ok()?;
        match op {
            OP_CLAIM_PAID => Some(Self::ClaimPaid {
                query_id,
                epoch,
                redeemed,
            }),
            OP_DEPOSIT_RETURNED => Some(Self::DepositReturned {
                query_id,
                epoch,
                redeemed,
            }),
            _ => None,
        }
    }
}

fn plain(op: u32, query_id: u64) -> Cell {
    operation(op, query_id).build()
}

fn operation(op: u32, query_id: u64) -> Layout {
    Layout::new().uint(u64::from(op), 32).uint(query_id, 64)
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
