//! The file that names the TON networks: `{networks: [{name, globalId, endpoints: [URL or {url, apiKeyFile}]}]}`.
//!
//! It holds no keys: a key lies in a file of its own, which a Secret mounts. Keys are read at start.

use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
};

use cocoon_ton::{ApiKey, EndpointConfig, Network, Quorum, client::ClientError, quorum::MAX_ENDPOINTS};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Networks at most.
const MAX_NETWORKS: usize = 32;

/// Largest file that is read: 32 networks of 8 endpoints fit many times.
const MAX_BYTES: u64 = 256 * 1024;

/// More of a key's file than this is not read: what is longer is no key, which [`ApiKey::parse`] says.
const MAX_KEY_BYTES: u64 = 4 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    networks: Vec<Entry>,
}

/// One network as the file names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Name, as in `spec.payout.network`.
    pub name: String,
    /// Config parameter 19.
    pub global_id: i32,
    /// Toncenter v2 endpoints, of which more than half must agree.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint as the file names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "EndpointText")]
pub struct Endpoint {
    /// Its base address.
    pub url: String,
    /// The file that holds its API key.
    pub api_key_file: Option<PathBuf>,
}

impl Endpoint {
    /// An endpoint that asks for no key.
    pub fn open(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key_file: None,
        }
    }
}

/// The address alone, or with the file of its key.
#[derive(Deserialize)]
#[serde(untagged)]
enum EndpointText {
    Url(String),
    WithKey(WithKey),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WithKey {
    url: String,
    api_key_file: Option<PathBuf>,
}

impl From<EndpointText> for Endpoint {
    fn from(text: EndpointText) -> Self {
        match text {
            EndpointText::Url(url) => Self::open(url),
            EndpointText::WithKey(WithKey { url, api_key_file }) => Self { url, api_key_file },
        }
    }
}

impl Entry {
    /// The network through its endpoints, with the keys of their files. Opens no connection.
    pub(super) fn open(self) -> Result<Quorum, FileError> {
        let Self {
            name,
            global_id,
            endpoints,
        } = self;
        let mut configs = Vec::with_capacity(endpoints.len());
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            let unusable = |source| FileError::Endpoint {
                network: name.clone(),
                index,
                source,
            };
            let api_key = match &endpoint.api_key_file {
                Some(path) => Some(
                    key(path)?
                        .and_then(|text| ApiKey::parse(&text))
                        .map_err(unusable)?,
                ),
                None => None,
            };
            let url = endpoint.url;
            configs.push(EndpointConfig { url, api_key });
        }
        let unusable = |source| FileError::Network {
            network: name.clone(),
            source,
        };
        Quorum::new(Network::new(name.clone(), global_id), &configs).map_err(unusable)
    }
}

/// The networks file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than 256 KiB.
    #[error("{path} is larger than {MAX_BYTES} bytes: it names networks only")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It is no YAML of the expected shape.
    #[error(
        "the networks file is not {{networks: [{{name, globalId, endpoints: [URL or {{url, apiKeyFile}}]}}]}}: {0}"
    )]
    Shape(String),
    /// A name occurs twice.
    #[error("networks: {0} is named twice")]
    Twice(String),
    /// Too many networks or endpoints, or none.
    #[error("{field}: has {found} entries, from {least} to {limit} are possible")]
    Count {
        /// The list.
        field: String,
        /// Its length.
        found: usize,
        /// The least.
        least: usize,
        /// The limit.
        limit: usize,
    },
    /// An endpoint's address cannot be used.
    #[error("networks: {network}: endpoint {index} cannot be used")]
    Endpoint {
        /// Name of the network.
        network: String,
        /// Number of the endpoint, from 0; addresses may hold secrets.
        index: usize,
        /// The cause.
        #[source]
        source: ClientError,
    },
    /// A network's endpoints cannot be used together, or one of them cannot.
    #[error("networks: {network}: its endpoints cannot be used")]
    Network {
        /// Name of the network.
        network: String,
        /// The cause.
        #[source]
        source: ClientError,
    },
}

pub(super) fn read(path: &Path) -> Result<Vec<Entry>, FileError> {
    let name = || path.display().to_string();
    let failed = |source| FileError::Read { path: name(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(FileError::TooLarge { path: name() });
    }
    parse(&std::fs::read_to_string(path).map_err(failed)?)
}

/// The text of a key's file. The outer error is the file's, the inner one the text's.
fn key(path: &Path) -> Result<Result<Zeroizing<String>, ClientError>, FileError> {
    let failed = |source| FileError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut text = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_KEY_BYTES).read_to_end(&mut text).map_err(failed)?;
    Ok(match std::str::from_utf8(&text) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(ClientError::InvalidEndpoint {
            reason: "its API key is no text".to_owned(),
        }),
    })
}

/// Reads the text of the file.
pub fn parse(text: &str) -> Result<Vec<Entry>, FileError> {
    let File { networks } =
        serde_saphyr::from_str(text).map_err(|error| FileError::Shape(error.to_string()))?;
    // Without a network nothing can be paid; offers that ask for nothing are served all the same.
    bounded("networks", networks.len(), 0, MAX_NETWORKS)?;
    let mut names = BTreeSet::new();
    for network in &networks {
        bounded(
            &format!("networks: {}: endpoints", network.name),
            network.endpoints.len(),
            1,
            MAX_ENDPOINTS,
        )?;
        if !names.insert(&network.name) {
            return Err(FileError::Twice(network.name.clone()));
        }
    }
    Ok(networks)
}

fn bounded(field: &str, found: usize, least: usize, limit: usize) -> Result<(), FileError> {
    if (least..=limit).contains(&found) {
        return Ok(());
    }
    Err(FileError::Count {
        field: field.to_owned(),
        found,
        least,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_networks_file_is_read() {
        let text = "networks:\n- name: testnet\n  globalId: -3\n  endpoints: [https://testnet.toncenter.com/api/v2]\n";
        let expected = Entry {
            name: "testnet".into(),
            global_id: -3,
            endpoints: vec![Endpoint::open("https://testnet.toncenter.com/api/v2")],
        };
        assert_eq!(parse(text).unwrap(), [expected]);
        assert!(parse(r#"{"networks":[{"name":"a","globalId":1,"endpoints":["http://h/api/v2"]}]}"#).is_ok());
    }

    #[test]
    fn an_operator_without_a_network_starts_and_serves_what_is_free() {
        assert_eq!(parse("networks: []").unwrap(), []);
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            (
                "networks: [{name: a, globalId: 1, endpoints: []}]",
                "networks: a: endpoints: has 0 entries",
            ),
            (
                "networks: [{name: a, globalId: 1, endpoints: [u]}, {name: a, globalId: 2, endpoints: [u]}]",
                "networks: a is named twice",
            ),
            ("networks: [{name: a, globalID: 1, endpoints: [u]}]", "globalI"),
            ("networks: 7", "the networks file is not"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    fn entry(endpoints: Vec<Endpoint>) -> Entry {
        Entry {
            name: "mainnet".into(),
            global_id: -239,
            endpoints,
        }
    }

    fn with_key(url: &str, path: &Path) -> Endpoint {
        Endpoint {
            url: url.into(),
            api_key_file: Some(path.to_owned()),
        }
    }

    #[test]
    fn an_endpoints_key_is_read_from_its_file_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("toncenter");
        let text = format!(
            "networks: [{{name: mainnet, globalId: -239, endpoints: [{{url: 'https://a.example/api/v2', apiKeyFile: {}}}, 'https://b.example/api/v2']}}]",
            path.display()
        );
        let entry = parse(&text).unwrap().remove(0);
        assert_eq!(entry.endpoints[0].api_key_file.as_deref(), Some(path.as_path()));
        let missing = entry.clone().open().unwrap_err();
        assert!(missing.to_string().contains("toncenter"), "{missing}");
        std::fs::write(&path, "top-secret\n").unwrap();
        let quorum = entry.clone().open().unwrap();
        assert!(!format!("{quorum:?}").contains("top-secret"));
        for unusable in ["", "top-secret\nkey", &"top-secret".repeat(1_000)] {
            std::fs::write(&path, unusable).unwrap();
            let error = entry.clone().open().unwrap_err();
            assert!(!format!("{error:?} {error}").contains("top-secret"), "{error:?}");
        }
    }

    #[test]
    fn a_network_of_money_is_asked_by_https_and_each_endpoint_once() {
        let open = |url: &str| Endpoint::open(url);
        entry(vec![open("https://a.example/api/v2")]).open().unwrap();
        entry(vec![open("http://127.0.0.1:1/api/v2")]).open().unwrap();
        entry(vec![open("http://a.example/api/v2")]).open().unwrap_err();
        entry(vec![
            open("https://a.example/api/v2"),
            open("https://a.example/api/v2/"),
        ])
        .open()
        .unwrap_err();
        let missing = Path::new("/nowhere/key");
        entry(vec![with_key("https://a.example/api/v2", missing)])
            .open()
            .unwrap_err();
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
