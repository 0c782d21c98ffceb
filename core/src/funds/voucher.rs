//! Whether the payer's voucher can be redeemed.

use cocoon_api::{
    NanoTon,
    conditions::{self, Observation, Reason as _, VoucherValid},
    crd::{PaymentChannelSpec, PaymentChannelStatus, channel::Voucher},
};

use super::{Escrow, MIN_VOUCHER_SECONDS};

/// What checking the voucher's signature gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// There is no voucher.
    Missing,
    /// The payer's, over this network, contract, cap, validity and epoch.
    Genuine,
    /// Anything else.
    Forged,
}

/// The condition, and the cap and epoch of the last valid voucher.
pub(super) fn judge(
    spec: &PaymentChannelSpec,
    before: &PaymentChannelStatus,
    escrow: Option<&Escrow>,
    signature: Signature,
    now: i64,
) -> (Observation, NanoTon, u32) {
    let observation = match (&spec.voucher, signature) {
        (None, _) | (_, Signature::Missing) => {
            VoucherValid::Missing.condition("waiting for the payer's voucher in spec.voucher")
        }
        (Some(_), Signature::Forged) => VoucherValid::BadSignature
            .condition("spec.voucher is not signed by payerPublicKey for this network, contract, cap, validity and epoch"),
        (Some(voucher), Signature::Genuine) => genuine(voucher, before, escrow, now),
    };
    match &spec.voucher {
        Some(voucher) if observation.status => (observation, voucher.cap_nano, voucher.epoch),
        _ => (observation, before.cap_nano, before.cap_epoch),
    }
}

fn genuine(
    voucher: &Voucher,
    before: &PaymentChannelStatus,
    escrow: Option<&Escrow>,
    now: i64,
) -> Observation {
    let &Voucher {
        cap_nano: cap,
        valid_until,
        epoch,
        ..
    } = voucher;
    if i64::from(valid_until) < now.saturating_add(MIN_VOUCHER_SECONDS) {
        let message =
            format!("spec.voucher is valid until {valid_until}, less than {MIN_VOUCHER_SECONDS} s from now");
        return VoucherValid::Expired.condition(message);
    }
    let redeemed = escrow.map_or(before.redeemed_nano, |escrow| escrow.redeemed);
    if cap < redeemed {
        let message =
            format!("the voucher's cap of {cap} nanoTON is below the {redeemed} that were redeemed");
        return VoucherValid::Lowered.condition(message);
    }
    if epoch == before.cap_epoch && cap < before.cap_nano {
        let message = format!(
            "the voucher's cap of {cap} nanoTON is below the earlier one of {}",
            before.cap_nano
        );
        return VoucherValid::Lowered.condition(message);
    }
    let current = match escrow {
        Some(escrow) => escrow.epoch,
        // Without a look at the contract, only a voucher that was valid at the last look is known to be.
        None if conditions::is_true(&before.conditions, VoucherValid::TYPE) => before.cap_epoch,
        None => return VoucherValid::Unknown.condition("waiting for a look at the contract"),
    };
    if epoch != current {
        let message = format!("the voucher is for epoch {epoch}, the contract is in epoch {current}");
        return VoucherValid::WrongEpoch.condition(message);
    }
    VoucherValid::Valid.condition(format!("up to {} TON in all", cap.to_ton_string()))
}
