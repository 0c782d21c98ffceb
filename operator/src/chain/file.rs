//! The file that names the TON networks: `{networks: [{name, globalId, endpoints: [URL]}]}`.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

/// Endpoints of one network at most: every read asks all of them, and three already outvote one that lies.
const MAX_ENDPOINTS: usize = 8;

/// Networks at most.
const MAX_NETWORKS: usize = 32;

/// Largest file that is read: 32 networks of 8 endpoints fit many times.
const MAX_BYTES: u64 = 256 * 1024;

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
    /// Base addresses of toncenter v2 endpoints.
    pub endpoints: Vec<String>,
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
    #[error("the networks file is not {{networks: [{{name, globalId, endpoints: [URL]}}]}}: {0}")]
    Shape(String),
    /// A name occurs twice.
    #[error("networks: {0} is named twice")]
    Twice(String),
    /// Too many networks or endpoints, or none.
    #[error("{field}: has {found} entries, from 1 to {limit} are possible")]
    Count {
        /// The list.
        field: String,
        /// Its length.
        found: usize,
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
        source: cocoon_ton::client::ClientError,
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

/// Reads the text of the file.
pub fn parse(text: &str) -> Result<Vec<Entry>, FileError> {
    let File { networks } =
        serde_saphyr::from_str(text).map_err(|error| FileError::Shape(error.to_string()))?;
    bounded("networks", networks.len(), MAX_NETWORKS)?;
    let mut names = BTreeSet::new();
    for network in &networks {
        bounded(
            &format!("networks: {}: endpoints", network.name),
            network.endpoints.len(),
            MAX_ENDPOINTS,
        )?;
        if !names.insert(&network.name) {
            return Err(FileError::Twice(network.name.clone()));
        }
    }
    Ok(networks)
}

fn bounded(field: &str, found: usize, limit: usize) -> Result<(), FileError> {
    if (1..=limit).contains(&found) {
        return Ok(());
    }
    Err(FileError::Count {
        field: field.to_owned(),
        found,
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
            endpoints: vec!["https://testnet.toncenter.com/api/v2".into()],
        };
        assert_eq!(parse(text).unwrap(), [expected]);
        assert!(parse(r#"{"networks":[{"name":"a","globalId":1,"endpoints":["http://h/api/v2"]}]}"#).is_ok());
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("networks: []", "networks: has 0 entries"),
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

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
