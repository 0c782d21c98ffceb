use serde_json::json;

use super::*;

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
    assert_eq!((body.max_tokens, body.stop), (Some(16), vec!["end".to_owned()]));
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
fn a_conversation_may_have_text_in_parts() {
    let messages =
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
    let body = read(
        Endpoint::ChatCompletions,
        &json!({"messages": messages, "max_completion_tokens": 3}),
    )
    .expect("valid");
    let expected = Message {
        role: "user".to_owned(),
        content: "ab".to_owned(),
    };
    assert_eq!(
        (body.input, body.max_tokens),
        (Input::Messages(vec![expected]), Some(3))
    );
}

#[test]
fn what_is_wrong_or_not_implemented_is_refused_by_name_and_without_its_value() {
    let cases = [
        ("prompt", json!({"prompt": ["secret"]})),
        ("prompt", json!({})),
        ("stream", json!({"prompt": "secret", "stream": true})),
        ("n must be 1", json!({"prompt": "secret", "n": 2})),
        ("model", json!({"prompt": "secret", "model": "other"})),
        ("logprobs", json!({"prompt": "secret", "logprobs": 5})),
        ("temperature", json!({"prompt": "secret", "temperature": -1})),
        (
            "temperature",
            json!({"prompt": "secret", "temperature": "secret"}),
        ),
        ("top_p", json!({"prompt": "secret", "top_p": 0})),
        ("top_k", json!({"prompt": "secret", "top_k": -1})),
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
        name in "prompt|messages|max_tokens|temperature|top_p|top_k|seed|stop|ignore_eos|n|stream|model|user|other",
        value in "[\\[\\]{}\":,a-z0-9.-]{0,24}",
    ) {
        let value: Value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        let mut body = json!({"prompt": "Hi"});
        body[name.as_str()] = value;
        let _ = read(Endpoint::Completions, &body);
        let _ = read(Endpoint::ChatCompletions, &body);
    }
}
