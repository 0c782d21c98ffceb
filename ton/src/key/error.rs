//! Why a text is no key or no signature.

/// A text holds no key, or no signature. Never contains any of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither of the two forms of a secret.
    #[error("secret must be 24 mnemonic words or 64 hex digits")]
    SecretForm,
    /// 24 words whose version check fails: mistyped, in the wrong order, or of another kind of wallet.
    #[error("the 24 words are no TON mnemonic: one is mistyped, or they belong to another kind of wallet")]
    Mnemonic,
    /// Not 64 hex digits of a point on the curve, or one of small order, for which anybody can sign.
    #[error("public key must be the 64 hex digits of an Ed25519 key")]
    PublicKey,
    /// Not 128 hexadecimal digits.
    #[error("signature must be 128 hexadecimal digits")]
    Signature,
}
