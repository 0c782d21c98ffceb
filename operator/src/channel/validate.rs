//! Turns the specification and what was read into typed facts: addresses, keys and the voucher's signature.

use cocoon_api::crd::{PaymentChannel, PaymentChannelSpec};
use cocoon_core::funds::{Facts, Signature as Checked};
use cocoon_ton::{Address, Network, PublicKey, Signature, SignedVoucher, Voucher};
use k8s_openapi::jiff::Timestamp;

use super::observe::Seen;
use crate::chain::Networks;

pub(super) fn validate(channel: &PaymentChannel, seen: &Seen, networks: &Networks, now: Timestamp) -> Facts {
    let spec = &channel.spec;
    let network = networks
        .get(&spec.network)
        .ok()
        .map(|chain| chain.network().clone());
    let payee = seen
        .provider
        .as_ref()
        .zip(network.as_ref())
        .and_then(|(provider, network)| {
            Address::parse_for(network, &provider.spec.payout.address)
                .ok()
                .map(|address| address.to_string())
        });
    let signature = match (&spec.voucher, &network) {
        (None, _) => Checked::Missing,
        // Without a network there is no id that the signature could be over.
        (Some(_), None) => Checked::Forged,
        (Some(_), Some(network)) => match signed_voucher(spec, network) {
            Some((voucher, key)) if voucher.verify(&key).is_ok() => Checked::Genuine,
            _ => Checked::Forged,
        },
    };
    Facts {
        sight: seen.sight.clone(),
        payee,
        signature,
        leaving: channel.metadata.deletion_timestamp.is_some(),
        now: seen.chain_time.map_or_else(|| now.as_second(), i64::from),
    }
}

/// The voucher of a channel with the key that must have signed it; none where a field does not parse.
pub(crate) fn signed_voucher(
    spec: &PaymentChannelSpec,
    network: &Network,
) -> Option<(SignedVoucher, PublicKey)> {
    let voucher = spec.voucher.as_ref()?;
    let mut signature = [0; 64];
    hex::decode_to_slice(&voucher.signature, &mut signature).ok()?;
    let signed = SignedVoucher {
        voucher: Voucher {
            global_id: network.global_id(),
            channel: Address::parse_for(network, &spec.contract_address).ok()?,
            cap: voucher.cap_nano,
            valid_until: voucher.valid_until,
            epoch: voucher.epoch,
        },
        signature: Signature(signature),
    };
    Some((signed, spec.payer_public_key.parse().ok()?))
}
