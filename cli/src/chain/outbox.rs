//! Signed messages that may be under way: kept on disk from before the first broadcast until their fate is known.
//!
//! One wallet has at most one. Whoever finds one finishes it first, so a run that was interrupted never pays twice.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use cocoon_ton::{Address, Network, SignedMessage};

/// More than any message of this program, which carries one payment and at most two contracts' code: about 3 KB.
const MAX_MESSAGE_BYTES: u64 = 64 * 1024;

/// Where messages are kept.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Folder for signed messages whose fate is unknown; otherwise `cocoon` in `XDG_STATE_HOME` or `~/.local/state`.
    #[arg(long, env = "COCOON_STATE", value_name = "FOLDER")]
    state: Option<PathBuf>,
}

impl Arguments {
    /// The folder, made on first use.
    pub fn open(&self) -> Result<Outbox> {
        let folder = match (
            &self.state,
            std::env::var_os("XDG_STATE_HOME"),
            std::env::home_dir(),
        ) {
            (Some(folder), _, _) => folder.clone(),
            (None, Some(base), _) if !base.is_empty() => PathBuf::from(base).join("cocoon"),
            (None, _, Some(home)) => home.join(".local/state/cocoon"),
            (None, _, None) => {
                anyhow::bail!("no folder for signed messages: set HOME, or give --state FOLDER")
            }
        };
        Ok(Outbox::new(folder))
    }
}

/// The folder of messages, one file a wallet.
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// Keeps messages in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, network: &Network, wallet: &Address) -> PathBuf {
        self.folder.join(format!(
            "{}_{}.boc",
            network.global_id(),
            hex::encode(wallet.account)
        ))
    }

    /// The wallet's message whose fate is unknown.
    pub fn load(&self, network: &Network, wallet: &Address) -> Result<Option<SignedMessage>> {
        let path = self.path(network, wallet);
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > MAX_MESSAGE_BYTES => Err(ErrorKind::FileTooLarge.into()),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        let damaged = || {
            format!(
                "could not read the signed message {}: once its wallet is quiet for two minutes, delete it",
                path.display()
            )
        };
        let message = SignedMessage::decode(&bytes.with_context(damaged)?).with_context(damaged)?;
        anyhow::ensure!(
            message.destination == *wallet,
            "{} holds a message of another wallet: move it away",
            path.display()
        );
        Ok(Some(message))
    }

    /// Keeps a message that is about to be sent. False where the wallet has one already: another run is at work.
    pub fn store(&self, network: &Network, message: &SignedMessage) -> Result<bool> {
        let path = self.path(network, &message.destination);
        store(&self.folder, &path, &message.boc)
            .with_context(|| format!("could not keep the signed message {}", path.display()))
    }

    /// Forgets the wallet's message, whose fate is known.
    pub fn remove(&self, network: &Network, wallet: &Address) -> Result<()> {
        let path = self.path(network, wallet);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("could not delete {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The whole file appears at once, or not at all, and only where there is none.
fn store(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file = fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => {
            fs::File::open(folder)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use cocoon_ton::{SecretKey, Signer as _, Wallet, message::InternalMessage, wallet::SendMode};

    use super::*;

    fn message() -> SignedMessage {
        let key = SecretKey::from_seed(&[3; 32]);
        let wallet = Wallet::new(key.public_key(), &Network::TESTBED);
        let payment = InternalMessage::transfer(wallet.address(), cocoon_api::NanoTon::ZERO);
        let unsigned = wallet
            .transfer(7, 1_000, &[(SendMode::ExactValue, payment)])
            .expect("a transfer");
        unsigned.sign(&key).expect("a signature")
    }

    #[test]
    fn a_message_is_kept_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::new(folder.path().join("deep"));
        let message = message();
        let wallet = message.destination;
        assert!(outbox.load(&Network::TESTBED, &wallet).expect("loads").is_none());
        assert!(outbox.store(&Network::TESTBED, &message).expect("stores"));
        assert_eq!(
            outbox.load(&Network::TESTBED, &wallet).expect("loads").as_ref(),
            Some(&message)
        );
        assert!(outbox.load(&Network::MAINNET, &wallet).expect("loads").is_none());
        outbox.remove(&Network::TESTBED, &wallet).expect("removes");
        outbox
            .remove(&Network::TESTBED, &wallet)
            .expect("removes what is gone");
        assert!(outbox.load(&Network::TESTBED, &wallet).expect("loads").is_none());
    }

    #[test]
    fn a_wallet_has_one_message_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::new(folder.path().to_owned());
        assert!(outbox.store(&Network::TESTBED, &message()).expect("stores"));
        assert!(!outbox.store(&Network::TESTBED, &message()).expect("answers"));
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_outbox() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Outbox::new(folder.path().to_owned());
        let wallet = message().destination;
        fs::write(outbox.path(&Network::TESTBED, &wallet), [0; 9]).expect("writes");
        assert!(outbox.load(&Network::TESTBED, &wallet).is_err());
    }
}
