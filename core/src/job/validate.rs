//! From a raw `InferenceJob` to typed values: after this stage nobody reads the specification.

use std::time::Duration;

use cocoon_api::{
    NanoTon,
    agent::{Endpoint, SamplingDefaults},
    conditions::{Accepted, Observation, Reason as _},
    crd::{InferenceJob, job::BillingMode},
};

use super::input::{self, InputError, Requests};

/// What the operator read for a job's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputText {
    /// The requests are in the specification.
    Inline,
    /// Text of a key of a `ConfigMap` or Secret.
    Text {
        /// Object and key, for messages.
        source_name: String,
        /// The text.
        text: String,
    },
    /// The object or its key does not exist yet.
    Missing {
        /// Object and key, for messages.
        source_name: String,
    },
}

/// A job whose specification is sound.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedJob {
    /// Name of the object.
    pub name: String,
    /// UID of the object.
    pub uid: String,
    /// The model it asks for.
    pub model: String,
    /// How its bodies read.
    pub endpoint: Endpoint,
    /// Its requests.
    pub requests: Requests,
    /// Sampling where a body is silent.
    pub sampling: SamplingDefaults,
    /// Requests computed at once.
    pub parallelism: u32,
    /// Held back.
    pub suspend: bool,
    /// How long it may run.
    pub deadline: Option<Duration>,
    /// Attempts that may be lost.
    pub backoff_limit: u32,
    /// Who pays.
    pub billing: Billing,
}

/// Who pays for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Billing {
    /// Nobody.
    Free,
    /// A channel, up to a budget.
    Channel {
        /// Name of the channel.
        name: String,
        /// The budget.
        budget: NanoTon,
    },
}

/// Why a job is not accepted, and whether that can change without a new job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The condition `Accepted`.
    pub accepted: Observation,
    /// The specification itself is wrong and immutable, so the job fails.
    pub is_final: bool,
}

/// Reads the specification.
pub fn validate(job: &InferenceJob, text: &InputText) -> Result<ValidatedJob, Rejection> {
    let spec = &job.spec;
    let requests = requests(job, text)?;
    let accepted_digest = job
        .status
        .as_ref()
        .and_then(|status| status.input_sha256.as_deref());
    if accepted_digest.is_some_and(|digest| digest != requests.digest.to_string()) {
        return Err(invalid(
            "the input has changed since the job was accepted: make a new job",
            true,
        ));
    }
    let billing = match (
        spec.billing.mode,
        &spec.billing.channel_ref,
        spec.billing.max_nano,
    ) {
        (BillingMode::Free, _, _) => Billing::Free,
        (BillingMode::Channel, Some(channel), Some(budget)) => Billing::Channel {
            name: channel.name.clone(),
            budget,
        },
        (BillingMode::Channel, _, _) => {
            return Err(invalid(
                "spec.billing: mode Channel needs channelRef and maxNano",
                true,
            ));
        }
    };
    let parameters = &spec.parameters;
    Ok(ValidatedJob {
        name: job.metadata.name.clone().unwrap_or_default(),
        uid: job.metadata.uid.clone().unwrap_or_default(),
        model: spec.model.clone(),
        endpoint: spec.endpoint,
        requests,
        sampling: SamplingDefaults {
            max_tokens: parameters.max_tokens,
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            top_k: parameters.top_k,
            seed: parameters.seed,
        },
        parallelism: spec.parallelism.max(1),
        suspend: spec.suspend,
        deadline: spec
            .active_deadline_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs),
        backoff_limit: spec.backoff_limit,
        billing,
    })
}

fn requests(job: &InferenceJob, text: &InputText) -> Result<Requests, Rejection> {
    let endpoint = job.spec.endpoint;
    let read: Result<Requests, InputError> = match (text, &job.spec.input.inline) {
        (InputText::Inline, Some(bodies)) => input::inline(bodies, endpoint),
        (InputText::Inline, None) => {
            return Err(invalid(
                "spec.input: exactly one of inline, configMapRef and secretRef must be set",
                true,
            ));
        }
        (InputText::Text { source_name, text }, _) => input::batch(text, source_name, endpoint),
        (InputText::Missing { source_name }, _) => {
            return Err(invalid(&format!("{source_name} does not exist yet"), false));
        }
    };
    read.map_err(|error| invalid(&error.to_string(), true))
}

fn invalid(message: &str, is_final: bool) -> Rejection {
    Rejection {
        accepted: Accepted::InvalidInput.condition(message),
        is_final,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(input: &serde_json::Value) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": "j", "uid": "u"},
            "spec": {"model": "m", "endpoint": "/v1/completions", "input": input,
                     "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 7}},
        }))
        .unwrap()
    }

    #[test]
    fn the_smallest_job_is_sound() {
        let valid = validate(&job(&json!({"inline": [{"prompt": "x"}]})), &InputText::Inline).unwrap();
        assert_eq!(valid.requests.items.len(), 1);
        assert_eq!(
            valid.billing,
            Billing::Channel {
                name: "c".into(),
                budget: NanoTon::from_nano(7).unwrap()
            }
        );
    }

    #[test]
    fn a_missing_config_map_may_still_come() {
        let missing = InputText::Missing {
            source_name: "ConfigMap a key b".into(),
        };
        let rejection = validate(
            &job(&json!({"configMapRef": {"name": "a", "key": "b"}})),
            &missing,
        )
        .unwrap_err();
        assert!(!rejection.is_final);
        assert_eq!(rejection.accepted.message, "ConfigMap a key b does not exist yet");
    }

    #[test]
    fn an_input_that_changes_after_acceptance_is_refused() {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}));
        let digest = validate(&job, &InputText::Inline)
            .unwrap()
            .requests
            .digest
            .to_string();
        job.status.get_or_insert_default().input_sha256 = Some(digest);
        validate(&job, &InputText::Inline).unwrap();
        job.spec.input.inline = serde_json::from_value(json!([{"prompt": "y"}])).unwrap();
        assert!(validate(&job, &InputText::Inline).unwrap_err().is_final);
    }
}
