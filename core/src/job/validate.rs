//! From a raw `InferenceJob` to typed values: after this stage nobody reads the specification.

use std::time::Duration;

use cocoon_api::{
    Bill, NanoTon,
    agent::{Endpoint, SamplingDefaults},
    conditions::{Accepted, Observation, Reason as _},
    crd::{
        InferenceJob, InferenceJobSpec, InferenceJobStatus, MaxPrices,
        job::{BillingMode, MAX_ASSIGNMENTS},
    },
    names::{INPUT_LABEL, INPUT_LABEL_VALUE},
};

use super::input::{InputError, InputSummary};

/// Why the requests of a job are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    /// What was read are no requests.
    #[error(transparent)]
    Wrong(#[from] InputError),
    /// The object or its key does not exist yet.
    #[error("{source_name} does not exist yet")]
    Missing {
        /// Object and key, for messages.
        source_name: String,
    },
    /// The Secret's owner does not allow jobs to read it.
    #[error(
        "{source_name}: the Secret is not marked as a job's input: label it {INPUT_LABEL}={INPUT_LABEL_VALUE}"
    )]
    Unmarked {
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
    /// The provider that it asks, as its namespace names it.
    pub provider: Option<String>,
    /// How its bodies read.
    pub endpoint: Endpoint,
    /// Its requests, as they were accepted.
    pub input: InputSummary,
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
    /// Requests of one step of payment; none where the whole budget is reserved at once.
    pub step: Option<u32>,
}

impl ValidatedJob {
    /// What its work is billed with.
    pub fn bill(&self) -> Bill {
        Bill::job(&self.uid)
    }
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
        /// The most that tokens may cost.
        max_prices: Option<MaxPrices>,
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

/// The requests of a job that was accepted before, as its status has them.
pub fn accepted_input(status: &InferenceJobStatus) -> Option<InputSummary> {
    let digest = status.input_sha256.as_ref()?.parse().ok()?;
    let total = status.requests.total;
    (total > 0).then_some(InputSummary { total, digest })
}

/// Reads the specification; `input` is what was read of its requests.
pub fn validate(
    job: &InferenceJob,
    input: &Result<InputSummary, InputFault>,
) -> Result<ValidatedJob, Rejection> {
    let spec = &job.spec;
    let input = *input
        .as_ref()
        .map_err(|fault| invalid(&fault.to_string(), matches!(fault, InputFault::Wrong(_))))?;
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if spec
        .input
        .secret_ref
        .as_ref()
        .is_some_and(|secret| secret.name == name)
    {
        return Err(invalid(
            &format!(
                "spec.input.secretRef: Secret {name} is named like the job, whose results go into a Secret of that name: give the job \
                 or its input another name"
            ),
            true,
        ));
    }
    let accepted = job.status.as_ref().and_then(accepted_input);
    if accepted.is_some_and(|accepted| accepted.digest != input.digest) {
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
            max_prices: spec.billing.max_prices,
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
        provider: spec.provider_ref.as_ref().map(|reference| {
            let home = job.metadata.namespace.as_deref().unwrap_or_default();
            reference.full_name(home).seen_from(home)
        }),
        endpoint: spec.endpoint,
        input,
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
        step: step(spec, &billing, input.total)?,
        billing,
    })
}

/// Each step takes an attempt, and a status has room for so many.
fn step(spec: &InferenceJobSpec, billing: &Billing, total: u32) -> Result<Option<u32>, Rejection> {
    let (Some(step), Billing::Channel { .. }) = (spec.billing.step, billing) else {
        return Ok(None);
    };
    let most = u32::try_from(MAX_ASSIGNMENTS)
        .unwrap_or(u32::MAX)
        .saturating_sub(spec.backoff_limit.saturating_add(1));
    let step = step.max(1);
    if total.div_ceil(step) > most {
        return Err(invalid(
            &format!(
                "spec.billing.step: {total} requests in steps of {step} take more than {most} attempts, which is what backoffLimit \
                 leaves of {MAX_ASSIGNMENTS}: use larger steps, or split the job"
            ),
            true,
        ));
    }
    Ok(Some(step))
}

fn invalid(message: &str, is_final: bool) -> Rejection {
    Rejection {
        accepted: Accepted::InvalidInput.condition(message),
        is_final,
    }
}

#[cfg(test)]
mod tests {
    use cocoon_api::receipt::Sha256Digest;
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

    fn summary(text: &str) -> InputSummary {
        InputSummary {
            total: 1,
            digest: Sha256Digest::of(text.as_bytes()),
        }
    }

    #[test]
    fn the_smallest_job_is_sound() {
        let valid = validate(&job(&json!({"inline": [{"prompt": "x"}]})), &Ok(summary("x"))).unwrap();
        assert_eq!(valid.input.total, 1);
        assert_eq!(
            valid.billing,
            Billing::Channel {
                name: "c".into(),
                budget: NanoTon::from_nano(7).unwrap(),
                max_prices: None,
            }
        );
    }

    #[test]
    fn an_input_that_is_missing_or_not_marked_may_still_come() {
        let job = job(&json!({"secretRef": {"name": "a", "key": "b"}}));
        let source_name = || "Secret a key b".to_owned();
        let missing = InputFault::Missing {
            source_name: source_name(),
        };
        let rejection = validate(&job, &Err(missing)).unwrap_err();
        assert!(!rejection.is_final);
        assert_eq!(rejection.accepted.message, "Secret a key b does not exist yet");
        let unmarked = InputFault::Unmarked {
            source_name: source_name(),
        };
        let rejection = validate(&job, &Err(unmarked)).unwrap_err();
        assert!(!rejection.is_final);
        assert!(
            rejection
                .accepted
                .message
                .ends_with("label it cocoon.farm/input=true"),
            "{}",
            rejection.accepted.message
        );
        let wrong = InputFault::Wrong(InputError::Empty {
            source_name: source_name(),
        });
        assert!(validate(&job, &Err(wrong)).unwrap_err().is_final);
    }

    #[test]
    fn a_jobs_input_is_never_taken_for_its_results() {
        let secret = |name: &str| job(&json!({"secretRef": {"name": name, "key": "b"}}));
        let refused = validate(&secret("j"), &Ok(summary("x"))).unwrap_err();
        assert!(refused.is_final);
        assert!(refused.accepted.message.contains("another name"), "{refused:?}");
        validate(&secret("j-input"), &Ok(summary("x"))).unwrap();
        // A ConfigMap of the job's name is in nobody's way.
        let config_map = job(&json!({"configMapRef": {"name": "j", "key": "b"}}));
        validate(&config_map, &Ok(summary("x"))).unwrap();
    }

    #[test]
    fn steps_that_no_status_has_room_for_are_refused() {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}));
        let mut validated = |step, total| {
            job.spec.billing.step = Some(step);
            let input = InputSummary {
                total,
                ..summary("x")
            };
            validate(&job, &Ok(input)).map(|valid| valid.step)
        };
        assert_eq!(validated(3, 256).unwrap(), Some(3));
        let refused = validated(2, 256).unwrap_err();
        assert!(
            refused.is_final && refused.accepted.message.contains("step"),
            "{refused:?}"
        );
        job.spec.billing.mode = BillingMode::Free;
        assert_eq!(validate(&job, &Ok(summary("x"))).unwrap().step, None);
    }

    #[test]
    fn an_input_that_changes_after_acceptance_is_refused() {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}));
        let status = job.status.get_or_insert_default();
        status.input_sha256 = Some(summary("x").digest.to_string());
        assert_eq!(
            accepted_input(status),
            None,
            "the number of requests is not known"
        );
        status.requests.total = 1;
        assert_eq!(accepted_input(status), Some(summary("x")));
        validate(&job, &Ok(summary("x"))).unwrap();
        assert!(validate(&job, &Ok(summary("y"))).unwrap_err().is_final);
    }
}
