//! The payer's key: from a file or the environment, never from an argument, and never shown.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use cocoon_ton::{Network, SecretKey, Signer as _, Wallet};
use zeroize::Zeroizing;

/// Variable that holds the key itself.
const KEY_VARIABLE: &str = "COCOON_PAYER_KEY";
/// More than any key: 24 words of at most 8 letters. A larger file is something else.
const MAX_KEY_BYTES: u64 = 4096;

/// Where the payer's key is.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// File with the payer's key: 24 words or 64 hexadecimal digits. Otherwise the variable `COCOON_PAYER_KEY` holds
    /// the key itself.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// Who pays: a key and its wallet on one network.
pub struct Payer {
    pub key: SecretKey,
    pub wallet: Wallet,
}

impl Arguments {
    /// Reads the key. No error repeats any of its text.
    pub fn read(&self, network: &Network) -> Result<Payer> {
        let (text, source) = match &self.key_file {
            Some(path) => (read(path)?, path.display().to_string()),
            None => (variable()?, format!("the variable {KEY_VARIABLE}")),
        };
        let key = SecretKey::parse(&text)
            .with_context(|| format!("could not read the payer's key from {source}"))?;
        Ok(Payer::new(key, network))
    }
}

impl Payer {
    /// The payer with this key.
    pub fn new(key: SecretKey, network: &Network) -> Self {
        let wallet = Wallet::new(key.public_key(), network);
        Self { key, wallet }
    }
}

fn variable() -> Result<Zeroizing<String>> {
    match std::env::var(KEY_VARIABLE) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(std::env::VarError::NotPresent) => {
            bail!(
                "no key of the payer: give --key-file FILE, or set {KEY_VARIABLE} to 24 words or 64 hexadecimal digits"
            )
        }
        // The standard library's error would show the text.
        Err(std::env::VarError::NotUnicode(_)) => bail!("the variable {KEY_VARIABLE} is not text"),
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>> {
    let metadata =
        std::fs::metadata(path).with_context(|| format!("could not read the key file {}", path.display()))?;
    if metadata.len() > MAX_KEY_BYTES {
        bail!(
            "the key file {} holds {} bytes: it is no key",
            path.display(),
            metadata.len()
        );
    }
    warn_if_open(path, &metadata);
    let bytes = Zeroizing::new(
        std::fs::read(path).with_context(|| format!("could not read the key file {}", path.display()))?,
    );
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| anyhow::anyhow!("the key file {} is not text", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(unix)]
fn warn_if_open(path: &Path, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::PermissionsExt as _;
    if metadata.permissions().mode() & 0o077 != 0 {
        eprintln!(
            "warning: others can read the key file {path}: run `chmod 600 {path}`",
            path = path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path, _: &std::fs::Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_never_its_text() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["not a key", "abandon abandon about", "zz11"] {
            let path = folder.path().join("key");
            std::fs::write(&path, text).expect("writes");
            let arguments = Arguments {
                key_file: Some(path.clone()),
            };
            let Err(error) = arguments.read(&Network::TESTBED) else {
                panic!("a text that is no key was read")
            };
            let words = format!("{error:#}");
            assert!(words.contains(&path.display().to_string()), "{words}");
            assert!(!words.contains(text), "{words}");
        }
    }

    #[test]
    fn a_key_file_may_end_with_a_line_break() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).expect("writes");
        let payer = Arguments { key_file: Some(path) }
            .read(&Network::TESTBED)
            .expect("a key");
        assert_eq!(
            payer.wallet.public_key(),
            SecretKey::from_seed(&[0xab; 32]).public_key()
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, vec![b'a'; 5_000]).expect("writes");
        assert!(
            Arguments { key_file: Some(path) }
                .read(&Network::TESTBED)
                .is_err()
        );
    }
}
