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
            repetition_penalty|seed|stop|ignore_eos|n|stream|model|user|other",
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
