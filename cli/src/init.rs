//! `kubectl cocoon init`: a new wallet, its words in a Secret or a file, and what to fund it with.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use cocoon_api::names::WALLET_KEY;
use cocoon_core::settlement::REDEEM_FEE;
use cocoon_ton::{Address, Network, Phrase, SecretKey, Signer as _, Wallet};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use rand::TryRngCore as _;
use zeroize::Zeroizing;

use crate::{
    chain,
    kubernetes::{self, Asked as _, FIELD_MANAGER},
    output,
};

/// Claims whose fees a new farm's wallet should hold: a day of a busy channel.
const FUNDED_CLAIMS: u64 = 100;

/// Which wallet to make, and where its words go.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Network by name, and by global id where the name is not mainnet, testnet or testbed: addresses differ from
    /// network to network.
    #[arg(long, env = "COCOON_TON_NETWORK", value_name = "NAME[=ID]", value_parser = chain::network)]
    network: Network,
    /// Secret of the namespace that gets the farm's words. One that exists is never written over.
    #[arg(long, value_name = "NAME", default_value = "farm-wallet")]
    secret: String,
    /// Address that the farm is paid at, best one whose key lies in no cluster: the new wallet then only claims and
    /// pays the fees.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "key_file")]
    payout: Option<String>,
    /// For payers, whose key never lies in a cluster: a new file for the words instead of a Secret.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    key_file: Option<PathBuf>,
}

/// Makes the wallet, stores its words, and shows them once.
pub async fn run(arguments: Arguments, cluster: kubernetes::Arguments) -> Result<()> {
    let Arguments {
        network,
        secret,
        payout,
        key_file,
    } = arguments;
    if let Some(payout) = &payout {
        Address::parse_for(&network, payout).with_context(|| format!("--payout {payout}"))?;
    }
    let phrase = Phrase::generate(|bytes| rand::rngs::OsRng.try_fill_bytes(bytes))
        .context("the operating system gives no random bytes, so that no wallet can be made")?;
    let key = SecretKey::parse(phrase.as_str()).context("a new phrase is a key")?;
    let wallet = Wallet::new(key.public_key(), &network);
    let place = if let Some(path) = &key_file {
        write(path, &phrase)?;
        format!("the file {}", path.display())
    } else {
        let cluster = cluster.connect().await?;
        let secrets: Api<Secret> = cluster.api();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        secrets
            .create(&params, &object(&secret, &phrase))
            .await
            .asked(|| {
                format!(
                    "store the words in Secret {secret} of namespace {}",
                    cluster.namespace
                )
            })?;
        format!("Secret {secret} of namespace {}", cluster.namespace)
    };
    let farm = Owner::Farm(&secret, payout.as_deref());
    let owner = key_file.as_deref().map_or(farm, Owner::Payer);
    let address = wallet.address().friendly(&network, false);
    let text = Zeroizing::new(shown(&phrase, (&place, owner), &address, &network));
    output::print(&text)
}

fn object(name: &str, phrase: &Phrase) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            WALLET_KEY.to_owned(),
            ByteString(phrase.as_str().as_bytes().to_vec()),
        )])),
        ..Secret::default()
    }
}

/// A new file that its owner alone reads.
fn write(path: &Path, phrase: &Phrase) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| {
        format!(
            "could not make the key file {}: a file that exists is never written over",
            path.display()
        )
    })?;
    let line = Zeroizing::new(format!("{}\n", phrase.as_str()));
    file.write_all(line.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("could not write the key file {}", path.display()))
}

/// Whose wallet it is, and where its words went.
#[derive(Clone, Copy)]
enum Owner<'a> {
    /// The Secret, and the address that is paid where it is another.
    Farm(&'a str, Option<&'a str>),
    Payer(&'a Path),
}

fn shown(phrase: &Phrase, (place, owner): (&str, Owner<'_>), address: &str, network: &Network) -> String {
    let words: Vec<&str> = phrase.as_str().split(' ').collect();
    let lines: Vec<String> = words
        .chunks(6)
        .map(|line| format!("  {}\n", line.join(" ")))
        .collect();
    let next = match owner {
        Owner::Payer(file) => format!(
            "Send it what you want to spend and 0.1 TON for fees, and open a channel:\n\n  kubectl cocoon channel open payer \
             --provider farm --deposit 1 --cap 0.9 --key-file {}\n",
            file.display()
        ),
        Owner::Farm(secret, payout) => {
            let (receives, lines) = match payout {
                None => (
                    "it pays them, and receives what they bring",
                    format!("address: {address}"),
                ),
                Some(payout) => (
                    "it pays them, and what they bring goes to the payout address",
                    format!("address: {payout}\n    claimer: {address}"),
                ),
            };
            let fees = REDEEM_FEE.nano().saturating_mul(FUNDED_CLAIMS);
            let fees = cocoon_api::NanoTon::from_nano(fees).unwrap_or_default();
            format!(
                "Send it {} TON for the fees of its first {FUNDED_CLAIMS} claims: {receives}. Then name it \
             in a CocoonProvider:\n\n  payout:\n    network: {}\n    {lines}\n    walletSecretRef: {{name: {secret}}}\n",
                fees.to_ton_string(),
                network.name()
            )
        }
    };
    format!(
        "The 24 words of the new wallet. They are shown this once and lie in {place}; write them down, since whoever has them has the \
         wallet, and without them it is lost.\n\n{}\nIts address on {}:\n\n  {address}\n\n{next}",
        lines.concat(),
        network.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase() -> Phrase {
        Phrase::generate(|bytes| rand::rngs::OsRng.try_fill_bytes(bytes)).expect("random bytes")
    }

    #[test]
    fn the_secret_holds_what_the_operator_reads_as_a_wallet() {
        let phrase = phrase();
        let secret = object("farm-wallet", &phrase);
        assert_eq!(secret.metadata.name.as_deref(), Some("farm-wallet"));
        let text = String::from_utf8(secret.data.unwrap_or_default()[WALLET_KEY].0.clone()).expect("text");
        assert!(SecretKey::parse(&text).is_ok());
    }

    #[test]
    fn a_key_file_is_its_owners_alone_and_never_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("payer.key");
        let first = phrase();
        write(&path, &first).expect("writes");
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(text.trim(), first.as_str());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let error = write(&path, &phrase()).expect_err("it exists");
        assert!(format!("{error:#}").contains("never written over"), "{error:#}");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), text);
    }

    #[test]
    fn what_is_shown_has_the_words_the_address_and_what_to_do_next() {
        let phrase = phrase();
        let text = shown(
            &phrase,
            ("Secret w of namespace n", Owner::Farm("w", None)),
            "UQ1",
            &Network::TESTNET,
        );
        for word in phrase.as_str().split(' ') {
            assert!(text.contains(word), "{word}");
        }
        for words in [
            "Secret w of namespace n",
            "UQ1",
            "0.15 TON",
            "network: testnet",
            "walletSecretRef: {name: w}",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let owner = Owner::Farm("w", Some("UQ2"));
        let text = shown(
            &phrase,
            ("Secret w of namespace n", owner),
            "UQ1",
            &Network::TESTNET,
        );
        for words in ["address: UQ2\n    claimer: UQ1\n", "goes to the payout address"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let file = Path::new("payer.key");
        let text = shown(
            &phrase,
            ("the file payer.key", Owner::Payer(file)),
            "UQ1",
            &Network::TESTNET,
        );
        assert!(text.contains("--key-file payer.key"), "{text}");
    }
}
