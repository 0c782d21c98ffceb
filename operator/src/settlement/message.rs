//! The signed message of a settlement: made once, stored, and from then on only read back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cocoon_api::{
    NanoTon,
    crd::{
        LocalReference, SettlementSpec, SettlementStatus,
        settlement::{Redeem, Sweep},
    },
    receipt::Sha256Digest,
};
use cocoon_core::settlement::{InFlight, VALID_SECONDS};
use cocoon_ton::{
    Address, SignedMessage, Signer, Wallet, channel,
    message::InternalMessage,
    wallet::{SendMode, WalletError},
};

use super::Claim;

/// A message could not be made or read back.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The wallet's message could not be made or read.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The stored text is no base64.
    #[error("spec.message is no base64")]
    Base64,
    /// The stored bytes are not those of the other fields.
    #[error("spec.message is not the message of spec.{0}")]
    Mismatch(&'static str),
    /// An amount left its range.
    #[error(transparent)]
    Money(#[from] cocoon_api::units::UnitError),
}

/// Signs one message with these claims. `seqno` is the wallet's, `time` the chain's.
pub fn sign(
    provider: &str,
    wallet: &Wallet,
    signer: &dyn Signer,
    seqno: u32,
    time: u32,
    claims: Vec<Claim>,
) -> Result<SettlementSpec, MessageError> {
    let messages: Vec<_> = claims
        .iter()
        .map(|claim| {
            let committed = channel::Claim {
                voucher: claim.voucher,
                total: claim.redeem.cumulative_nano,
                receipts_root: receipts_root(claim),
            };
            let redeem = channel::redeem(&committed, u64::from(seqno));
            (SendMode::ExactValue, redeem)
        })
        .collect();
    let longest = time.saturating_add(VALID_SECONDS);
    let valid_until = claims
        .iter()
        .map(|claim| claim.take_until)
        .fold(longest, u32::min);
    let message = wallet.transfer(seqno, valid_until, &messages)?.sign(signer)?;
    let redeems = claims.into_iter().map(|claim| claim.redeem).collect();
    settlement(provider, &message, redeems, None)
}

/// Signs one message that passes so much on to the payout address. `seqno` is the wallet's, `time` the chain's. The
/// value does not come back: the address need not be a contract yet.
pub fn sweep(
    provider: &str,
    wallet: &Wallet,
    signer: &dyn Signer,
    (seqno, time): (u32, u32),
    (to, nano): (Address, NanoTon),
) -> Result<SettlementSpec, MessageError> {
    let transfer = (SendMode::ExactValue, InternalMessage::transfer(to, nano));
    let valid_until = time.saturating_add(VALID_SECONDS);
    let message = wallet.transfer(seqno, valid_until, &[transfer])?.sign(signer)?;
    let sweep = Sweep {
        to: to.to_string(),
        nano,
    };
    settlement(provider, &message, Vec::new(), Some(sweep))
}

/// A signed message as it is stored.
fn settlement(
    provider: &str,
    message: &SignedMessage,
    redeems: Vec<Redeem>,
    sweep: Option<Sweep>,
) -> Result<SettlementSpec, MessageError> {
    let steps = redeems
        .iter()
        .map(|redeem| redeem.cumulative_nano.saturating_sub(redeem.redeemed_before_nano));
    let claimed = NanoTon::sum(steps)?.to_ton_string();
    Ok(SettlementSpec {
        provider_ref: LocalReference {
            name: provider.to_owned(),
        },
        wallet: message.destination.to_string(),
        seqno: message.seqno,
        valid_until: message.valid_until,
        message: STANDARD.encode(&message.boc),
        message_hash: hex::encode(message.hash),
        redeems,
        sweep,
        claimed,
    })
}

/// What the claim commits to; nothing where the settlement does not say.
fn receipts_root(claim: &Claim) -> [u8; 32] {
    let root = claim.redeem.receipts_root.as_deref();
    root.and_then(|root| root.parse().ok())
        .map_or(channel::NO_RECEIPTS, |Sha256Digest(root)| root)
}

/// Reads the stored message back and checks it against the other fields, which a person could have written.
pub fn stored(spec: &SettlementSpec) -> Result<SignedMessage, MessageError> {
    let boc = STANDARD.decode(&spec.message).map_err(|_| MessageError::Base64)?;
    let message = SignedMessage::decode(&boc)?;
    let faults = [
        (message.seqno == spec.seqno, "seqno"),
        (message.valid_until == spec.valid_until, "validUntil"),
        (hex::encode(message.hash) == spec.message_hash, "messageHash"),
        (message.destination.to_string() == spec.wallet, "wallet"),
    ];
    match faults.into_iter().find(|(same, _)| !same) {
        Some((_, field)) => Err(MessageError::Mismatch(field)),
        None => Ok(message),
    }
}

/// The message as the sender sees it. `sent_at` is when this process last sent it, in Unix seconds.
pub fn in_flight(spec: &SettlementSpec, status: Option<&SettlementStatus>, sent_at: Option<i64>) -> InFlight {
    InFlight {
        seqno: spec.seqno,
        valid_until: spec.valid_until,
        claims: spec.redeems.iter().map(|redeem| redeem.cumulative_nano).collect(),
        sweeps: spec.sweep.is_some(),
        attempts: status.map_or(0, |status| status.attempts),
        sent_at,
    }
}

#[cfg(test)]
mod tests {
    use cocoon_ton::{Network, SecretKey, Voucher};

    use super::*;

    fn nano(value: u64) -> NanoTon {
        NanoTon::from_nano(value).unwrap()
    }

    #[test]
    fn the_message_commits_to_the_receipts_that_the_settlement_names() {
        let key = SecretKey::from_seed(&[7; 32]);
        let wallet = Wallet::new(key.public_key(), &Network::TESTBED);
        let voucher = Voucher {
            global_id: Network::TESTBED.global_id(),
            channel: Address {
                workchain: 0,
                account: [1; 32],
            },
            cap: nano(9),
            valid_until: 1_000,
            epoch: 0,
        };
        let voucher = voucher.sign(&key).unwrap();
        let root = Sha256Digest::of(b"receipts");
        let claim = Claim {
            redeem: Redeem {
                channel: "c".into(),
                namespace: None,
                channel_uid: String::new(),
                contract_address: String::new(),
                cumulative_nano: nano(8),
                redeemed_before_nano: nano(0),
                receipts_root: Some(root.to_string()),
                jobs: Vec::new(),
            },
            voucher,
            take_until: u32::MAX,
        };
        let spec = sign("farm", &wallet, &key, 3, 100, vec![claim]).unwrap();
        let expected = |receipts_root| {
            let claim = channel::Claim {
                voucher,
                total: nano(8),
                receipts_root,
            };
            let message = (SendMode::ExactValue, channel::redeem(&claim, 3));
            let transfer = wallet.transfer(3, spec.valid_until, &[message]).unwrap();
            hex::encode(transfer.sign(&key).unwrap().hash)
        };
        assert_eq!(spec.message_hash, expected(root.0));
        assert_ne!(spec.message_hash, expected(channel::NO_RECEIPTS));
    }
}
