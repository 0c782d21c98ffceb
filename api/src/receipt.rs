//! Usage receipts: what an agent signs about the tokens it delivered.
//!
//! A receipt records one request. The receipts of one [`Subject`] on one agent, an attempt of a job or a session, form
//! a hash chain: each names the hash of the one before, so none can be dropped, reordered or changed unseen.
//!
//! Version 2 binds what was asked and how it was answered: the digest of the request's body, the sampling that was used
//! with its seed, the model's digest, which covers tokenizer and chat template because the model's file holds both, the
//! version of the arithmetic, and the root of a Merkle tree over the tokens of prompt and answer ([`tokens_root`]).
//! Whoever holds the model can compute the same tokens again and compare.
//!
//! What is signed is SHA-256 over a tagged, length-prefixed encoding of the fields (see [`Receipt::digest`]);
//! JSON is only the carrier. Signatures are Ed25519 (RFC 8032).

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::{
    subject::Subject,
    units::{NanoTon, Prices, TokenCount, UnitError, Usage},
};

mod encoding;
mod hex_array;
mod merkle;
mod sampling;
mod tokens;

use encoding::Encoder;

pub use hex_array::{AgentKey, Ed25519Signature, Sha256Digest};
pub use merkle::{merkle_root, tokens_root};
pub use sampling::ResolvedSampling;
pub use tokens::{AnswerTokens, TokenIds, TokensError};

/// Version of the receipts that are written and believed.
pub const RECEIPT_VERSION: u32 = 2;
/// Bytes of [`Receipt::arithmetic`] at most.
pub const MAX_ARITHMETIC_BYTES: usize = 32;

/// The tags keep the digests of jobs and of sessions apart: they come first in what is hashed, so that no session's
/// receipt or chain has the digest of a job's, whatever its id is.
const JOB_TAGS: Tags = Tags {
    receipt: b"cocoon.farm/receipt/v2",
    genesis: b"cocoon.farm/receipt-chain/v1",
};
const SESSION_TAGS: Tags = Tags {
    receipt: b"cocoon.farm/session-receipt/v2",
    genesis: b"cocoon.farm/session-receipt-chain/v1",
};

struct Tags {
    receipt: &'static [u8],
    genesis: &'static [u8],
}

/// Which chain a receipt belongs to: that of one subject on one agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainId {
    /// Key of the agent that signs.
    pub agent: AgentKey,
    /// What is billed.
    #[serde(flatten)]
    pub subject: Subject,
    /// Address of the payment channel that pays; absent for what is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

impl ChainId {
    /// The `previous` of the first receipt: a digest of the chain's identity.
    pub fn genesis(&self) -> Sha256Digest {
        let mut encoder = Encoder::new(self.tags().genesis);
        self.encode(&mut encoder);
        encoder.finish()
    }

    fn tags(&self) -> Tags {
        match self.subject {
            Subject::Job { .. } => JOB_TAGS,
            Subject::Session { .. } => SESSION_TAGS,
        }
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.bytes(&self.agent.0);
        match &self.subject {
            Subject::Job { uid, attempt } => {
                encoder.bytes(uid.as_bytes());
                encoder.integer(u64::from(*attempt));
            }
            Subject::Session { id } => encoder.bytes(id.as_bytes()),
        }
        encoder.bytes(self.channel.as_deref().unwrap_or_default().as_bytes());
    }
}

/// One delivered request: what was counted, at which price, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// The chain it belongs to.
    #[serde(flatten)]
    pub chain: ChainId,
    /// Place in the chain, from 1.
    pub sequence: u32,
    /// Index of the request in the job's input, or in the session, from 0.
    pub request: u32,
    /// SHA-256 of the request's body, byte by byte as the agent got it.
    pub request_sha256: Sha256Digest,
    /// SHA-256 of the model file, which holds tokenizer and chat template as well.
    pub model: Sha256Digest,
    /// Version of the arithmetic that computed the answer, in the words of the agent's backend; absent where it has
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
    /// The sampling that was used.
    pub sampling: ResolvedSampling,
    /// [`tokens_root`] of the prompt's tokens and of those that were sampled.
    pub tokens_root: Sha256Digest,
    /// SHA-256 of the result body as delivered (its JSON text).
    pub result: Sha256Digest,
    /// Tokens counted at the sampler.
    pub usage: Usage,
    /// Prices in force.
    pub prices: Prices,
    /// `prices.cost(usage)`; zero for what is free.
    pub nano: NanoTon,
    /// Digest of the receipt before, or the chain's genesis.
    pub previous: Sha256Digest,
    /// Signature over [`Receipt::digest`].
    pub signature: Ed25519Signature,
}

impl Receipt {
    /// Whether its texts are the only way to write what they say, and bounded.
    fn is_canonical(&self) -> bool {
        let arithmetic = self.arithmetic.as_deref();
        self.sampling.is_canonical()
            && arithmetic.is_none_or(|name| {
                (1..=MAX_ARITHMETIC_BYTES).contains(&name.len())
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
            })
    }

    /// Whether it is the agent's, of the known version, and costs what its prices and tokens give. Its place in a chain
    /// is for [`ReceiptChain::push`] to check.
    pub fn verify(&self) -> Result<(), ReceiptError> {
        self.check()?;
        verify(self.chain.agent, self.digest(), self.signature)
    }

    fn check(&self) -> Result<(), ReceiptError> {
        if self.version != RECEIPT_VERSION {
            let found = self.version;
            return Err(ReceiptError::Version { found });
        }
        if !self.is_canonical() {
            return Err(ReceiptError::Form);
        }
        if self.nano != charge(&self.chain, &self.prices, self.usage)? {
            return Err(ReceiptError::Amount);
        }
        Ok(())
    }

    /// What is signed, and what the next receipt names as `previous`.
    pub fn digest(&self) -> Sha256Digest {
        let mut encoder = Encoder::new(self.chain.tags().receipt);
        self.chain.encode(&mut encoder);
        encoder.integer(u64::from(self.sequence));
        encoder.integer(u64::from(self.request));
        encoder.bytes(&self.request_sha256.0);
        encoder.bytes(&self.model.0);
        encoder.bytes(self.arithmetic.as_deref().unwrap_or_default().as_bytes());
        self.sampling.encode(&mut encoder);
        encoder.bytes(&self.tokens_root.0);
        encoder.bytes(&self.result.0);
        encoder.usage(&self.usage);
        encoder.prices(&self.prices);
        encoder.integer(self.nano.nano());
        encoder.bytes(&self.previous.0);
        encoder.finish()
    }
}

/// Why a receipt is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The agent's key is not a point on the curve.
    #[error("agent key is not a valid Ed25519 public key")]
    Key,
    /// The signature does not fit the content.
    #[error("signature does not match")]
    Signature,
    /// It belongs to another chain.
    #[error("receipt belongs to another chain")]
    Chain,
    /// It is not the next one: `expected` counts from 1.
    #[error("receipt out of sequence, expected number {expected}")]
    Sequence {
        /// The number that the next receipt must have.
        expected: u32,
    },
    /// `previous` is not the digest of the one before.
    #[error("receipt does not continue the hash chain")]
    Previous,
    /// It is of another version.
    #[error("receipt has version {found}, not {RECEIPT_VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Sampling or arithmetic is not written as it is signed.
    #[error("receipt's sampling or arithmetic is not in its canonical form")]
    Form,
    /// The amount is not what prices and tokens give.
    #[error("receipt's amount does not equal its price times its tokens")]
    Amount,
    /// A sum left the range of an amount.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

fn verify(agent: AgentKey, digest: Sha256Digest, signature: Ed25519Signature) -> Result<(), ReceiptError> {
    let key = VerifyingKey::from_bytes(&agent.0).map_err(|_| ReceiptError::Key)?;
    key.verify(&digest.0, &Signature::from_bytes(&signature.0))
        .map_err(|_| ReceiptError::Signature)
}

/// A chain as its reader sees it: verifies receipts one by one and keeps their sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptChain {
    chain: ChainId,
    count: u32,
    usage: Usage,
    nano: NanoTon,
    head: Sha256Digest,
}

impl ReceiptChain {
    /// The empty chain.
    pub fn new(chain: ChainId) -> Self {
        let head = chain.genesis();
        Self {
            chain,
            count: 0,
            usage: Usage::default(),
            nano: NanoTon::ZERO,
            head,
        }
    }

    /// Verifies the next receipt and adds it; the chain is unchanged on an error.
    pub fn push(&mut self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let expected = self.count.checked_add(1).ok_or(UnitError::Overflow)?;
        receipt.check()?;
        if receipt.chain != self.chain {
            return Err(ReceiptError::Chain);
        }
        if receipt.sequence != expected {
            return Err(ReceiptError::Sequence { expected });
        }
        if receipt.previous != self.head {
            return Err(ReceiptError::Previous);
        }
        let digest = receipt.digest();
        verify(self.chain.agent, digest, receipt.signature)?;
        let usage = self.usage.checked_add(receipt.usage)?;
        self.nano = self.nano.checked_add(receipt.nano)?;
        (self.count, self.usage, self.head) = (expected, usage, digest);
        Ok(())
    }

    /// Number of receipts.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Tokens of all receipts.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// NanoTON of all receipts.
    pub fn nano(&self) -> NanoTon {
        self.nano
    }

    /// Digest of the last receipt, or the genesis.
    pub fn head(&self) -> Sha256Digest {
        self.head
    }

    /// The chain's identity.
    pub fn id(&self) -> &ChainId {
        &self.chain
    }
}

/// What a request costs on a chain: nothing without a channel, its price otherwise.
fn charge(chain: &ChainId, prices: &Prices, usage: Usage) -> Result<NanoTon, UnitError> {
    if chain.channel.is_none() {
        Ok(NanoTon::ZERO)
    } else {
        prices.cost(usage)
    }
}

/// What the agent knows of a request when it asks for a receipt.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Index of the request in the job's input, or in the session.
    pub request: u32,
    /// SHA-256 of the request's body.
    pub request_sha256: Sha256Digest,
    /// Version of the arithmetic.
    pub arithmetic: Option<String>,
    /// The sampling that was used.
    pub sampling: ResolvedSampling,
    /// [`tokens_root`] of the prompt's tokens and of those that were sampled.
    pub tokens_root: Sha256Digest,
    /// SHA-256 of the model file.
    pub model: Sha256Digest,
    /// SHA-256 of the result body's JSON text.
    pub result: Sha256Digest,
    /// Tokens counted at the sampler.
    pub usage: Usage,
    /// Prices in force.
    pub prices: Prices,
}

/// The agent's signing key, made when it starts and never written anywhere.
pub struct ReceiptSigner(SigningKey);

impl ReceiptSigner {
    /// From 32 secret bytes of a cryptographic random source.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn key(&self) -> AgentKey {
        AgentKey(self.0.verifying_key().to_bytes())
    }

    /// Signs the receipt that continues `chain`, and appends it.
    pub fn receipt(&self, chain: &mut ReceiptChain, delivery: Delivery) -> Result<Receipt, ReceiptError> {
        let Delivery {
            request,
            request_sha256,
            arithmetic,
            sampling,
            tokens_root,
            model,
            result,
            usage,
            prices,
        } = delivery;
        let mut receipt = Receipt {
            version: RECEIPT_VERSION,
            chain: chain.chain.clone(),
            sequence: chain.count.checked_add(1).ok_or(UnitError::Overflow)?,
            request,
            request_sha256,
            model,
            arithmetic,
            sampling,
            tokens_root,
            result,
            usage,
            prices,
            nano: charge(&chain.chain, &prices, usage)?,
            previous: chain.head,
            signature: Ed25519Signature([0; 64]),
        };
        receipt.signature = self.sign(receipt.digest());
        chain.push(&receipt)?;
        Ok(receipt)
    }

    fn sign(&self, digest: Sha256Digest) -> Ed25519Signature {
        Ed25519Signature(self.0.sign(&digest.0).to_bytes())
    }
}

/// Root of the receipts of a job or of a session: SHA-256 over their digests in the order of the requests.
pub fn receipts_root<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Sha256Digest {
    root_of_digests(receipts.into_iter().map(|receipt| {
        let place = (receipt.request, &receipt.chain.subject);
        (place, receipt.digest())
    }))
}

/// The same over digests, each with the request and the subject of its receipt.
pub fn root_of_digests<'a>(
    digests: impl IntoIterator<Item = ((u32, &'a Subject), Sha256Digest)>,
) -> Sha256Digest {
    let mut sorted: Vec<_> = digests.into_iter().collect();
    sorted.sort_by_key(|(place, _)| *place);
    let mut encoder = Encoder::new(b"cocoon.farm/receipts-root/v2");
    for (_, digest) in sorted {
        encoder.bytes(&digest.0);
    }
    encoder.finish()
}

/// Whether `count` tokens fit a receipt; the agent asks before it counts.
pub fn tokens(count: usize) -> Result<TokenCount, UnitError> {
    u64::try_from(count)
        .map_err(|_| UnitError::Overflow)
        .and_then(TokenCount::new)
}

#[cfg(test)]
mod tests;
