//! How an ended job's cost stands, as its channel tells: paid, or what it still waits for.

use cocoon_api::{
    NanoTon,
    conditions::{Observation, Reason as _, Settled},
    crd::{PaymentChannel, PaymentChannelStatus},
    units::UnitError,
};

use super::{
    candidate::pays,
    decide::least_urgent,
    policy::{Policy, REDEEM_FEE},
};
use crate::{funds, ledger};

/// What is known of an ended job's payment.
#[derive(Debug, Clone, Copy)]
pub struct Dues<'a> {
    /// The channel that pays.
    pub channel: &'a PaymentChannel,
    /// What was metered on the channel in all when the job's last usage was; where that is not known, the job counts as
    /// paid once everything is.
    pub settles_at: Option<NanoTon>,
    /// When its provider settles; none where that is not known.
    pub policy: Option<&'a Policy>,
    /// Unix seconds.
    pub now: i64,
}

/// Says whether the channel has paid the job, and otherwise what that waits for and what would change it.
///
/// Claims are cumulative: once as much was redeemed as was metered at the job's end, the job is paid, whichever
/// settlement did it.
pub fn outlook(dues: &Dues<'_>) -> Result<Observation, UnitError> {
    let Dues {
        channel,
        settles_at,
        policy,
        now,
    } = dues;
    let name = channel.metadata.name.as_deref().unwrap_or_default();
    let status = channel.status.clone().unwrap_or_default();
    let accrued = ledger::accrued(&status)?;
    if status.redeemed_nano >= settles_at.unwrap_or(accrued) {
        return Ok(Settled::Paid.condition(format!(
            "channel {name} has paid everything that was metered on it up to the end of this job"
        )));
    }
    let unpaid = accrued.saturating_sub(status.redeemed_nano);
    let claimed = funds::claim(&status, *now)?;
    let fee = policy.map_or(REDEEM_FEE, |policy| policy.redeem_fee);
    let allowed = policy.is_some_and(|policy| policy.max_fee_ratio.allows(fee, unpaid));
    if unpaid <= fee || (unpaid < least_urgent(fee) && !allowed) {
        return Ok(below_fee(name, unpaid, fee));
    }
    if claimed < accrued || !funds::redeemable(&status, *now) {
        return Ok(Settled::Pending.condition(uncovered(name, &status, claimed)));
    }
    let Some(policy) = policy else {
        let home = channel.metadata.namespace.as_deref().unwrap_or_default();
        let provider = pays(channel).seen_from(home);
        return Ok(Settled::Pending.condition(format!(
            "waits until it is known when CocoonProvider {provider} settles"
        )));
    };
    if !policy.max_fee_ratio.allows(fee, unpaid) {
        return Ok(below_ratio(name, unpaid, policy));
    }
    Ok(Settled::Pending.condition(format!(
        "waits for the provider's next settlement: at {} TON over all its channels, or when the oldest amount is {} s old",
        policy.threshold.to_ton_string(),
        policy.max_age
    )))
}

/// A claim of which the fee takes more than half is never made, not even when the channel closes.
fn below_fee(name: &str, unpaid: NanoTon, fee: NanoTon) -> Observation {
    Settled::BelowFee.condition(format!(
        "{} TON are metered on channel {name} and not paid; a claim costs up to {} TON and is made only for twice as much: \
         later jobs on the channel have it paid with theirs, and if the channel is closed or deleted before, it is given up",
        unpaid.to_ton_string(),
        fee.to_ton_string()
    ))
}

fn below_ratio(name: &str, unpaid: NanoTon, policy: &Policy) -> Observation {
    let enough = policy.max_fee_ratio.least(policy.redeem_fee).map_or_else(
        || "maxFeeRatio 0 allows no fee".to_owned(),
        |least| {
            format!(
                "from {} TON on the fee is within the provider's maxFeeRatio",
                least.to_ton_string()
            )
        },
    );
    Settled::BelowFee.condition(format!(
        "{} TON are metered on channel {name} and not paid, and {enough}: it is paid together with later jobs, or when the \
         voucher runs out, or when the channel closes or is deleted",
        unpaid.to_ton_string()
    ))
}

fn uncovered(name: &str, status: &PaymentChannelStatus, claimed: NanoTon) -> String {
    let claimable = claimed.saturating_sub(status.redeemed_nano);
    format!(
        "channel {name} does not cover all that is metered on it now: {} TON can be claimed; see its conditions",
        claimable.to_ton_string()
    )
}
