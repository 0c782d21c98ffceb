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
        | "parallel_tool_calls" | "cache_prompt" | "id_slot"
        // Details of what is refused where it is switched on.
        | "dynatemp_exponent" | "mirostat_tau" | "mirostat_eta" | "xtc_threshold" | "dry_base" | "dry_allowed_length"
        | "dry_penalty_last_n" | "dry_sequence_breakers" => true,
        "stream" | "store" | "logprobs" | "echo" | "use_beam_search" | "continue_final_message"
        | "add_special_tokens" | "include_stop_str_in_output" | "return_token_ids" | "return_tokens"
        | "return_tokens_as_token_ids" | "return_progress" | "early_stopping" | "timings_per_token"
        | "post_sampling_probs" => *value == Value::Bool(false),
        "add_generation_prompt" | "skip_special_tokens" | "spaces_between_special_tokens" | "include_reasoning" => {
            *value == Value::Bool(true)
        }
        "n" | "best_of" | "length_penalty" | "typical_p" | "tfs_z" | "repeat_penalty" => is(value, 1.0),
        "top_logprobs" | "min_tokens" | "mirostat" | "dynatemp_range" | "n_keep" | "n_indent" | "n_probs" | "min_keep"
        | "xtc_probability" | "dry_multiplier" | "priority" => is(value, 0.0),
        // No limit, and all tokens of the context.
        "n_predict" | "repeat_last_n" | "top_n_sigma" => is(value, -1.0),
        "t_max_predict_ms" => is(value, 0.0) || is(value, -1.0),
        "suffix" | "grammar" => value.as_str().is_some_and(str::is_empty),
        // llama.cpp's server has a list here.
        "logit_bias" => is_empty(value),
        "chat_template_kwargs" | "mm_processor_kwargs" | "vllm_xargs" => value.is_object() && is_empty(value),
        "tools" | "functions" | "stop_token_ids" | "bad_words" | "documents" | "lora" => {
            value.is_array() && is_empty(value)
        }
        "tool_choice" | "function_call" => matches!(value.as_str(), Some("none" | "auto")),
        "service_tier" => matches!(value.as_str(), Some("auto" | "default")),
        "verbosity" => value.as_str() == Some("medium"),
        "modalities" => value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text")),
        "response_format" => is_text_format(value),
        "stream_options" => is_stream_option(value),
        // Known, and always a wish.
        "audio" | "prediction" | "reasoning_effort" | "web_search_options" | "guided_json"
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

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn is_text_format(value: &Value) -> bool {
    let is_text = |fields: &serde_json::Map<String, Value>| {
        let mut given = fields.iter().filter(|(_, value)| !value.is_null());
        matches!((given.next(), given.next()), (Some((name, kind)), None) if name == "type" && kind == "text")
    };
    value.as_object().is_some_and(is_text)
}

/// Without a stream nothing is asked of one, and the usage is in every answer.
fn is_stream_option(value: &Value) -> bool {
    let asks_for_nothing = |(name, value): (&String, &Value)| {
        value.is_null() || *value == Value::Bool(false) || (name == "include_usage" && value.is_boolean())
    };
    value
        .as_object()
        .is_some_and(|options| options.iter().all(asks_for_nothing))
}
