//! From a request's body to what the engine is asked for, and from what it generated to the response's body.

use cocoon_api::{
    Usage,
    agent::{Endpoint, FailureCode},
};
use serde_json::json;

use super::{
    body::{Body, Input, Refusal},
    served::Served,
};
use crate::{
    engine::{FinishReason, GenerationRequest},
    model::chat::ChatError,
};

/// A request that can run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prepared {
    pub(super) generation: GenerationRequest,
}

/// Renders and tokenises a prompt, and checks that the request fits the context.
pub(super) fn prepare(model: &Served, body: Body) -> Result<Prepared, Refusal> {
    let Body {
        input,
        max_tokens,
        most_tokens,
        sampling,
        stop,
        ignore_eos,
    } = body;
    let prompt = tokens(model, &input)?;
    let most = limit(prompt.len(), max_tokens, most_tokens, model.context)?;
    Ok(Prepared {
        generation: GenerationRequest {
            prompt,
            max_tokens: most,
            sampling,
            stop,
            ignore_eos,
        },
    })
}

/// Tokens that may follow a prompt: as many as its body asks for, which must fit, or as the job allows and the context
/// has room for.
fn limit(
    prompt_tokens: usize,
    max_tokens: Option<usize>,
    most_tokens: Option<usize>,
    context: usize,
) -> Result<usize, Refusal> {
    let room = context.saturating_sub(prompt_tokens);
    let most = max_tokens.unwrap_or_else(|| most_tokens.map_or(room, |most| most.min(room)));
    if room == 0 || most > room {
        let asked = max_tokens
            .map(|asked| format!(" and max_tokens {asked}"))
            .unwrap_or_default();
        let message =
            format!("prompt of {prompt_tokens} tokens{asked} does not fit the context of {context}");
        return Err(Refusal {
            code: FailureCode::ContextLengthExceeded,
            message,
        });
    }
    Ok(most)
}

fn tokens(model: &Served, input: &Input) -> Result<Vec<u32>, Refusal> {
    let tokens = match input {
        Input::Prompt(prompt) => model.tokenizer.encode_prompt(prompt),
        Input::Messages(messages) => {
            let Some(chat) = &model.chat else {
                return Err(Refusal::invalid(
                    "the model has no chat template; use /v1/completions",
                ));
            };
            let refused = |error: ChatError| Refusal::invalid(error.to_string());
            chat.render(messages).map_err(refused)?.tokens(&model.tokenizer)
        }
    };
    let tokens = tokens.map_err(|error| Refusal::invalid(error.to_string()))?;
    if tokens.is_empty() {
        return Err(Refusal::invalid("prompt is empty"));
    }
    Ok(tokens)
}

/// The response body, as JSON text: the bytes whose digest the receipt names.
pub(super) fn response(
    endpoint: Endpoint,
    model: &str,
    id: &str,
    created: u64,
    text: &str,
    reason: FinishReason,
    usage: Usage,
) -> String {
    let cached = usage.cached_prompt_tokens.get();
    let prompt = usage.prompt_tokens.get() + cached;
    let completion = usage.completion_tokens.get();
    let finish_reason = match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    };
    let (object, choice) = match endpoint {
        Endpoint::Completions => (
            "text_completion",
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason}),
        ),
        Endpoint::ChatCompletions => (
            "chat.completion",
            json!({
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": null,
                "finish_reason": finish_reason,
            }),
        ),
    };
    json!({
        "id": id,
        "object": object,
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_allows_at_most_fits_every_context() {
        let of_job = |most| limit(10, None, most, 64);
        assert_eq!(
            [of_job(None), of_job(Some(1)), of_job(Some(54))],
            [Ok(54), Ok(1), Ok(54)]
        );
        // The most that a job's definition takes: more than any context has behind a prompt.
        assert_eq!(of_job(Some(1_048_576)), Ok(54));
    }

    #[test]
    fn what_a_request_asks_for_itself_must_fit() {
        assert_eq!(limit(10, Some(54), Some(3), 64), Ok(54));
        let refused = limit(10, Some(55), None, 64).expect_err("does not fit");
        assert_eq!(refused.code, FailureCode::ContextLengthExceeded);
        assert!(
            refused.message.contains("10 tokens and max_tokens 55"),
            "{refused}"
        );
        assert!(limit(64, None, Some(1), 64).is_err());
    }
}
