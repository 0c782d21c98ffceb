use serde_json::json;

use super::*;
use crate::backend::SampleSpec;

const DEFAULTS: Defaults = Defaults {
    sampling: SamplingDefaults {
        max_tokens: Some(16),
        temperature: None,
        top_p: None,
        top_k: None,
        seed: None,
    },
    seed: 9,
};

fn read(endpoint: Endpoint, body: &Value) -> Result<Body, Refusal> {
    Body::read(endpoint, "smollm2", body, DEFAULTS)
}

#[test]
fn a_completion_takes_what_is_silent_from_the_defaults() {
    let body = read(
        Endpoint::Completions,
        &json!({"prompt": "Hi", "temperature": 0.5, "stop": "end"}),
    )
    .expect("valid");
    assert_eq!(body.input, Input::Prompt("Hi".to_owned()));
    assert_eq!(
        (body.max_tokens, body.most_tokens, body.stop),
        (None, Some(16), vec!["end".to_owned()])
    );
    assert_eq!(
        body.sampling,
        Sampling {
            temperature: 0.5,
            seed: 9,
            ..Sampling::GREEDY
        }
    );
}

#[test]
fn penalties_and_min_p_are_read_and_a_tiny_temperature_is_none() {
    let fields = json!({
        "prompt": "Hi", "min_p": 0.25, "presence_penalty": 0.5, "frequency_penalty": -1, "repetition_penalty": 1.25,
        "temperature": 1e-9,
    });
    let sampling = read(Endpoint::Completions, &fields).expect("valid").sampling;
    let penalties = Penalties {
        repetition: 1.25,
        presence: 0.5,
        frequency: -1.0,
    };
    assert_eq!(
        sampling,
        Sampling {
            min_p: 0.25,
            penalties,
            seed: 9,
            ..Sampling::GREEDY
        }
    );
}

#[test]
fn null_equals_absent_and_neutral_values_ask_for_nothing() {
    let plain = read(
        Endpoint::ChatCompletions,
        &json!({"messages": [{"role": "user", "content": "Hi"}]}),
    );
    let neutral = json!({
        "messages": [{"role": "user", "content": "Hi", "name": null, "refusal": null, "tool_calls": null, "annotations": []}],
        "model": null, "max_tokens": null, "max_completion_tokens": null, "temperature": null, "top_p": null, "top_k": null,
        "min_p": null, "presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1, "seed": null, "stop": null,
        "ignore_eos": null, "n": 1.0, "stream": false, "stream_options": null, "user": "u", "store": false,
        "metadata": {"a": "b"}, "logprobs": false, "top_logprobs": 0, "response_format": {"type": "text"},
        "parallel_tool_calls": true, "tools": [], "tool_choice": "auto", "functions": null, "function_call": null,
        "logit_bias": {}, "service_tier": "auto", "modalities": ["text"], "audio": null, "prediction": null,
        "reasoning_effort": null, "unheard_of": null, "best_of": 1, "echo": false, "suffix": "",
    });
    assert_eq!(read(Endpoint::ChatCompletions, &neutral), plain);
    assert!(plain.is_ok());
    let whole = json!({"prompt": ["Hi"], "max_tokens": 4.0, "top_k": 3.0, "seed": 7.0, "top_p": 0});
    let whole = read(Endpoint::Completions, &whole).expect("valid");
    assert_eq!(
        (whole.input, whole.max_tokens),
        (Input::Prompt("Hi".to_owned()), Some(4))
    );
    assert_eq!((whole.sampling.top_k, whole.sampling.seed), (3, 7));
    assert!(whole.sampling.top_p > 0.0);
}

#[test]
fn what_other_servers_write_for_nothing_asks_for_nothing() {
    let plain = read(Endpoint::Completions, &json!({"prompt": "Hi"}));
    // What llama.cpp's server says of its settings, what vLLM's has as defaults, and what examples of LM Studio's have.
    for fields in [
        json!({
            "max_tokens": -1, "n_predict": -1, "top_k": -1, "logit_bias": [], "id_slot": -1, "n_probs": 0,
            "min_keep": 0, "n_keep": 0, "n_indent": 0, "t_max_predict_ms": 0, "timings_per_token": false,
            "post_sampling_probs": false, "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "xtc_probability": 0.0, "xtc_threshold": 0.1,
            "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
            "dry_sequence_breakers": ["\n"], "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "typical_p": 1.0,
            "top_n_sigma": -1.0, "repeat_last_n": -1, "repeat_penalty": 1.0, "lora": [],
            "stop": [], "ignore_eos": false,
        }),
        json!({
            "include_reasoning": true, "return_tokens_as_token_ids": false, "stop_token_ids": [], "bad_words": [],
            "min_tokens": 0, "priority": 0, "documents": [], "mm_processor_kwargs": {}, "length_penalty": 1.0,
            "vllm_xargs": {}, "cache_salt": null, "kv_transfer_params": null, "prompt_logprobs": null,
        }),
        json!({
            "stream": false, "stream_options": {"include_usage": true, "include_obfuscation": false},
            "response_format": {"type": "text", "json_schema": null}, "n": 1e0, "frequency_penalty": -0.0,
            "top_k": -0.0,
        }),
    ] {
        let mut body = fields;
        body["prompt"] = json!("Hi");
        assert_eq!(read(Endpoint::Completions, &body), plain, "{body}");
    }
    for fields in [
        json!({"n_predict": 5}),
        json!({"repeat_last_n": 64}),
        json!({"stream_options": {"continuous_usage_stats": true}}),
        json!({"stream_options": true}),
        json!({"response_format": {"type": "text", "json_schema": {}}}),
        json!({"logit_bias": [[5, -1]]}),
        json!({"include_reasoning": false}),
        json!({"max_tokens": -2}),
        json!({"top_k": -2}),
        json!({"top_k": 0.5}),
    ] {
        let mut body = fields.clone();
        body["prompt"] = json!("Hi");
        let refusal = read(Endpoint::Completions, &body).expect_err("must be refused");
        let (name, _) = fields
            .as_object()
            .and_then(|fields| fields.iter().next())
            .expect("a field");
        assert!(refusal.message.contains(name.as_str()), "{fields}: {refusal}");
    }
}

#[test]
fn every_seed_of_64_bits_is_one_of_its_own() {
    let seed = |seed: Value| {
        let body = read(Endpoint::Completions, &json!({"prompt": "Hi", "seed": seed}));
        body.map(|body| body.sampling.seed)
    };
    assert_eq!(seed(json!(-1)), Ok(u64::MAX));
    assert_eq!(seed(json!(i64::MIN)), Ok(1 << 63));
    assert_eq!(seed(json!(i64::MAX)), Ok((1 << 63) - 1));
    assert_eq!(seed(json!(u64::MAX)), Ok(u64::MAX));
    assert_eq!(seed(json!(-0.0)), Ok(0));
    for beyond in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e300",
        "0.5",
        "\"7\"",
    ] {
        let beyond = serde_json::from_str(beyond).expect("JSON");
        assert!(seed(beyond).expect_err("refused").message.contains("seed"));
    }
}

#[test]
fn messages_are_read_as_sdks_write_them() {
    let messages = json!([
        {"role": "user", "content": "2+2?", "name": "ann"},
        {"role": "assistant", "content": null, "refusal": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 2}"}},
        ]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "assistant", "content": "", "prefix": false, "metadata": {}, "reasoning_content": ""},
        {"role": "assistant", "tool_calls": [
            {"id": null, "type": "function", "index": 0, "function": {"name": "now", "arguments": ""}},
            {"function": {"name": "now", "arguments": null}}, {"function": {"name": "now"}},
        ]},
    ]);
    let body = read(Endpoint::ChatCompletions, &json!({"messages": messages})).expect("valid");
    let Input::Messages(read) = body.input else {
        panic!("a conversation")
    };
    assert_eq!(read[0].name.as_deref(), Some("ann"));
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}});
    assert_eq!(
        (read[1].content.as_str(), &read[1].tool_calls),
        ("", &Some(vec![call]))
    );
    assert_eq!(read[2].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(read[3], Message::text("assistant", ""));
    let call = json!({"type": "function", "function": {"name": "now", "arguments": {}}});
    assert_eq!(read[4].tool_calls, Some(vec![call.clone(), call.clone(), call]));
}

#[test]
fn a_message_that_is_refused_is_named_with_its_field() {
    let cases = [
        (json!({"role": "user"}), "messages[1].content is missing"),
        (
            json!({"role": "user", "content": null}),
            "messages[1].content is missing",
        ),
        (
            json!({"role": "user", "content": 1}),
            "messages[1].content must be text",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": "secret"}]}),
            "messages[1].content has a part that is no text",
        ),
        (json!({"content": "secret"}), "messages[1].role is missing"),
        (
            json!({"role": 1, "content": "secret"}),
            "messages[1].role must be",
        ),
        (json!("secret"), "messages[1] must be an object"),
        (
            json!({"role": "user", "content": "a", "secret": 1}),
            "messages[1] has a field",
        ),
        (
            json!({"role": "assistant", "content": null, "tool_calls": [{"secret": 1}]}),
            "messages[1].tool_calls must have",
        ),
    ];
    for (message, words) in cases {
        let body = json!({"messages": [{"role": "user", "content": "Hi"}, message]});
        let refusal = read(Endpoint::ChatCompletions, &body).expect_err("must be refused");
        assert!(refusal.message.starts_with(words), "{refusal}");
        assert!(!refusal.message.contains("secret"), "{refusal}");
    }
}

/// Bounds of a job's parameters, as its definition has them, at which the API server still takes a manifest.
#[test]
fn every_parameter_at_the_bounds_of_the_definition_is_taken() {
    let definition: Value =
        serde_saphyr::from_str(include_str!("../../../../crds/inferencejobs.yaml")).expect("YAML");
    let pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/parameters/properties";
    let fields = definition
        .pointer(pointer)
        .and_then(Value::as_object)
        .expect("parameters");
    assert!(fields.len() >= 5, "{fields:?}");
    for (name, schema) in fields {
        for bound in ["minimum", "maximum"] {
            let at = schema
                .get(bound)
                .unwrap_or_else(|| panic!("{name} has no {bound}"));
            let parameters: SamplingDefaults =
                serde_json::from_value(json!({name: whole(at).map_or(at.clone(), Value::from)}))
                    .expect("a parameter");
            let defaults = Defaults {
                sampling: parameters,
                seed: 0,
            };
            let body = Body::read(
                Endpoint::Completions,
                "smollm2",
                &json!({"prompt": "Hi"}),
                defaults,
            )
            .unwrap_or_else(|refusal| panic!("{name} at its {bound}: {refusal}"));
            let spec = SampleSpec {
                sampling: body.sampling,
                ..SampleSpec::GREEDY
            };
            assert_eq!(spec.check(1), Ok(()), "{name} at its {bound}");
        }
    }
}

#[test]
fn a_conversation_may_have_text_in_parts() {
    let messages =
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    let body = read(
        Endpoint::ChatCompletions,
        &json!({"messages": messages, "max_completion_tokens": 3}),
    )
    .expect("valid");
    let expected = Message::text("user", "ab");
    assert_eq!(
        (body.input, body.max_tokens),
        (Input::Messages(vec![expected]), Some(3))
    );
}

#[test]
fn what_is_wrong_or_not_implemented_is_refused_by_name_and_without_its_value() {
    let cases = [
        ("prompt", json!({"prompt": ["secret", "secret"]})),
        ("prompt", json!({"prompt": [1, 2]})),
        ("prompt", json!({})),
        ("stream", json!({"prompt": "secret", "stream": true})),
        ("n is supported only", json!({"prompt": "secret", "n": 2})),
        (
            "response_format",
            json!({"prompt": "secret", "response_format": {"type": "json_object"}}),
        ),
        ("tools", json!({"prompt": "secret", "tools": [{"secret": 1}]})),
        ("logit_bias", json!({"prompt": "secret", "logit_bias": {"5": 1}})),
        ("seed", json!({"prompt": "secret", "seed": 4.5})),
        ("model", json!({"prompt": "secret", "model": "other"})),
        ("logprobs", json!({"prompt": "secret", "logprobs": 5})),
        ("temperature", json!({"prompt": "secret", "temperature": -1})),
        (
            "temperature",
            json!({"prompt": "secret", "temperature": "secret"}),
        ),
        ("top_p", json!({"prompt": "secret", "top_p": 1.01})),
        ("top_k", json!({"prompt": "secret", "top_k": -2})),
        ("min_p", json!({"prompt": "secret", "min_p": 1.5})),
        (
            "presence_penalty",
            json!({"prompt": "secret", "presence_penalty": 3}),
        ),
        (
            "frequency_penalty",
            json!({"prompt": "secret", "frequency_penalty": "secret"}),
        ),
        (
            "repetition_penalty",
            json!({"prompt": "secret", "repetition_penalty": 0}),
        ),
        ("seed", json!({"prompt": "secret", "seed": 0.5})),
        ("max_tokens", json!({"prompt": "secret", "max_tokens": 0})),
        (
            "stop",
            json!({"prompt": "secret", "stop": ["a", "b", "c", "d", "secret"]}),
        ),
        ("stop", json!({"prompt": "secret", "stop": ""})),
        ("ignore_eos", json!({"prompt": "secret", "ignore_eos": "secret"})),
        ("object", json!("secret")),
    ];
    for (field, body) in cases {
        let refusal = read(Endpoint::Completions, &body).expect_err("must be refused");
        assert_eq!(refusal.code, FailureCode::InvalidRequest);
        assert!(
            refusal.message.contains(field) && !refusal.message.contains("secret"),
            "{body}: {refusal}"
        );
    }
    for messages in [
        json!([]),
        json!("secret"),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": 1}]),
    ] {
        let refusal =
            read(Endpoint::ChatCompletions, &json!({"messages": messages})).expect_err("must be refused");
        assert!(
            refusal.message.contains("messages") && !refusal.message.contains("secret"),
            "{refusal}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = serde_json::from_slice::<Value>(&bytes).map(|body| read(Endpoint::Completions, &body));
    }

    #[test]
    fn arbitrary_values_of_known_fields_never_panic(
        name in "prompt|messages|max_tokens|temperature|top_p|top_k|min_p|presence_penalty|frequency_penalty|\
            repetition_penalty|seed|stop|ignore_eos|n|stream|model|user|tools|response_format|logit_bias|modalities|other",
        value in proptest::prop_oneof!["[\\[\\]{}\":,a-z0-9.-]{0,24}", "-?[0-9]\\.?[0-9]{0,3}(e-[0-9]{1,2})?"],
    ) {
        let value: Value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        let mut body = json!({"prompt": "Hi"});
        body[name.as_str()] = value;
        if let Ok(body) = read(Endpoint::Completions, &body) {
            let spec = SampleSpec { sampling: body.sampling, ..SampleSpec::GREEDY };
            proptest::prop_assert_eq!(spec.check(1), Ok(()));
        }
        let _ = read(Endpoint::ChatCompletions, &body);
    }
}
