//! Claims against the chain as it is now: what a plan made from stored figures may say is checked once more, right
//! before it is signed.

use std::time::Duration;

use cocoon_api::{
    NanoTon,
    crd::{PaymentChannel, settlement::Redeem},
};
use cocoon_core::{
    funds::{self, Escrow, Payee, Sight, Stage},
    settlement::Candidate,
};
use cocoon_ton::SignedVoucher;
use tokio::time::Instant;

use crate::{
    chain::{Chain, ChainError},
    channel::{observe::sight, validate::signed_voucher},
};

/// Seconds that a voucher or a challenge window must still last, so that the message has a chance to arrive.
const LEAST_SECONDS: u32 = 30;

/// Seconds between the end of the message's validity and that of a voucher or window: the claim takes two more blocks.
const HOP_SECONDS: u32 = 10;

/// How long claims are checked for one message: a third of the 90 s for which it is valid from the time that was read
/// before, so that what a slow endpoint answers is not signed only to expire. What was not reached is in the next
/// message.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

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
    /// Checks a candidate against the chain at `time`. `Err` says why it would not be paid; the controller of the
    /// channel learns the same at its next look.
    pub async fn check(
        candidate: Candidate,
        channel: &PaymentChannel,
        chain: &Chain,
        payee: &Payee,
        time: u32,
    ) -> Result<Result<Self, String>, ChainError> {
        let status = channel.status.as_ref();
        let kept = status.and_then(|status| funds::evidence(status, i64::from(time)));
        let signed = kept.and_then(|kept| signed_voucher(&channel.spec, kept, chain.network()));
        let Some((voucher, payer_key)) = signed else {
            return Ok(Err(
                "no voucher is kept for it, or the voucher, the key or the contract's address is malformed"
                    .to_owned(),
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
        if escrow.payer_key != channel.spec.payer_public_key {
            return Ok(Err("the contract names another payer key".to_owned()));
        }
        if let Err(foreign) = payee.owns(&escrow) {
            return Ok(Err(foreign.to_string()));
        }
        Ok(payable(candidate, &escrow, voucher, time))
    }
}

/// Carries out checks one by one, the most urgent first, until [`CHECK_LIMIT`] is over.
pub(super) async fn in_time<T, C>(checks: impl Iterator<Item = C>) -> Result<Vec<T>, ChainError>
where
    C: Future<Output = Result<T, ChainError>>,
{
    let started = Instant::now();
    let mut done = Vec::new();
    for check in checks {
        done.push(check.await?);
        if started.elapsed() >= CHECK_LIMIT {
            break;
        }
    }
    Ok(done)
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

#[cfg(test)]
mod tests {
    use cocoon_core::settlement::VALID_SECONDS;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_endpoint_leads_to_fewer_claims_and_never_to_a_message_that_is_over() {
        let started = Instant::now();
        let checks = (0..100).map(async |number| {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(number)
        });
        let done: Vec<i32> = in_time(checks).await.unwrap();
        assert_eq!(done, (0..15).collect::<Vec<_>>());
        assert!(started.elapsed() < Duration::from_secs(u64::from(VALID_SECONDS) / 2));
    }
}
