//! Attempts: started once, resumed, cancelled, and ended where the money or the context ends.

use cocoon_api::{
    NanoTon,
    agent::{AttemptProgress, AttemptState, FailureCode, Outcome, ResultLine},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::agent::{Agent, CONTEXT, attempt, failure, succeeded};

#[tokio::test]
async fn the_same_put_again_starts_nothing_and_another_body_conflicts() {
    let agent = Agent::start().await;
    let request = attempt([json!({"prompt": "Water boils at"})]);
    assert_eq!(
        agent.put("/v1/jobs/same/1", &request).await.0,
        StatusCode::CREATED
    );
    let first = agent.results("/v1/jobs/same/1", 0).await;
    let (status, progress) = agent.put("/v1/jobs/same/1", &request).await;
    assert_eq!(status, StatusCode::OK);
    let progress: AttemptProgress = serde_json::from_value(progress).expect("progress");
    assert_eq!(
        (progress.state, progress.succeeded, progress.total),
        (AttemptState::Finished, 1, 1)
    );
    assert_eq!(progress.usage.completion_tokens.get(), 8);
    assert_eq!(agent.results("/v1/jobs/same/1", 0).await, first);

    let other = attempt([json!({"prompt": "Kubernetes is"})]);
    let (status, error) = agent.put("/v1/jobs/same/1", &other).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("another body")),
        "{error}"
    );
}

#[tokio::test]
async fn results_resume_from_any_position() {
    let agent = Agent::start().await;
    let request = attempt((0..5).map(|index| json!({"prompt": format!("Number {index}")})));
    agent.put("/v1/jobs/resume/1", &request).await;
    let all = agent.results("/v1/jobs/resume/1", 0).await;
    assert_eq!(all.len(), 5);
    for from in 0..=6 {
        assert_eq!(agent.results("/v1/jobs/resume/1", from).await, all[from.min(5)..]);
    }
}

#[tokio::test]
async fn a_prompt_beyond_the_context_fails_alone() {
    let agent = Agent::start().await;
    let long = "word ".repeat(CONTEXT + 1);
    let bodies = [
        json!({"prompt": "Once upon a time"}),
        json!({"prompt": long}),
        json!({"prompt": "Hi", "max_tokens": CONTEXT}),
        json!({"prompt": 7}),
        json!({"prompt": "Hi", "logit_bias": {"5": 1}}),
        json!({"prompt": ""}),
    ];
    agent.put("/v1/jobs/long/1", &attempt(bodies)).await;
    let mut lines = agent.results("/v1/jobs/long/1", 0).await;
    lines.sort_by_key(|line| line.index);
    succeeded(&lines[0]);
    let codes: Vec<FailureCode> = lines[1..].iter().map(failure).collect();
    let (context, invalid) = (FailureCode::ContextLengthExceeded, FailureCode::InvalidRequest);
    assert_eq!(codes, [context, context, invalid, invalid, invalid]);
}

#[tokio::test]
async fn a_budget_is_never_exceeded() {
    let agent = Agent::start().await;
    let mut request = attempt((0..4).map(|_| json!({"prompt": "Kubernetes is"})));
    // Each costs at most 4 · 1 + 8 · 2 = 20 nanoTON; two fit.
    request.budget = Some(NanoTon::from_nano(45).expect("small"));
    agent.put("/v1/jobs/budget/1", &request).await;
    let lines = agent.results("/v1/jobs/budget/1", 0).await;
    let good = lines
        .iter()
        .filter(|line| matches!(line.outcome, Outcome::Succeeded { .. }))
        .count();
    assert_eq!((lines.len(), good), (4, 2));
    assert!(
        lines[2..]
            .iter()
            .all(|line| failure(line) == FailureCode::BudgetExceeded)
    );
}

#[tokio::test]
async fn cancelling_ends_what_is_unfinished_and_keeps_what_is_finished() {
    let agent = Agent::start().await;
    let short = json!({"prompt": "Hi", "max_tokens": 1});
    let long = json!({"prompt": "Hello", "max_tokens": 200, "temperature": 2, "seed": 1});
    let mut request = attempt([short, long.clone(), long]);
    request.parallelism = 1;
    agent.put("/v1/jobs/cancel/1", &request).await;
    let url = agent.url("/v1/jobs/cancel/1/results");
    let mut stream = agent.client.get(url).send().await.expect("an answer");
    let first = stream.chunk().await.expect("readable").expect("the first line");
    let progress: AttemptProgress = agent.call(Method::DELETE, "/v1/jobs/cancel/1").await;
    assert_eq!(
        (progress.state, progress.succeeded, progress.failed),
        (AttemptState::Cancelled, 1, 2)
    );
    let lines = agent.results("/v1/jobs/cancel/1", 0).await;
    assert_eq!(
        serde_json::from_slice::<ResultLine>(&first).expect("a result line"),
        lines[0]
    );
    assert!(
        lines[1..]
            .iter()
            .all(|line| failure(line) == FailureCode::Cancelled)
    );
    let again: AttemptProgress = agent.call(Method::DELETE, "/v1/jobs/cancel/1").await;
    assert_eq!(again.state, AttemptState::Cancelled);
    assert_eq!(again.usage.completion_tokens.get(), 1);
}
