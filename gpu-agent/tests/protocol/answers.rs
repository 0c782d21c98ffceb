//! What is answered, and the receipts of it.

use cocoon_api::{
    Subject,
    agent::{Endpoint, Identity, Outcome},
    receipt::{ChainId, ReceiptChain},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    agent::{Agent, attempt, model, succeeded},
    support,
};

#[tokio::test]
async fn raw_completions_give_the_goldens_text_and_a_chain_of_receipts() {
    let agent = Agent::start().await;
    let golden = support::golden();
    let (tokenizer, _) = model();
    let cases: Vec<_> = golden
        .completions
        .iter()
        .filter(|case| case.prompt.is_some())
        .collect();
    let mut request = attempt(cases.iter().map(|case| json!({"prompt": case.prompt})));
    request.sampling.max_tokens = Some(4);
    let (status, _) = agent.put("/v1/jobs/golden/1", &request).await;
    assert_eq!(status, StatusCode::CREATED);
    let lines = agent.results("/v1/jobs/golden/1", 0).await;
    assert_eq!(lines.len(), cases.len());

    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    let id = ChainId {
        agent: identity.agent,
        subject: Subject::job("golden", 1),
        channel: request.channel.clone(),
    };
    let mut chain = ReceiptChain::new(id);
    for (position, line) in lines.iter().enumerate() {
        assert_eq!(line.position as usize, position);
        let Outcome::Succeeded { receipt, tokens, .. } = &line.outcome else {
            panic!("failed")
        };
        chain.push(receipt).expect("the chain continues");
        tokens
            .check(receipt.tokens_root, &receipt.usage)
            .expect("the tokens that are billed");

        let (case, body) = (cases[line.index as usize], succeeded(line));
        assert_eq!(tokens.prompt.ids().as_ref(), Ok(&case.prompt_tokens));
        let text: Vec<u8> = case.tokens[..4]
            .iter()
            .flat_map(|token| tokenizer.text_bytes(*token))
            .copied()
            .collect();
        let decided = case.top[..4].iter().all(|top| top[0].1 - top[1].1 > 0.3);
        if decided {
            assert_eq!(tokens.completion.ids().as_deref(), Ok(&case.tokens[..4]));
            assert_eq!(
                body["choices"][0]["text"].as_str().map(str::as_bytes),
                Some(text.as_slice())
            );
        }
        assert_eq!(body["usage"]["prompt_tokens"], case.prompt_tokens.len());
        assert_eq!(body["usage"]["completion_tokens"], 4);
        assert_eq!(body["choices"][0]["finish_reason"], "length");
    }
    let attempts: Vec<ChainId> = agent.call(Method::GET, "/v1/attempts").await;
    assert_eq!(attempts, [chain.id().clone()]);
}

#[tokio::test]
async fn chat_uses_the_template_and_stops_at_the_end_of_the_turn() {
    let agent = Agent::start().await;
    let golden = support::golden();
    let case = &golden.chat[0];
    let mut request = attempt([
        json!({"messages": case.messages, "max_tokens": 40}),
        json!({"messages": case.messages, "max_tokens": 40, "stop": "planet"}),
        json!({"messages": case.messages, "max_tokens": 40, "ignore_eos": true}),
    ]);
    request.endpoint = Endpoint::ChatCompletions;
    agent.put("/v1/jobs/chat/1", &request).await;
    let mut lines = agent.results("/v1/jobs/chat/1", 0).await;
    lines.sort_by_key(|line| line.index);
    let body = succeeded(&lines[0]);
    assert_eq!(body["usage"]["prompt_tokens"], case.tokens.len());
    assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
    let content = body["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(!content.is_empty() && !content.contains("<|im_end|>"));
    let stopped = succeeded(&lines[1]);
    assert_eq!(
        stopped["choices"][0]["message"]["content"].as_str(),
        content.split("planet").next()
    );
    let Outcome::Succeeded { receipt, tokens, .. } = &lines[0].outcome else {
        panic!("failed")
    };
    tokens
        .check(receipt.tokens_root, &receipt.usage)
        .expect("the token that ends the turn is counted and kept");
    let longer = succeeded(&lines[2]);
    assert_eq!(longer["choices"][0]["finish_reason"], "length");
    assert_eq!(longer["usage"]["completion_tokens"], 40);
    let longer = longer["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(
        longer.starts_with(content),
        "{longer:?} goes on after {content:?}"
    );
}
