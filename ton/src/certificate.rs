//! Certificates: a wallet's word that a key is that of an agent of one provider.
//!
//! Agents make their keys when they start. Without the wallet's word anybody could make a key and sign a history of
//! receipts with it, and a provider could deny any of its own.

use sha2::{Digest as _, Sha256};

use crate::key::{SignError, Signer};
use crate::{Address, Network, PublicKey, Signature, Wallet};

/// Begins what is signed, so that no voucher, binding or wallet's message can be taken for a certificate.
const DOMAIN: &[u8] = b"cocoon.farm/v1alpha1 agent certificate\0";

/// Whose agent a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// Global id of the wallet's network.
    pub global_id: i32,
    /// Namespace of the provider's object.
    pub namespace: &'a str,
    /// Name of the provider's object.
    pub provider: &'a str,
    /// The agent's Ed25519 public key.
    pub agent: [u8; 32],
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The wallet did not sign it.
    #[error("no wallet signed that the key is an agent's of this provider")]
    Signature,
    /// A wallet signed it that is not the provider's.
    #[error("the wallet {signer} signed for the agent, and the provider's is {expected}")]
    ForeignWallet {
        /// Address of the wallet that signed.
        signer: Address,
        /// Address of the provider's wallet.
        expected: Address,
    },
}

impl Certificate<'_> {
    /// The 32 bytes that are signed: SHA-256 over the domain, the global id (four bytes, big-endian), namespace and
    /// name, each followed by a zero byte, which none of them contains, and the agent's key.
    pub fn hash(&self) -> [u8; 32] {
        let Self {
            global_id,
            namespace,
            provider,
            agent,
        } = self;
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(global_id.to_be_bytes());
        for text in [namespace, provider] {
            hasher.update(text.as_bytes());
            hasher.update([0]);
        }
        hasher.update(agent);
        hasher.finalize().into()
    }

    /// Signs it with the wallet's key.
    pub fn sign(&self, wallet: &dyn Signer) -> Result<Signature, SignError> {
        wallet.sign(&self.hash())
    }

    /// Whether the wallet at `expected` signed exactly this. A wallet's address commits to its key and its network, so
    /// that nothing has to be asked.
    pub fn verify(
        &self,
        wallet_key: &PublicKey,
        signature: &Signature,
        expected: &Address,
    ) -> Result<(), CertificateError> {
        let signer = Wallet::new(*wallet_key, &Network::new("", self.global_id)).address();
        if signer != *expected {
            return Err(CertificateError::ForeignWallet {
                signer,
                expected: *expected,
            });
        }
        if wallet_key.verify(&self.hash(), signature) {
            Ok(())
        } else {
            Err(CertificateError::Signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;

    const CERTIFICATE: Certificate<'_> = Certificate {
        global_id: -217,
        namespace: "farm",
        provider: "gpus",
        agent: [9; 32],
    };

    #[test]
    fn a_certificate_holds_for_one_key_of_one_provider_on_one_network() {
        let key = SecretKey::from_seed(&[7; 32]);
        let address = Wallet::new(key.public_key(), &Network::TESTBED).address();
        let signature = CERTIFICATE.sign(&key).unwrap();
        CERTIFICATE
            .verify(&key.public_key(), &signature, &address)
            .unwrap();
        let others = [
            Certificate {
                namespace: "far",
                provider: "mgpus",
                ..CERTIFICATE
            },
            Certificate {
                provider: "gpus2",
                ..CERTIFICATE
            },
            Certificate {
                agent: [8; 32],
                ..CERTIFICATE
            },
        ];
        for other in others {
            let refused = other.verify(&key.public_key(), &signature, &address);
            assert_eq!(refused, Err(CertificateError::Signature), "{other:?}");
        }
        let elsewhere = Certificate {
            global_id: -239,
            ..CERTIFICATE
        };
        assert!(matches!(
            elsewhere.verify(&key.public_key(), &signature, &address),
            Err(CertificateError::ForeignWallet { .. })
        ));
    }

    #[test]
    fn another_wallets_word_is_nothing() {
        let (key, stranger) = (SecretKey::from_seed(&[7; 32]), SecretKey::from_seed(&[8; 32]));
        let address = Wallet::new(key.public_key(), &Network::TESTBED).address();
        let signature = CERTIFICATE.sign(&stranger).unwrap();
        assert!(matches!(
            CERTIFICATE.verify(&stranger.public_key(), &signature, &address),
            Err(CertificateError::ForeignWallet { .. })
        ));
        assert_eq!(
            CERTIFICATE.verify(&key.public_key(), &signature, &address),
            Err(CertificateError::Signature)
        );
    }
}
