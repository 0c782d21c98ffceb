//! Turns the specification and what was read into typed facts: addresses, keys and signatures.

use cocoon_api::{
    NanoTon,
    conditions::{self, Reason as _, WalletReady},
    crd::{CocoonProvider, PaymentChannel, PaymentChannelSpec, channel::Voucher as Kept},
};
use cocoon_core::{
    funds::{Clock, Facts, MIN_CHALLENGE_SECONDS, Payee, Signature as Checked, Terms},
    settlement,
};
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
        .and_then(|(provider, network)| Payee::of(&provider.spec.payout, network).ok());
    let signature = match (&spec.voucher, &network) {
        (None, _) => Checked::Missing,
        // Without a network there is no id that the signature could be over.
        (Some(_), None) => Checked::Forged,
        (Some(voucher), Some(network)) => match signed_voucher(spec, voucher, network) {
            Some((voucher, key)) if voucher.verify(&key).is_ok() => Checked::Genuine,
            _ => Checked::Forged,
        },
    };
    let payout = seen.provider.as_ref().map(|provider| &provider.spec.payout);
    let ruling = payout.and_then(|payout| settlement::ruling(payout, channel.metadata.uid.as_deref()?));
    Facts {
        sight: seen.sight.clone(),
        granted: seen.granted,
        payee,
        signature,
        wallet: seen.provider.as_ref().and_then(unready_wallet),
        terms: payout.map_or(
            Terms {
                min_challenge_seconds: MIN_CHALLENGE_SECONDS,
                min_voucher_seconds: i64::from(MIN_CHALLENGE_SECONDS),
            },
            settlement::terms,
        ),
        acknowledged: ruling
            .and_then(|ruling| ruling.acknowledged_nano)
            .unwrap_or(NanoTon::ZERO),
        rebuilt: ruling.and_then(|ruling| ruling.rebuilt),
        leaving: channel.metadata.deletion_timestamp.is_some(),
        clock: Clock {
            own: now.as_second(),
            chain: seen.chain_time.map(i64::from),
        },
    }
}

/// Why the provider's wallet cannot redeem, in the words of its condition; none where it can. That an endpoint does not
/// answer is no fault of the wallet: the look at the contract tells the same.
pub(crate) fn unready_wallet(provider: &CocoonProvider) -> Option<String> {
    let list = provider
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    match conditions::find(list, WalletReady::TYPE) {
        None => Some("it has not been looked at yet".to_owned()),
        Some(ready) if ready.status == "True" || ready.reason == WalletReady::EndpointUnavailable.name() => {
            None
        }
        Some(ready) => Some(ready.message.clone()),
    }
}

/// A voucher of a channel, of its specification or kept, with the key that must have signed it; none where a field does
/// not parse.
pub(crate) fn signed_voucher(
    spec: &PaymentChannelSpec,
    voucher: &Kept,
    network: &Network,
) -> Option<(SignedVoucher, PublicKey)> {
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
