//! Request bodies as in the `OpenAI` API, read into typed values.
//!
//! A field that is not implemented is refused rather than ignored, unless its value asks for nothing ([`neutral`]). A
//! refusal names the field, never its value: what a body says is private.

mod messages;
mod neutral;

use cocoon_api::agent::{Endpoint, FailureCode, MAX_STOP_STRINGS, SamplingDefaults};
use serde_json::{Map, Value};

use crate::{
    backend::{Penalties, Sampling},
    model::chat::Message,
};

/// Longest stop string, in bytes: a line of text.
const MAX_STOP_BYTES: usize = 256;
/// Temperatures below this are 0: the likeliest token is as good as certain, and a division would overflow.
const LEAST_TEMPERATURE: f64 = 1e-5;
/// Logits are divided by the penalty for repetitions: a hundred times as likely is beyond any use.
const LEAST_REPETITION_PENALTY: f64 = 0.01;
/// Longest name of an unknown field that a refusal repeats.
const MAX_NAME_BYTES: usize = 64;

/// Why a request is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: FailureCode::InvalidRequest,
            message: message.into(),
        }
    }
}

/// What a request falls back on.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Sampling where a body is silent.
    pub sampling: SamplingDefaults,
    /// Seed where both are silent.
    pub seed: u64,
}

/// What is to be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A text, as it is.
    Prompt(String),
    /// A conversation, through the chat template; not empty.
    Messages(Vec<Message>),
}

/// A body that makes sense on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// What is to be continued.
    pub input: Input,
    /// Tokens to sample at most, as the body asks; positive.
    pub max_tokens: Option<usize>,
    /// Tokens to sample at most where the body asks for no number; positive. It is a bound of the whole job's, which
    /// promises no request that many.
    pub most_tokens: Option<usize>,
    /// How to sample, with every range checked.
    pub sampling: Sampling,
    /// Texts at which the completion ends; none is empty.
    pub stop: Vec<String>,
    /// Goes on after an end-of-sequence token until another limit, as vLLM does under this name: for measurements.
    pub ignore_eos: bool,
}

impl Body {
    /// Reads the body of a request to `model`.
    ///
    /// # Errors
    /// The body is not what the endpoint takes; the refusal names the field.
    pub fn read(endpoint: Endpoint, model: &str, body: &Value, defaults: Defaults) -> Result<Self, Refusal> {
        let Value::Object(fields) = body else {
            return Err(Refusal::invalid("body must be a JSON object"));
        };
        let fields = Fields(fields);
        fields.refuse_unknown(endpoint)?;
        fields.refuse_other_model(model)?;
        let input = match endpoint {
            Endpoint::Completions => Input::Prompt(fields.prompt()?),
            Endpoint::ChatCompletions => Input::Messages(fields.messages()?),
        };
        Ok(Self {
            input,
            max_tokens: fields.max_tokens()?,
            most_tokens: defaults
                .sampling
                .max_tokens
                .map(|tokens| tokens as usize)
                .filter(|tokens| *tokens > 0),
            sampling: fields.sampling(defaults)?,
            stop: fields.stop()?,
            ignore_eos: fields.ignore_eos()?,
        })
    }
}

/// The fields of a body; `null` counts as absent.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn refuse_unknown(&self, endpoint: Endpoint) -> Result<(), Refusal> {
        let own: &[&str] = match endpoint {
            Endpoint::Completions => &["prompt"],
            Endpoint::ChatCompletions => &["messages", "max_completion_tokens"],
        };
        let common = [
            "model",
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "seed",
            "stop",
            "ignore_eos",
        ];
        for (name, value) in self.0 {
            if own.contains(&name.as_str()) || common.contains(&name.as_str()) {
                continue;
            }
            match neutral::judge(name, value) {
                Some(true) => {}
                Some(false) => {
                    let message = format!("{name} is supported only where it asks for nothing, such as null");
                    return Err(Refusal::invalid(message));
                }
                None if value.is_null() => {}
                None if name.len() <= MAX_NAME_BYTES => {
                    let message = format!("field {name:?} is not supported on {}", endpoint.path());
                    return Err(Refusal::invalid(message));
                }
                None => return Err(Refusal::invalid("a field with a very long name is not supported")),
            }
        }
        Ok(())
    }

    fn refuse_other_model(&self, model: &str) -> Result<(), Refusal> {
        if self
            .get("model")
            .is_some_and(|value| value.as_str() != Some(model))
        {
            return Err(Refusal::invalid(format!("model must be {model:?} or absent")));
        }
        Ok(())
    }

    fn max_tokens(&self) -> Result<Option<usize>, Refusal> {
        let name = if self.get("max_completion_tokens").is_some() {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        match self.get(name) {
            None => Ok(None),
            Some(value) if is_minus_one(value) => Ok(None),
            Some(value) => match whole(value).and_then(|tokens| usize::try_from(tokens).ok()) {
                Some(tokens) if tokens > 0 => Ok(Some(tokens)),
                _ => Err(Refusal::invalid(format!(
                    "{name} must be a positive integer, or -1 where only the job's own limit is to apply"
                ))),
            },
        }
    }

    fn sampling(&self, defaults: Defaults) -> Result<Sampling, Refusal> {
        let temperature = self
            .float("temperature")?
            .or(defaults.sampling.temperature)
            .unwrap_or(1.0);
        let top_p = self.float("top_p")?.or(defaults.sampling.top_p).unwrap_or(1.0);
        let top_k = match self.get("top_k") {
            None => defaults.sampling.top_k.map_or(0, u64::from),
            Some(value) if is_minus_one(value) => 0,
            Some(value) => whole(value).ok_or_else(|| {
                Refusal::invalid("top_k must be a non-negative integer, or -1, which is all tokens as 0 is")
            })?,
        };
        let seed = self.seed()?.or(defaults.sampling.seed).unwrap_or(defaults.seed);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(Refusal::invalid("temperature must be from 0 to 2"));
        }
        if !(0.0..=1.0).contains(&top_p) {
            return Err(Refusal::invalid("top_p must be from 0 to 1"));
        }
        let temperature = if temperature < LEAST_TEMPERATURE {
            0.0
        } else {
            temperature
        };
        let min_p = self.float("min_p")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&min_p) {
            return Err(Refusal::invalid("min_p must be from 0 to 1"));
        }
        Ok(Sampling {
            temperature: narrow(temperature),
            top_k: u32::try_from(top_k).unwrap_or(u32::MAX),
            // The smallest positive number stands for 0 and those that are smaller still: it leaves the likeliest token
            // alone.
            top_p: narrow(top_p).max(f32::MIN_POSITIVE),
            min_p: narrow(min_p),
            penalties: self.penalties()?,
            seed,
        })
    }

    /// The ranges are those of the `OpenAI` API, and of vLLM for the one that it adds.
    fn penalties(&self) -> Result<Penalties, Refusal> {
        let additive = |name: &str| match self.float(name)?.unwrap_or(0.0) {
            penalty if (-2.0..=2.0).contains(&penalty) => Ok(narrow(penalty)),
            _ => Err(Refusal::invalid(format!("{name} must be from -2 to 2"))),
        };
        let repetition = self.float("repetition_penalty")?.unwrap_or(1.0);
        if !(LEAST_REPETITION_PENALTY..=2.0).contains(&repetition) {
            let message = format!("repetition_penalty must be from {LEAST_REPETITION_PENALTY} to 2");
            return Err(Refusal::invalid(message));
        }
        Ok(Penalties {
            repetition: narrow(repetition),
            presence: additive("presence_penalty")?,
            frequency: additive("frequency_penalty")?,
        })
    }

    fn stop(&self) -> Result<Vec<String>, Refusal> {
        let refusal = || {
            Refusal::invalid(format!(
                "stop must be a string or up to {MAX_STOP_STRINGS}, of 1 to {MAX_STOP_BYTES} bytes each"
            ))
        };
        let stops: Vec<&str> = match self.get("stop") {
            None => Vec::new(),
            Some(Value::String(stop)) => vec![stop],
            Some(Value::Array(stops)) => stops
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .ok_or_else(refusal)?,
            Some(_) => return Err(refusal()),
        };
        let fits = |stop: &&str| (1..=MAX_STOP_BYTES).contains(&stop.len());
        if stops.len() > MAX_STOP_STRINGS || !stops.iter().all(fits) {
            return Err(refusal());
        }
        Ok(stops.into_iter().map(str::to_owned).collect())
    }

    fn ignore_eos(&self) -> Result<bool, Refusal> {
        let flag = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| Refusal::invalid("ignore_eos must be true or false"))
        };
        Ok(self.get("ignore_eos").map(flag).transpose()?.unwrap_or_default())
    }

    fn float(&self, name: &str) -> Result<Option<f64>, Refusal> {
        let number = |value: &Value| {
            value
                .as_f64()
                .ok_or_else(|| Refusal::invalid(format!("{name} must be a number")))
        };
        self.get(name).map(number).transpose()
    }

    /// Any integer of 64 bits: the `OpenAI` API has signed ones, of which each negative one is a seed of its own.
    fn seed(&self) -> Result<Option<u64>, Refusal> {
        let number = |value: &Value| {
            whole(value)
                .or_else(|| value.as_i64().map(i64::cast_unsigned))
                .ok_or_else(|| Refusal::invalid("seed must be an integer of 64 bits"))
        };
        self.get("seed").map(number).transpose()
    }

    fn prompt(&self) -> Result<String, Refusal> {
        match self.get("prompt") {
            Some(Value::String(prompt)) => Ok(prompt.clone()),
            Some(Value::Array(prompts)) => match prompts.as_slice() {
                [Value::String(prompt)] => Ok(prompt.clone()),
                _ => Err(Refusal::invalid(
                    "prompt must be one string; make each prompt a request of the job",
                )),
            },
            _ => Err(Refusal::invalid("prompt must be a string")),
        }
    }

    fn messages(&self) -> Result<Vec<Message>, Refusal> {
        let Some(Value::Array(messages)) = self.get("messages") else {
            return Err(Refusal::invalid(
                "messages must be a list of {\"role\", \"content\"}",
            ));
        };
        if messages.is_empty() {
            return Err(Refusal::invalid("messages is empty"));
        }
        let read = |(index, message)| {
            messages::read(message).map_err(|problem| Refusal::invalid(format!("messages[{index}]{problem}")))
        };
        messages.iter().enumerate().map(read).collect()
    }
}

/// A whole number from 0, which may be written as `4.0`.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number below 2^53 is exact in both types"
        )]
        (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
    })
}

/// What other servers take for no limit.
fn is_minus_one(value: &Value) -> bool {
    value.as_f64() == Some(-1.0)
}

/// A number as samplers take it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "settings are small and have few digits"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
