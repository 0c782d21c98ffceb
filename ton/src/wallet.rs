//! Wallet v5r1: its address and the signed messages that move its money.
//!
//! Every action of an external message must carry the flag *ignore errors* (the wallet rejects others with exit
//! code 137). So a wallet that is too poor accepts the message, raises its seqno and pays nobody: acceptance says
//! nothing about payment. Look at the outgoing messages of the transaction and at the receiver's state.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cells::Layout;
use crate::key::{SignError, Signer};
use crate::message::{ExternalMessage, InternalMessage, MessageInfo, ParsedMessage, StateInit};
use crate::{Address, Cell, CellError, Network, PublicKey, Signature, cell_hash, decode_boc};

/// Most messages that one transfer may carry: TVM's limit of actions in one transaction.
pub const MAX_MESSAGES: usize = 255;

/// Exit code where a message's seqno is not the wallet's next one.
pub const EXIT_WRONG_SEQNO: i32 = 133;
/// Exit code where the message expired.
pub const EXIT_EXPIRED: i32 = 136;

const OP_SIGNED_EXTERNAL: u64 = 0x7369_676e;
const ACTION_SEND_MESSAGE: u64 = 0x0ec3_c86d;

/// The basechain, version 0, subwallet 0 of a client's wallet id; the network's id is mixed in.
const WALLET_CONTEXT: u32 = 0x8000_0000;

/// Published code of wallet v5r1 (<https://github.com/ton-blockchain/wallet-contract-v5>), code hash
/// `20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f`.
const CODE_BOC: &str = include_str!("wallet/v5r1.boc.base64");

struct Code {
    cell: Cell,
    hash: [u8; 32],
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let bytes = STANDARD
        .decode(CODE_BOC.trim())
        .expect("the embedded wallet code is base64");
    let cell = decode_boc(&bytes).expect("the embedded wallet code is a bag of cells");
    let hash = cell_hash(&cell).expect("the embedded wallet code has a hash");
    Code { cell, hash }
});

/// Hash of the wallet's code.
pub fn code_hash() -> [u8; 32] {
    CODE.hash
}

/// The wallet of one key on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    public_key: PublicKey,
    id: u32,
    address: Address,
}

/// How the wallet sends one message. *Ignore errors* is part of both, see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// The receiver gets exactly the value; the wallet pays the forward fee on top.
    ExactValue,
    /// Everything the wallet holds, less fees; the message's own value is ignored.
    WholeBalance,
}

impl SendMode {
    fn bits(self) -> u64 {
        const PAY_FEES_SEPARATELY: u64 = 1;
        const IGNORE_ERRORS: u64 = 2;
        const CARRY_ALL_BALANCE: u64 = 128;
        match self {
            Self::ExactValue => PAY_FEES_SEPARATELY | IGNORE_ERRORS,
            Self::WholeBalance => CARRY_ALL_BALANCE | IGNORE_ERRORS,
        }
    }
}

/// A transfer cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// Nothing to send, or more than [`MAX_MESSAGES`].
    #[error("a transfer carries 1 to {MAX_MESSAGES} messages, got {0}")]
    MessageCount(usize),
    /// The signature was not made by the wallet's key over this transfer.
    #[error("signature does not match the wallet's key {0}")]
    ForeignSignature(PublicKey),
    /// The key behind the signer is another one than the wallet's.
    #[error("the signer's key {signer} is not the wallet's key {wallet}")]
    ForeignKey {
        /// Key of the signer.
        signer: PublicKey,
        /// Key in the wallet's address.
        wallet: PublicKey,
    },
    /// No signature came back.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The message could not be encoded or decoded.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// The bytes are a message, but not one from outside to a contract.
    #[error("message is not an external one")]
    NotExternal,
}

impl Wallet {
    /// The wallet of `public_key` on `network`. Performs no check that it exists.
    pub fn new(public_key: PublicKey, network: &Network) -> Self {
        let id = network.global_id().cast_unsigned() ^ WALLET_CONTEXT;
        let mut wallet = Self {
            public_key,
            id,
            address: Address {
                workchain: 0,
                account: [0; 32],
            },
        };
        wallet.address = wallet.state_init().address();
        wallet
    }

    /// Its address, which differs by network.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The key that signs for it.
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Code and first data: signatures allowed, seqno 0, no extensions.
    pub fn state_init(&self) -> StateInit {
        let data = Layout::new()
            .bit(true)
            .uint(0, 32)
            .uint(u64::from(self.id), 32)
            .bytes(&self.public_key.0)
            .bit(false)
            .build();
        StateInit {
            code: CODE.cell.clone(),
            data,
        }
    }

    /// Lays out a transfer of 1 to [`MAX_MESSAGES`] messages, executed in the given order.
    ///
    /// `seqno` must be the wallet's next one (0 deploys the wallet); `valid_until` is unix time in seconds, after
    /// which the chain rejects the message. Keep it short (60 to 120 s): only then is the fate of a lost message
    /// known.
    pub fn transfer(
        &self,
        seqno: u32,
        valid_until: u32,
        messages: &[(SendMode, InternalMessage)],
    ) -> Result<UnsignedTransfer, WalletError> {
        if messages.is_empty() || messages.len() > MAX_MESSAGES {
            return Err(WalletError::MessageCount(messages.len()));
        }
        let actions = messages
            .iter()
            .fold(Layout::new().build(), |previous, (mode, message)| {
                Layout::new()
                    .reference(&previous)
                    .uint(ACTION_SEND_MESSAGE, 32)
                    .uint(mode.bits(), 8)
                    .reference(&message.to_cell())
                    .build()
            });
        let (body, hash) = Layout::new()
            .uint(OP_SIGNED_EXTERNAL, 32)
            .uint(u64::from(self.id), 32)
            .uint(u64::from(valid_until), 32)
            .uint(u64::from(seqno), 32)
            .bit(true)
            .reference(&actions)
            .bit(false)
            .build_hashed();
        Ok(UnsignedTransfer {
            wallet: self.clone(),
            seqno,
            valid_until,
            body,
            hash,
        })
    }
}

/// A transfer that waits for its signature.
#[derive(Debug, Clone)]
pub struct UnsignedTransfer {
    wallet: Wallet,
    seqno: u32,
    valid_until: u32,
    body: Cell,
    hash: [u8; 32],
}

impl UnsignedTransfer {
    /// What has to be signed.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Signs with a local signer, whose key must be the wallet's.
    pub fn sign(self, signer: &dyn Signer) -> Result<SignedMessage, WalletError> {
        if signer.public_key() != self.wallet.public_key {
            return Err(WalletError::ForeignKey {
                signer: signer.public_key(),
                wallet: self.wallet.public_key,
            });
        }
        let signature = signer.sign(&self.hash)?;
        self.with_signature(&signature)
    }

    /// Completes the message with a signature made elsewhere, after checking it.
    pub fn with_signature(self, signature: &Signature) -> Result<SignedMessage, WalletError> {
        if !self.wallet.public_key.verify(&self.hash, signature) {
            return Err(WalletError::ForeignSignature(self.wallet.public_key));
        }
        let body = Layout::new().append(&self.body).bytes(&signature.0).build();
        let init = (self.seqno == 0).then(|| self.wallet.state_init());
        let message = ExternalMessage {
            destination: self.wallet.address,
            init,
            body,
        };
        Ok(SignedMessage {
            boc: message.encode()?,
            hash: message.normalized_hash(),
            seqno: self.seqno,
            valid_until: self.valid_until,
            destination: self.wallet.address,
        })
    }
}

/// A message ready to broadcast. Persist it before the first broadcast and send these bytes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMessage {
    /// The bag of cells for `sendBoc`.
    pub boc: Vec<u8>,
    /// Normalised hash (TEP-467), by which its transaction is found.
    pub hash: [u8; 32],
    /// The wallet's seqno that it uses up.
    pub seqno: u32,
    /// Unix time in seconds after which the chain rejects it.
    pub valid_until: u32,
    /// The wallet.
    pub destination: Address,
}

impl SignedMessage {
    /// Reads back what was persisted: the bytes alone tell all the rest.
    pub fn decode(boc: &[u8]) -> Result<Self, WalletError> {
        let parsed = ParsedMessage::parse(&decode_boc(boc)?)?;
        let MessageInfo::ExternalIn { destination } = parsed.info else {
            return Err(WalletError::NotExternal);
        };
        let hash = parsed.normalized_hash().ok_or(WalletError::NotExternal)?;
        let mut body = crate::cells::Fields::new(&parsed.body, "wallet message");
        if body.uint(32)? != OP_SIGNED_EXTERNAL {
            return Err(body.malformed().into());
        }
        let _wallet_id = body.u32()?;
        let valid_until = body.u32()?;
        let seqno = body.u32()?;
        Ok(Self {
            boc: boc.to_vec(),
            hash,
            seqno,
            valid_until,
            destination,
        })
    }
}

#[cfg(test)]
mod tests;
