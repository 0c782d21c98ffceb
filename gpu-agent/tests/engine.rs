//! The engine gives every request the same answer, whatever runs beside it.

mod support;

use std::sync::Arc;

use gpu_agent::{
    backend::cpu::Precision,
    engine::{Engine, Event, FinishReason, GenerationRequest, sampler::Sampling},
    model::tokenizer::Tokenizer,
};

fn engine() -> Engine {
    let file = support::model_file();
    let tokenizer = Arc::new(Tokenizer::read(&file).expect("a supported tokenizer"));
    let backend = Box::new(support::backend(&file, Precision::Fast, 128, 6));
    Engine::start(backend, tokenizer, 6).expect("a thread starts")
}

/// The beginnings of six of the goldens' prompts, half of them sampled and half greedy.
fn requests() -> Vec<GenerationRequest> {
    let cases = support::golden().completions;
    cases
        .iter()
        .take(6)
        .zip(0u64..)
        .map(|(case, seed)| GenerationRequest {
            prompt: case.prompt_tokens.iter().copied().take(40).collect(),
            max_tokens: 12,
            sampling: if seed % 2 == 0 {
                Sampling::GREEDY
            } else {
                Sampling {
                    temperature: 0.8,
                    top_p: 0.95,
                    top_k: 40,
                    seed,
                }
            },
            stop: Vec::new(),
            ignore_eos: false,
        })
        .collect()
}

/// The whole text, and why it ended.
async fn run(engine: &Engine, request: GenerationRequest) -> (String, FinishReason) {
    let mut events = engine.submit(request).await.expect("the engine runs");
    assert_eq!(events.recv().await, Some(Event::Prefilled));
    let mut text = String::new();
    loop {
        match events.recv().await.expect("an end") {
            Event::Token { text: more, .. } => text.push_str(&more),
            Event::Finished { reason } => return (text, reason),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn answers_are_the_same_alone_and_in_a_batch_of_six() {
    let engine = engine();
    let mut alone = Vec::new();
    for request in requests() {
        alone.push(run(&engine, request).await);
    }
    let together =
        futures::future::join_all(requests().into_iter().map(|request| run(&engine, request))).await;
    assert_eq!(together, alone);
    assert_eq!(alone.len(), 6);
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_before_it() {
    let engine = engine();
    let request = requests().swap_remove(0);
    let (whole, _) = run(&engine, request.clone()).await;
    let stop: String = whole.chars().skip(3).take(4).collect();
    let (text, reason) = run(
        &engine,
        GenerationRequest {
            stop: vec![stop.clone()],
            ..request
        },
    )
    .await;
    assert_eq!(
        (Some(text.as_str()), reason),
        (whole.split(&stop).next(), FinishReason::Stop)
    );
}

#[tokio::test]
async fn a_request_that_can_never_run_fails_at_once() {
    let engine = engine();
    let request = GenerationRequest {
        max_tokens: 1000,
        ..requests().swap_remove(0)
    };
    let mut events = engine.submit(request).await.expect("the engine runs");
    assert_eq!(events.recv().await, Some(Event::Failed));
}
