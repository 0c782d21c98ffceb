//! Names that several processes must agree on: labels, annotations, finalizers, keys of Secrets.

/// API group of the Kubernetes kinds.
pub const GROUP: &str = "cocoon.farm";
/// Version of the Kubernetes kinds.
pub const VERSION: &str = "v1alpha1";
/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "cocoon-operator";

/// Finalizer that lets usage be metered and settled before its object goes.
pub const SETTLEMENT_FINALIZER: &str = "cocoon.farm/settlement";
/// Set to `"true"` on a `CocoonProvider`: let it and its channels go and write off what was not settled. On any other
/// object it means nothing, since payers own those.
pub const ABANDON_ANNOTATION: &str = "cocoon.farm/abandon";
/// When the agents of a model last became idle (RFC 3339), on their Deployment.
pub const IDLE_SINCE_ANNOTATION: &str = "cocoon.farm/idle-since";

/// UID of the job, on its results: who orphans them takes their owner references away, and they are the job's all the
/// same.
pub const JOB_UID_ANNOTATION: &str = "cocoon.farm/job-uid";

/// Name of the provider, on everything made for it.
pub const PROVIDER_LABEL: &str = "cocoon.farm/provider";
/// Name of the model, on agents.
pub const MODEL_LABEL: &str = "cocoon.farm/model";
/// Name of the job, on its results.
pub const JOB_LABEL: &str = "cocoon.farm/job";
/// On a Secret, with the value [`INPUT_LABEL_VALUE`]: its owner allows jobs of the namespace to read it as their input.
/// The operator reads no Secret without it for a job, since a job's author may otherwise have it send any Secret of the
/// namespace to an agent.
pub const INPUT_LABEL: &str = "cocoon.farm/input";
/// Value of [`INPUT_LABEL`].
pub const INPUT_LABEL_VALUE: &str = "true";
/// Key of the Secret in which `kubectl cocoon run` keeps prompts: `OpenAI` batch JSONL.
pub const REQUESTS_KEY: &str = "requests.jsonl";
/// Kubernetes' recommended label for the tool that owns an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Kubernetes' recommended label for the part within an application.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT_LABEL`] on agents.
pub const AGENT_COMPONENT: &str = "gpu-agent";

/// Value of [`COMPONENT_LABEL`] on pods that download a model onto a node.
pub const DOWNLOAD_COMPONENT: &str = "model-download";
/// On a Secret, with the value `"true"`: its keys are headers that downloads may send.
pub const HEADERS_LABEL: &str = "cocoon.farm/headers";

/// Key of the wallet Secret whose text is 24 words or 64 hexadecimal digits.
pub const WALLET_KEY: &str = "key";
/// Key of a page of results: one `OpenAI` batch result a line.
pub const RESULTS_KEY: &str = "results.jsonl";
/// Key of a page of results: one receipt a line of the results that were delivered and are billed, in the order of
/// landing.
pub const RECEIPTS_KEY: &str = "receipts.jsonl";
/// Key of a page of results: one receipt a line of the results that were not delivered, because they did not fit or
/// another attempt's were first. They are free, and kept so that every agent's chain of receipts verifies from its
/// start.
pub const UNDELIVERED_KEY: &str = "undelivered.jsonl";
/// Key of a page of results: the tokens of each result that was delivered, one a line, by which its receipt can be
/// checked.
pub const TOKENS_KEY: &str = "tokens.jsonl";
/// Key of the open page of results: name and digest of each closed page, one a line, in the order in which they were
/// closed.
pub const PAGES_KEY: &str = "pages.jsonl";

/// Port on which an agent serves the operator, with mutual TLS.
pub const AGENT_PORT: u16 = 8443;
/// Port on which an agent answers probes and metrics, without TLS and without any job's data.
pub const AGENT_HEALTH_PORT: u16 = 8080;

/// Whether the text can be the name of an object: a DNS subdomain. A reference that is none names nothing, and is never
/// put into a URL or a selector.
pub fn is_object_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let edge =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(label.as_bytes().first())
            && edge(label.as_bytes().last())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether the text can be the key of a label or an annotation: a name of at most 63 characters, which may follow a DNS
/// subdomain and `/`.
pub fn is_qualified_name(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_object_name(prefix) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}

/// Whether the text can be the value of a label: at most 63 letters, digits, `.`, `-` and `_`, the first and last of
/// which is a letter or digit; or nothing.
pub fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && edge(text.as_bytes().first())
        && edge(text.as_bytes().last())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Audience of the token that an agent's pod is given: who may be shown it. The API server takes no token for another
/// audience than its own, so that it gives no right in the cluster.
pub const AGENT_AUDIENCE: &str = "cocoon.farm/agent";

/// Name under which an agent is dialled. It is never resolved and in no certificate: the operator dials the pod's
/// address, and takes the certificate by which it recognised this pod.
pub fn agent_server_name(pod_uid: &str) -> String {
    format!("{pod_uid}.agent.cocoon.internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_of_labels_are_those_of_kubernetes() {
        for key in ["a", "example.org/team", "A_b.c-1", "kueue.x-k8s.io/queue-name"] {
            assert!(is_qualified_name(key), "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "a b",
            "-a",
            "a-",
            "Example.org/a",
            "a/b/c",
            &"a".repeat(64),
        ] {
            assert!(!is_qualified_name(key), "{key}");
        }
        for value in ["", "a", "A.b_c-1"] {
            assert!(is_label_value(value), "{value}");
        }
        for value in ["a b", "-a", "a.", "\u{e4}", &"a".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
    }
}
