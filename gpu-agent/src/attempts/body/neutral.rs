//! Fields that SDKs and other servers write, and that ask for nothing where they have their neutral value.
//!
//! The names and defaults are those of the `OpenAI` API reference (chat completions and completions), and of vLLM's and
//! llama.cpp's servers for what these add.

use serde_json::Value;

/// Whether a field with this value asks for nothing; `None` where the field is not known. `null` always asks for
/// nothing.
pub(super) fn judge(name: &str, value: &Value) -> Option<bool> {
    let neutral = match name {
        // Notes of the caller's: they change no answer.
        "user" | "metadata" | "safety_identifier" | "prompt_cache_key" | "prompt_cache_retention" | "request_id"
        // Without tools there is nothing to call in parallel; a cache is ours to use or not.
        | "parallel_tool_calls" | "cache_prompt" => true,
        "stream" | "store" | "logprobs" | "echo" | "use_beam_search" | "continue_final_message"
        | "add_special_tokens" | "include_stop_str_in_output" | "return_token_ids" | "return_tokens"
        | "return_progress" | "early_stopping" => *value == Value::Bool(false),
        "add_generation_prompt" | "skip_special_tokens" | "spaces_between_special_tokens" => *value == Value::Bool(true),
        "n" | "best_of" | "length_penalty" | "typical_p" | "repeat_penalty" | "dynatemp_exponent" => is(value, 1.0),
        "top_logprobs" | "min_tokens" | "mirostat" | "dynatemp_range" | "n_keep" | "xtc_probability"
        | "dry_multiplier" | "priority" => is(value, 0.0),
        "suffix" | "grammar" => value.as_str().is_some_and(str::is_empty),
        "logit_bias" | "chat_template_kwargs" => value.as_object().is_some_and(serde_json::Map::is_empty),
        "tools" | "functions" | "stop_token_ids" | "bad_words" => value.as_array().is_some_and(Vec::is_empty),
        "tool_choice" | "function_call" => matches!(value.as_str(), Some("none" | "auto")),
        "service_tier" => matches!(value.as_str(), Some("auto" | "default")),
        "verbosity" => value.as_str() == Some("medium"),
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "response_format" => is_text_format(value),
        // Known, and always a wish.
        "stream_options" | "audio" | "prediction" | "reasoning_effort" | "web_search_options" | "guided_json"
        | "guided_regex" | "guided_choice" | "guided_grammar" | "json_schema" | "structured_outputs" => false,
        _ => return None,
    };
    Some(neutral || value.is_null())
}

fn is(value: &Value, neutral: f64) -> bool {
    value
        .as_f64()
        .is_some_and(|number| (number - neutral).abs() < f64::EPSILON)
}

fn is_text_format(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.get("type").is_some_and(|kind| kind == "text"))
}
