//! Why a reconcile did not finish. Each variant says what was attempted, on what; the source says why.

use std::time::Duration;

use cocoon_api::json::Fault;
use kube::runtime::reflector::ObjectRef;

/// Characters of a message of the API server at most: what a condition takes.
const MAX_MESSAGE_CHARS: usize = 512;

/// Why a reconcile did not finish; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the Kubernetes API failed.
    #[error("could not {action} {object}")]
    Kube {
        /// What was attempted: `read`, `apply`, `delete`, …
        action: &'static str,
        /// Kind, namespace and name.
        object: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object came without a field that Kubernetes always sets.
    #[error("{object} has no {field}")]
    Incomplete {
        /// Kind, namespace and name.
        object: String,
        /// The field.
        field: &'static str,
    },
    /// A compare-and-swap lost against other writers more often than its limit.
    #[error("gave up on {object} after {attempts} writes that other writers overtook")]
    Contended {
        /// Kind, namespace and name.
        object: String,
        /// Writes tried.
        attempts: u32,
    },
    /// An amount left its range: never rounded or wrapped.
    #[error("amounts of {object} do not add up")]
    Money {
        /// Kind, namespace and name.
        object: String,
        /// The cause.
        #[source]
        source: cocoon_api::units::UnitError,
    },
    /// A ledger takes no more entries.
    #[error("could not meter {object}")]
    Ledger {
        /// Kind, namespace and name.
        object: String,
        /// The cause.
        #[source]
        source: cocoon_core::ledger::Full,
    },
    /// More was redeemed from a channel than its ledger can explain.
    #[error("nothing is metered on {object} while its ledger is behind: see its condition LedgerCurrent")]
    LedgerBehind {
        /// Kind, namespace and name.
        object: String,
    },
    /// An object of the name is there and somebody else's.
    #[error("{object} exists and is not this provider's: delete it, or give the provider another name")]
    Foreign {
        /// Kind, namespace and name.
        object: String,
    },
    /// The Secret of a job's results cannot be used.
    #[error("could not use the results")]
    Results {
        /// The cause.
        #[source]
        source: crate::dispatch::Unreadable,
    },
    /// It took longer than its limit: something that was asked does not answer.
    #[error("gave up on {action} after {} s; it is tried again", limit.as_secs())]
    TimedOut {
        /// What was attempted.
        action: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// Certificates could not be made or read.
    #[error("could not {action} the certificates of {object}")]
    Tls {
        /// What was attempted.
        action: &'static str,
        /// Whose certificates.
        object: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An agent did not answer as it should.
    #[error("could not {action} on agent {agent}")]
    Agent {
        /// What was attempted.
        action: &'static str,
        /// The agent's pod.
        agent: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The chain did not answer as it should.
    #[error("could not {action} on network {network}")]
    Chain {
        /// What was attempted.
        action: &'static str,
        /// Name of the network.
        network: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Result of a stage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds what was attempted to an error of the Kubernetes client.
pub trait KubeContext<T> {
    /// `action` is a verb; `object` names kind, namespace and name.
    fn attempt(self, action: &'static str, object: impl ToString) -> Result<T>;
}

impl<T> KubeContext<T> for kube::Result<T> {
    fn attempt(self, action: &'static str, object: impl ToString) -> Result<T> {
        self.map_err(|source| Error::Kube {
            action,
            object: object.to_string(),
            source: Box::new(source),
        })
    }
}

/// Kind, namespace and name of an object, for messages.
pub fn describe<K>(object: &K) -> String
where
    K: kube::Resource<DynamicType = ()>,
{
    ObjectRef::from_obj(object).to_string()
}

/// An error with its causes, on one line, without anybody's data.
///
/// Every error that reaches a log, a condition or an Event passes here. Errors of libraries that quote what they could
/// not take, answers of the API server and parsers above all, are told in our own words, and nothing below them is
/// told.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let quoted = own_words(error);
        next = if quoted.is_some() { None } else { error.source() };
        let words = quoted.unwrap_or_else(|| error.to_string());
        if !text.ends_with(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
    }
    text
}

/// What an error of a library means, where its own words may quote what it was given.
fn own_words(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<kube::Error>() {
        return Some(of_kubernetes(error));
    }
    if let Some(error) = error.downcast_ref::<Box<kube::Error>>() {
        return Some(of_kubernetes(error));
    }
    if let Some(error) = error.downcast_ref::<serde_json::Error>() {
        return Some(Fault::of(error).to_string());
    }
    if let Some(error) = error.downcast_ref::<tokio::task::JoinError>() {
        let how = if error.is_panic() {
            "panicked"
        } else {
            "was stopped"
        };
        return Some(format!("a task {how}"));
    }
    None
}

fn of_kubernetes(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => of_api_server(status),
        kube::Error::SerdeError(error) => format!("an answer of the API server {}", Fault::of(error)),
        // Of connections: they know no content.
        other => other.to_string(),
    }
}

/// Code, reason and fields. The message is left out where it is about objects that hold inputs, outputs or keys: it
/// quotes what was refused, and an admission webhook may say anything.
fn of_api_server(status: &kube::core::Status) -> String {
    const PRIVATE: [&str; 3] = ["secrets", "configmaps", "inferencejobs"];
    let mut text = format!("the API server answered {} {}", status.code, status.reason);
    let details = status.details.as_ref();
    let fields: Vec<&str> = details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| cause.field.as_str())
        .filter(|field| !field.is_empty() && !field.contains(['"', ' ']))
        .collect();
    if !fields.is_empty() {
        text.push_str(" because of ");
        text.push_str(&fields.join(", "));
    }
    let kind = details
        .map(|details| details.kind.to_lowercase())
        .unwrap_or_default();
    // Who may do what, and what a quota holds: said by Kubernetes' own admission, and of no use without its words.
    if status.code == 403
        && !kind.is_empty()
        && !PRIVATE
            .iter()
            .any(|private| kind.starts_with(&private[..private.len() - 1]))
    {
        text.push_str(": ");
        text.extend(status.message.chars().take(MAX_MESSAGE_CHARS));
    }
    text
}

#[cfg(test)]
mod tests;
