//! Vouchers: the payer's signed promise that a channel may be claimed up to a cumulative cap.
//!
//! A voucher names the network, the channel, the epoch and the last second of its validity. It is not used up:
//! the channel pays the difference to what it paid before, so redeeming twice pays once, and a higher voucher
//! replaces a lower one.

use cocoon_api::NanoTon;

use crate::cells::Layout;
use crate::key::{SignError, Signer};
use crate::{Address, PublicKey, Signature};

/// Tag of the signed cell, `Voucher` in `contracts/messages.tolk`.
const TAG_VOUCHER: u64 = 0x4356_5231;

/// [`Voucher::valid_until`] of a voucher that does not expire: it lasts as long as its epoch, which the payer ends by
/// closing the channel.
pub const NO_EXPIRY: u32 = u32::MAX;

/// What the payer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voucher {
    /// Global id of the network (config parameter 19).
    pub global_id: i32,
    /// The channel's contract.
    pub channel: Address,
    /// Largest total of claims since the channel's first day.
    pub cap: NanoTon,
    /// Last unix second at which the contract accepts it; [`NO_EXPIRY`] where there is none.
    pub valid_until: u32,
    /// The channel's epoch; every settlement raises it.
    pub epoch: u32,
}

/// A voucher with the payer's signature, not yet verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedVoucher {
    /// What is promised.
    pub voucher: Voucher,
    /// The payer's signature over [`Voucher::hash`].
    pub signature: Signature,
}

/// Why a voucher is worth nothing to a provider at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// Not signed by the channel's payer for this network, contract, cap, validity and epoch.
    #[error("signature is not the payer's over this network, channel, cap, validity and epoch")]
    BadSignature,
    /// Its last second is over, or too close to be redeemed.
    #[error("voucher is valid until {valid_until}, and {needed_until} is needed")]
    Expired {
        /// Its last second.
        valid_until: u32,
        /// The second until which it must last.
        needed_until: u32,
    },
    /// It belongs to an epoch that a settlement ended, or to one that has not begun.
    #[error("voucher is for epoch {voucher}, the channel is in epoch {channel}")]
    WrongEpoch {
        /// Epoch it was signed for.
        voucher: u32,
        /// Epoch of the channel.
        channel: u32,
    },
    /// Its cap is below that of a voucher seen before.
    #[error("voucher's cap of {cap} nanoTON is below the earlier one of {earlier} nanoTON")]
    Lowered {
        /// Its cap.
        cap: NanoTon,
        /// The highest cap seen.
        earlier: NanoTon,
    },
}

impl Voucher {
    /// The 32 bytes that the payer signs: the hash of the cell that `contracts/README.md` lays out.
    pub fn hash(&self) -> [u8; 32] {
        Layout::new()
            .uint(TAG_VOUCHER, 32)
            .bytes(&self.global_id.to_be_bytes())
            .address(&self.channel)
            .coins(self.cap)
            .uint(u64::from(self.valid_until), 32)
            .uint(u64::from(self.epoch), 32)
            .build_hashed()
            .1
    }

    /// Signs it with the payer's key.
    pub fn sign(self, payer: &dyn Signer) -> Result<SignedVoucher, SignError> {
        Ok(SignedVoucher {
            voucher: self,
            signature: payer.sign(&self.hash())?,
        })
    }
}

impl SignedVoucher {
    /// Whether the payer signed exactly this. A voucher for another network or contract fails here, since the
    /// signature is over the ones given.
    pub fn verify(&self, payer_key: &PublicKey) -> Result<(), VoucherError> {
        if payer_key.verify(&self.voucher.hash(), &self.signature) {
            Ok(())
        } else {
            Err(VoucherError::BadSignature)
        }
    }

    /// Whether a provider may work against it: signed by `payer_key`, for the channel's current `epoch`, valid at
    /// least until `needed_until` (the present plus the time that a redeem may take), and not below `earlier`,
    /// the highest cap seen in this epoch.
    pub fn check(
        &self,
        payer_key: &PublicKey,
        epoch: u32,
        needed_until: u32,
        earlier: NanoTon,
    ) -> Result<(), VoucherError> {
        self.verify(payer_key)?;
        let Voucher {
            cap,
            valid_until,
            epoch: voucher,
            ..
        } = self.voucher;
        if voucher != epoch {
            return Err(VoucherError::WrongEpoch {
                voucher,
                channel: epoch,
            });
        }
        if valid_until < needed_until {
            return Err(VoucherError::Expired {
                valid_until,
                needed_until,
            });
        }
        if cap < earlier {
            return Err(VoucherError::Lowered { cap, earlier });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
