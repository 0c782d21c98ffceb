//! A device that is lost ends readiness with a reason, and its requests go to the next attempt.

use std::sync::Arc;

use cocoon_api::agent::{
    AttemptProgress, AttemptState, DeviceEnd, Devices, FailureCode, GpuFault, Identity, Outcome,
};
use gpu_agent::{
    backend::{Backend, cpu::Precision},
    engine::Engine,
    model::tokenizer::Tokenizer,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    agent::{Agent, CONTEXT, OPTIONS, attempt, failure, succeeded},
    support,
};

/// A backend whose device is lost after some steps.
fn losing_backend(steps_left: usize) -> Box<dyn Backend> {
    let inner = support::backend(&support::model_file(), Precision::Fast, CONTEXT, 2);
    Box::new(support::Lost { inner, steps_left })
}

/// An agent whose device is lost after some steps.
async fn losing(steps_left: usize) -> Agent {
    let file = support::model_file();
    let tokenizer = Arc::new(Tokenizer::read(&file).expect("a supported tokenizer"));
    let engine =
        Engine::start(losing_backend(steps_left), Arc::clone(&tokenizer), OPTIONS).expect("a thread starts");
    Agent::start_with(tokenizer, engine).await
}

fn text(body: &Value) -> &str {
    body["choices"][0]["text"].as_str().expect("text")
}

#[tokio::test]
async fn a_lost_device_hands_every_unfinished_request_to_the_next_attempt_and_none_is_billed_twice() {
    let bodies: Vec<Value> = (0..4)
        .map(|index| json!({"prompt": format!("Number {index} is"), "temperature": 0.8, "seed": index}))
        .collect();
    let mut request = attempt(bodies);
    request.parallelism = 1;
    let healthy = Agent::start().await;
    healthy.put("/v1/jobs/whole/1", &request).await;
    let mut expected = healthy.results("/v1/jobs/whole/1", 0).await;
    expected.sort_by_key(|line| line.index);

    // One after the other takes eight steps: the third is on its way when the device is lost.
    let lost = losing(20).await;
    assert_eq!(lost.probe("/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    lost.put("/v1/jobs/fault/1", &request).await;
    let first = lost.results("/v1/jobs/fault/1", 0).await;
    let (delivered, handed_back): (Vec<_>, Vec<_>) = first
        .iter()
        .partition(|line| matches!(line.outcome, Outcome::Succeeded { .. }));
    assert_eq!((delivered.len(), handed_back.len()), (2, 2));
    for line in &handed_back {
        let code = failure(line);
        assert!(code == FailureCode::Internal && code.is_retryable());
    }
    for path in ["/readyz", "/healthz"] {
        let (status, reason) = lost.probe(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(reason.contains("DeviceLost"), "{reason}");
    }
    let (_, metrics) = lost.probe("/metrics").await;
    for sample in [
        "cocoon_agent_engine_state{model=\"smollm2\",state=\"DeviceLost\"} 1",
        "cocoon_agent_engine_state{model=\"smollm2\",state=\"Serving\"} 0",
        "cocoon_agent_devices{model=\"smollm2\",state=\"ended\"} 1",
        "cocoon_agent_devices{model=\"smollm2\",state=\"serving\"} 0",
        "cocoon_agent_requests_total{model=\"smollm2\",outcome=\"internal\"} 2",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    let progress: AttemptProgress = lost.call(Method::GET, "/v1/jobs/fault/1").await;
    assert_eq!((progress.state, progress.in_flight), (AttemptState::Finished, 0));
    assert_eq!(
        progress.usage.completion_tokens.get(),
        16,
        "of what was delivered, and no more"
    );

    request
        .requests
        .retain(|item| handed_back.iter().any(|line| line.index == item.index));
    healthy.put("/v1/jobs/fault/2", &request).await;
    let second = healthy.results("/v1/jobs/fault/2", 0).await;
    let mut all: Vec<_> = delivered.into_iter().chain(&second).collect();
    all.sort_by_key(|line| line.index);
    assert_eq!(all.len(), expected.len());
    for (line, expected) in all.into_iter().zip(&expected) {
        assert_eq!(line.index, expected.index);
        assert_eq!(text(&succeeded(line)), text(&succeeded(expected)));
    }
}

#[tokio::test]
async fn an_agent_whose_device_is_lost_takes_no_new_attempt_and_answers_for_the_old_ones() {
    let agent = losing(0).await;
    let request = attempt((0..3).map(|_| json!({"prompt": "Hi"})));
    assert_eq!(
        agent.put("/v1/jobs/late/1", &request).await.0,
        StatusCode::CREATED
    );
    let lines = agent.results("/v1/jobs/late/1", 0).await;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| failure(line) == FailureCode::Internal));
    assert_eq!(agent.put("/v1/jobs/late/1", &request).await.0, StatusCode::OK);
    let (status, error) = agent.put("/v1/jobs/late/2", &request).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("DeviceLost"), "{message}");
}

#[tokio::test]
async fn an_agent_that_goes_on_without_some_of_its_devices_says_how_many_and_why() {
    let file = support::model_file();
    let tokenizer = Arc::new(Tokenizer::read(&file).expect("a supported tokenizer"));
    let healthy = support::backend(&file, Precision::Fast, CONTEXT, 2);
    let backends: Vec<Box<dyn Backend>> = vec![losing_backend(0), Box::new(healthy)];
    let engine = Engine::start_all(backends, Arc::clone(&tokenizer), OPTIONS).expect("threads start");
    // A third was too old when the agent started.
    let agent = Agent::start_without(&[GpuFault::GpuTooOld], tokenizer, engine).await;
    let too_old = DeviceEnd::Gpu(GpuFault::GpuTooOld);
    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    let (given, ended) = (3, vec![too_old]);
    assert_eq!(identity.devices, Devices { given, ended });

    // Either device gets one of the two.
    let request = attempt((0..2).map(|_| json!({"prompt": "Hi"})));
    agent.put("/v1/jobs/two/1", &request).await;
    let lines = agent.results("/v1/jobs/two/1", 0).await;
    let failed = lines
        .iter()
        .filter(|line| matches!(line.outcome, Outcome::Failed { .. }));
    assert_eq!(failed.count(), 1);

    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    let ended = vec![too_old, DeviceEnd::Gpu(GpuFault::DeviceLost)];
    assert_eq!(identity.devices, Devices { given, ended });
    for path in ["/readyz", "/healthz"] {
        let said = "ok: 2 of 3 devices have ended: GpuTooOld, DeviceLost\n".to_owned();
        assert_eq!(agent.probe(path).await, (StatusCode::OK, said));
    }
    let (_, metrics) = agent.probe("/metrics").await;
    for (state, count) in [("serving", 1), ("ended", 2)] {
        let sample = format!("cocoon_agent_devices{{model=\"smollm2\",state=\"{state}\"}} {count}");
        assert!(metrics.contains(&sample), "{sample} in {metrics}");
    }
}
