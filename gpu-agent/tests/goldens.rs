//! The test model computes what the reference does, however its requests are batched.

mod support;

use gpu_agent::{
    backend::{Backend, Batch, cpu::Precision},
    evaluate::evaluate,
    model::{chat::ChatTemplate, tokenizer::Tokenizer},
};

fn passes(precision: Precision) {
    let (golden, file) = (support::golden(), support::model_file());
    let tokenizer = Tokenizer::read(&file).expect("a supported tokenizer");
    let chat = ChatTemplate::read(&file, &tokenizer).expect("a valid template");
    let mut backend = support::backend(&file, precision, golden.longest(), 1);
    let report = evaluate(&golden, &tokenizer, chat.as_ref(), &mut backend, precision).expect("computable");
    assert!(report.passed(), "\n{report}");
}

#[test]
fn exact_mode_meets_the_reference() {
    passes(Precision::Exact);
}

#[test]
fn fast_mode_is_no_further_from_the_reference_than_the_peer() {
    passes(Precision::Fast);
}

/// Logits of the last token of a prompt that is computed alone, in one piece, in the first blocks.
fn alone(backend: &mut dyn Backend, prompt: &[u32]) -> Vec<f32> {
    let limits = *backend.limits();
    let blocks: Vec<u32> = (0u32..).take(limits.blocks_for(prompt.len())).collect();
    let mut batch = Batch::new(limits.block_tokens);
    let row = batch.push(prompt, 0, &blocks);
    batch.want(row + prompt.len() - 1);
    backend.logits(&batch).expect("valid").row(0).to_vec()
}

#[test]
fn logits_are_bit_for_bit_the_same_alone_and_in_a_batch_of_six_over_scattered_blocks() {
    let file = support::model_file();
    let mut backend = support::backend(&file, Precision::Fast, 64, 6);
    let prompts: Vec<Vec<u32>> = support::golden()
        .completions
        .iter()
        .map(|case| case.prompt_tokens.clone())
        .collect();
    let prompts: Vec<&[u32]> = prompts
        .iter()
        .map(|prompt| &prompt[..prompt.len().min(10)])
        .take(6)
        .collect();
    let expected: Vec<Vec<f32>> = prompts.iter().map(|prompt| alone(&mut backend, prompt)).collect();

    let mut batch = Batch::new(backend.limits().block_tokens);
    for (block, prompt) in [20u32, 3, 11, 0, 7, 16].into_iter().zip(&prompts) {
        let row = batch.push(prompt, 0, &[block]);
        batch.want(row + prompt.len() - 1);
    }
    let logits = backend.logits(&batch).expect("valid");
    for (index, expected) in expected.iter().enumerate() {
        assert!(logits.row(index) == expected.as_slice(), "prompt {index}");
    }
}

#[test]
fn logits_are_bit_for_bit_the_same_in_one_piece_and_token_by_token() {
    let file = support::model_file();
    let mut backend = support::backend(&file, Precision::Fast, 64, 2);
    let prompt = support::golden().completions[4].prompt_tokens[..40].to_vec();
    let expected = alone(&mut backend, &prompt);
    let mut batch = Batch::new(backend.limits().block_tokens);
    let mut last = Vec::new();
    for (position, token) in prompt.iter().enumerate() {
        batch.clear();
        let row = batch.push(&[*token], position, &[7, 2, 5]);
        batch.want(row);
        last = backend.logits(&batch).expect("valid").row(0).to_vec();
    }
    assert!(last == expected);
}
