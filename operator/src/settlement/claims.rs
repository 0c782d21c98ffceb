//! Claims against the chain as it is now: what a plan made from stored figures may say is checked once more, right
//! before it is signed.

use cocoon_api::{
    NanoTon,
    crd::{PaymentChannel, settlement::Redeem},
};
use cocoon_core::{
    funds::{Escrow, Sight, Stage},
    settlement::Candidate,
};
use cocoon_ton::{Address, SignedVoucher};

use crate::{
    chain::{Chain, ChainError},
    channel::{observe::sight, validate::signed_voucher},
};

/// Seconds that a voucher or a challenge window must still last, so that the message has a chance to arrive.
const LEAST_SECONDS: u32 = 30;

/// Seconds between the end of the message's validity and that of a voucher or window: the claim takes two more blocks.
const HOP_SECONDS: u32 = 10;

/// A claim that the chain would pay now.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The claim as a settlement stores it.
    pub redeem: Redeem,
    /// The voucher that allows it.
    pub voucher: SignedVoucher,
    /// Last second at which the wallet may take a message with it.
    pub take_until: u32,
}

impl Claim {
    /// Checks a candidate against the chain at `time`. `Err` says why it would not be paid; the controller of the channel
    /// learns the same at its next look.
    pub async fn check(
        candidate: Candidate,
        channel: &PaymentChannel,
        chain: &Chain,
        payee: &Address,
        time: u32,
    ) -> Result<Result<Self, String>, ChainError> {
        let Some((voucher, payer_key)) = signed_voucher(&channel.spec, chain.network()) else {
            return Ok(Err(
                "the voucher, the key or the contract's address is malformed".to_owned()
            ));
        };
        let seen = sight(chain, &voucher.voucher.channel).await?;
        let Sight::Escrow(escrow) = seen else {
            return Ok(Err("the chain shows no payment channel".to_owned()));
        };
        let needed_until = time.saturating_add(LEAST_SECONDS);
        if let Err(error) = voucher.check(&payer_key, escrow.epoch, needed_until, NanoTon::ZERO) {
            return Ok(Err(error.to_string()));
        }
        if escrow.provider != payee.to_string() || escrow.payer_key != channel.spec.payer_public_key {
            return Ok(Err("the contract names another payer key or provider".to_owned()));
        }
        Ok(payable(candidate, &escrow, voucher, time))
    }
}

fn payable(
    candidate: Candidate,
    escrow: &Escrow,
    voucher: SignedVoucher,
    time: u32,
) -> Result<Claim, String> {
    let until = match escrow.stage {
        Stage::Open => voucher.voucher.valid_until,
        Stage::Closing { deadline } => voucher.voucher.valid_until.min(deadline),
        Stage::Closed => return Err("the channel is closed".to_owned()),
    };
    if until < time.saturating_add(LEAST_SECONDS) {
        return Err(format!("the challenge window ends at {until}, too soon to claim"));
    }
    if escrow.redeemed != candidate.redeemed {
        return Err(format!(
            "the chain shows {} nanoTON redeemed, the ledger {}",
            escrow.redeemed, candidate.redeemed
        ));
    }
    if candidate.claim > voucher.voucher.cap {
        return Err(format!(
            "the claim of {} nanoTON exceeds the voucher's cap",
            candidate.claim
        ));
    }
    if candidate.step() > escrow.available {
        return Err(format!(
            "the deposit of {} nanoTON does not cover the claim",
            escrow.available
        ));
    }
    Ok(Claim {
        redeem: candidate.redeem(),
        voucher,
        take_until: until - HOP_SECONDS,
    })
}
