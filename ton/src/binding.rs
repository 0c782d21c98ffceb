//! Bindings: the payer's word that one object of one namespace stands for a channel.
//!
//! Anybody who knows a contract's address can write an object that names it, and its vouchers are public once they were
//! redeemed. The binding is what only the payer can add: a signature over where the object is. The contract knows
//! nothing of it.

use sha2::{Digest as _, Sha256};

use crate::key::{SignError, Signer};
use crate::{Address, PublicKey, Signature};

/// Begins what is signed, so that no voucher and no wallet's message can be taken for a binding: those are signed as
/// hashes of cells.
const DOMAIN: &[u8] = b"cocoon.farm/v1alpha1 PaymentChannel binding\0";

/// Which object stands for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Global id of the network.
    pub global_id: i32,
    /// The channel's contract.
    pub channel: Address,
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
}

impl Binding<'_> {
    /// The 32 bytes that the payer signs: SHA-256 over the domain, the global id (four bytes, big-endian), the
    /// contract's address in raw form, the namespace and the name, the last three each followed by a zero byte, which
    /// none of them contains.
    pub fn hash(&self) -> [u8; 32] {
        let Self {
            global_id,
            channel,
            namespace,
            name,
        } = self;
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(global_id.to_be_bytes());
        for text in [channel.to_string().as_str(), namespace, name] {
            hasher.update(text.as_bytes());
            hasher.update([0]);
        }
        hasher.finalize().into()
    }

    /// Signs it with the payer's key.
    pub fn sign(&self, payer: &dyn Signer) -> Result<Signature, SignError> {
        payer.sign(&self.hash())
    }

    /// Whether the payer signed exactly this.
    pub fn verify(&self, payer_key: &PublicKey, signature: &Signature) -> bool {
        payer_key.verify(&self.hash(), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_binding_holds_for_one_object_of_one_contract_on_one_network() {
        let payer = SecretKey::from_seed(&[7; 32]);
        let binding = Binding {
            global_id: -217,
            channel: Address {
                workchain: 0,
                account: [1; 32],
            },
            namespace: "tenant",
            name: "payer",
        };
        let signature = binding.sign(&payer).unwrap();
        assert!(binding.verify(&payer.public_key(), &signature));
        let text = signature.to_string();
        assert_eq!(
            (text.len(), text.parse().ok()),
            (128, Some(signature)),
            "as the API has it"
        );
        let other = |binding: Binding<'_>| !binding.verify(&payer.public_key(), &signature);
        assert!(other(Binding {
            global_id: -239,
            ..binding
        }));
        assert!(other(Binding {
            namespace: "tenan",
            name: "tpayer",
            ..binding
        }));
        assert!(other(Binding {
            name: "payer2",
            ..binding
        }));
        assert!(other(Binding {
            channel: Address {
                workchain: 0,
                account: [2; 32]
            },
            ..binding
        }));
        let stranger = SecretKey::from_seed(&[8; 32]);
        assert!(!binding.verify(&stranger.public_key(), &signature));
    }
}
