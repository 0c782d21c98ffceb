//! Names of what is made for a provider.

use sha2::{Digest as _, Sha256};

/// Longest name: a Deployment's name is a prefix of its pods' names, which are DNS labels.
const MAX_NAME: usize = 63;
/// What Kubernetes adds to a Deployment's name for a pod: `-` and the `ReplicaSet`'s ten characters, `-` and five.
const POD_SUFFIX: usize = 17;
/// Hexadecimal digits of the digest that tells apart what was cut or rewritten.
const DIGEST_CHARS: usize = 8;

/// `<provider>-<model>` where that is a DNS label that leaves room for a pod's suffix, else a part of it and a digest
/// of both names.
pub(super) fn agents(provider: &str, model: &str) -> String {
    let plain = format!("{provider}-{model}");
    if plain.len() <= MAX_NAME - POD_SUFFIX && !plain.contains('.') {
        return plain;
    }
    digested(provider, model)
}

/// The name with the digest, which no other provider and model share.
pub(super) fn digested(provider: &str, model: &str) -> String {
    let digest = hex::encode(Sha256::digest(format!("{provider}/{model}")));
    let readable: String = format!("{provider}-{model}")
        .chars()
        .map(|letter| if letter == '.' { '-' } else { letter })
        .take(MAX_NAME - POD_SUFFIX - DIGEST_CHARS - 1)
        .collect();
    format!("{}-{}", readable.trim_end_matches('-'), &digest[..DIGEST_CHARS])
}

/// Name of the Secret with what the agents trust.
pub(super) fn tls_secret(provider: &str) -> String {
    format!("{provider}-agent-tls")
}

/// Name of the `NetworkPolicy` of the agents.
pub(super) fn network_policy(provider: &str) -> String {
    format!("{provider}-agents")
}

/// Name of the `NetworkPolicy` of downloads.
pub(super) fn download_policy(provider: &str) -> String {
    format!("{provider}-downloads")
}

/// Name of the pod that downloads a model onto a node: another one for another file, address or Secret.
pub(super) fn download(agents: &str, what: &[&str], node: &str) -> String {
    let mut digest = Sha256::new();
    for part in what.iter().chain([&node]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = hex::encode(digest.finalize());
    format!("{agents}-download-{}", &digest[..DIGEST_CHARS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stay_readable() {
        assert_eq!(
            agents("farm", "smollm2-135m-instruct"),
            "farm-smollm2-135m-instruct"
        );
    }

    #[test]
    fn long_or_dotted_names_get_a_digest_and_stay_labels() {
        for (provider, model) in [
            ("farm", "llama-3.1-8b"),
            (&*"p".repeat(60), "m"),
            ("a", &*"m.".repeat(30)),
        ] {
            let name = agents(provider, model);
            assert!(name.len() + POD_SUFFIX <= MAX_NAME, "{name}");
            let is_label = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            assert!(is_label && !name.contains("--"), "{name}");
        }
        assert_ne!(agents("a", "b.c"), agents("a", "b-c"));
    }
}
