//! The payer's vouchers: which are kept as evidence, and whether the present one is good for new work.
//!
//! The specification is the payer's to change. What was verified once is copied into the status, signature included,
//! and claims are made with the copy.

use cocoon_api::{
    NanoTon,
    conditions::{self, Observation, Reason as _, VoucherValid},
    crd::{PaymentChannelSpec, PaymentChannelStatus, channel::Voucher},
};

use super::facts::{Signature, Terms};

/// Vouchers kept of one channel, one an epoch. An epoch lasts at least a challenge window, and only the present one can
/// be claimed: the others bridge readings that are late or false. `status.vouchers` takes as many.
pub const MAX_KEPT: usize = 8;

/// How long a voucher must still last to be claimed with: the 90 s for which a settlement's message is valid, and 30 s
/// until the chain shows its effect.
pub const MIN_VOUCHER_SECONDS: i64 = 120;

/// The kept vouchers with the present one, if that is genuine and no worse than what is kept of its epoch. `epoch` is
/// the contract's, as far as it is known; where there are too many, those farthest from it go.
pub(super) fn keep(
    spec: &PaymentChannelSpec,
    before: &PaymentChannelStatus,
    signature: Signature,
    epoch: u32,
    now: i64,
) -> Vec<Voucher> {
    let mut kept = before.vouchers.clone();
    let (Some(voucher), Signature::Genuine) = (&spec.voucher, signature) else {
        return kept;
    };
    match kept.iter_mut().find(|held| held.epoch == voucher.epoch) {
        Some(held) if is_no_worse(voucher, held) || has_ended(held, now) => held.clone_from(voucher),
        Some(_) => {}
        None => kept.push(voucher.clone()),
    }
    // Of two equally far, the later epoch goes: that of the past may still be the contract's where a reading was false.
    kept.sort_by_key(|held| (held.epoch.abs_diff(epoch), held.epoch));
    kept.truncate(MAX_KEPT);
    kept.sort_by_key(|held| held.epoch);
    kept
}

fn is_no_worse(voucher: &Voucher, held: &Voucher) -> bool {
    voucher.cap_nano >= held.cap_nano && voucher.valid_until >= held.valid_until
}

fn has_ended(voucher: &Voucher, now: i64) -> bool {
    i64::from(voucher.valid_until) <= now
}

/// The voucher that a claim at `now` is made with: the kept one of the contract's epoch, while it is valid.
pub fn evidence(status: &PaymentChannelStatus, now: i64) -> Option<&Voucher> {
    let epoch = status.epoch?;
    status
        .vouchers
        .iter()
        .find(|held| held.epoch == epoch && !has_ended(held, now))
}

/// What the present voucher is judged by.
pub(super) struct Present<'a> {
    pub(super) spec: &'a PaymentChannelSpec,
    pub(super) before: &'a PaymentChannelStatus,
    pub(super) kept: &'a [Voucher],
    pub(super) signature: Signature,
    /// The contract's epoch and what it redeemed, where it was seen.
    pub(super) contract: Option<(u32, NanoTon)>,
    pub(super) terms: Terms,
    pub(super) now: i64,
}

/// The condition, and the cap and epoch of the last valid voucher.
pub(super) fn judge(present: &Present<'_>) -> (Observation, NanoTon, u32) {
    let Present { spec, before, .. } = present;
    let observation = match (&spec.voucher, present.signature) {
        (None, _) | (_, Signature::Missing) => {
            VoucherValid::Missing.condition("waiting for the payer's voucher in spec.voucher")
        }
        (Some(_), Signature::Forged) => VoucherValid::BadSignature
            .condition("spec.voucher is not signed by payerPublicKey for this network, contract, cap, validity and epoch"),
        (Some(voucher), Signature::Genuine) => genuine(voucher, present),
    };
    match &spec.voucher {
        Some(voucher) if observation.status => (observation, voucher.cap_nano, voucher.epoch),
        _ => (observation, before.cap_nano, before.cap_epoch),
    }
}

fn genuine(voucher: &Voucher, present: &Present<'_>) -> Observation {
    let &Voucher {
        cap_nano: cap,
        valid_until,
        epoch,
        ..
    } = voucher;
    let left = i64::from(valid_until).saturating_sub(present.now);
    if left < MIN_VOUCHER_SECONDS {
        return VoucherValid::Expired.condition(format!(
            "spec.voucher is valid until {valid_until}, less than {MIN_VOUCHER_SECONDS} s from now"
        ));
    }
    if left < present.terms.min_voucher_seconds {
        return VoucherValid::TooShort.condition(format!(
            "spec.voucher is valid for {left} s, and the provider works for vouchers of at least {} s: sign one that lasts \
             longer",
            present.terms.min_voucher_seconds
        ));
    }
    let redeemed = present
        .contract
        .map_or(present.before.redeemed_nano, |(_, redeemed)| redeemed);
    if cap < redeemed {
        return VoucherValid::Lowered.condition(format!(
            "the voucher's cap of {cap} nanoTON is below the {redeemed} that were redeemed"
        ));
    }
    if let Some(held) = present
        .kept
        .iter()
        .find(|held| held.epoch == epoch && !is_no_worse(voucher, held))
    {
        return VoucherValid::Lowered.condition(format!(
            "the voucher of {cap} nanoTON until {valid_until} is below an earlier one of {} until {}, which still counts",
            held.cap_nano, held.valid_until
        ));
    }
    let current = match present.contract {
        Some((epoch, _)) => epoch,
        // Without a look at the contract, only a voucher that was valid at the last look is known to be.
        None if conditions::is_true(&present.before.conditions, VoucherValid::TYPE) => {
            present.before.cap_epoch
        }
        None => return VoucherValid::Unknown.condition("waiting for a look at the contract"),
    };
    if epoch != current {
        return VoucherValid::WrongEpoch.condition(format!(
            "the voucher is for epoch {epoch}, the contract is in epoch {current}"
        ));
    }
    VoucherValid::Valid.condition(format!("up to {} TON in all", cap.to_ton_string()))
}
