//! Checks a loaded model against recorded reference outputs: the rule of `goldens/README.md`.

mod deviations;
mod golden;
mod report;

use deviations::{Deviations, EXACT_TOLERANCE};
use golden::Completion;
pub use golden::{Deviation, Golden, GoldenError};
pub use report::{Check, FailingStep, Report};

use crate::{
    backend::{Backend, Batch, ForwardError, cpu::Precision},
    model::{chat::ChatTemplate, tokenizer::Tokenizer},
};

/// Fast mode: deviations may be this many times those of the recorded peer.
const PEER_FACTOR: f64 = 1.1;

/// Why an evaluation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A completion does not fit the backend.
    #[error("cannot compute completion {index} of the golden file")]
    Batch {
        /// Which completion.
        index: usize,
        /// The cause.
        source: ForwardError,
    },
    /// A text has no tokens.
    #[error("cannot tokenise a text of the golden file")]
    Encode(#[from] crate::model::tokenizer::EncodeError),
}

/// Runs every check of a golden file.
///
/// # Errors
/// The model cannot compute what the file asks for, as opposed to computing something else.
pub fn evaluate(
    golden: &Golden,
    tokenizer: &Tokenizer,
    chat: Option<&ChatTemplate>,
    backend: &mut dyn Backend,
    precision: Precision,
) -> Result<Report, EvaluateError> {
    let mut report = Report::default();
    check_tokens(golden, tokenizer, &mut report)?;
    check_templates(golden, tokenizer, chat, &mut report)?;
    let mut deviations = Deviations::default();
    for (index, completion) in golden.completions.iter().enumerate() {
        let computed = log_probabilities(completion, backend)
            .map_err(|source| EvaluateError::Batch { index, source })?;
        deviations.add(index, completion, &computed, tokenizer);
    }
    match precision {
        Precision::Exact => {
            let name = "log-probability, largest difference";
            report.at_most(name, deviations.largest(), EXACT_TOLERANCE);
            report.failing = deviations.inexact;
        }
        Precision::Fast => {
            check_against_peer(&golden.peer_deviation, &deviations, &mut report);
            report.failing = deviations.other_token;
        }
    }
    Ok(report)
}

fn check_tokens(golden: &Golden, tokenizer: &Tokenizer, report: &mut Report) -> Result<(), EvaluateError> {
    let mut equal = 0;
    for case in &golden.tokenize {
        equal += usize::from(tokenizer.encode(&case.text)? == case.tokens);
    }
    report.all("texts tokenised alike", equal, golden.tokenize.len());
    let (mut equal, mut prompts) = (0, 0);
    for completion in &golden.completions {
        if let Some(prompt) = &completion.prompt {
            prompts += 1;
            equal += usize::from(tokenizer.encode_prompt(prompt)? == completion.prompt_tokens);
        }
    }
    report.all("prompts tokenised alike", equal, prompts);
    Ok(())
}

fn check_templates(
    golden: &Golden,
    tokenizer: &Tokenizer,
    chat: Option<&ChatTemplate>,
    report: &mut Report,
) -> Result<(), EvaluateError> {
    let (mut rendered_alike, mut tokens_alike) = (0, 0);
    for case in &golden.chat {
        // A template that refuses the conversation, or is missing, renders nothing alike.
        let Some(rendered) = chat.and_then(|chat| chat.render(&case.messages).ok()) else {
            continue;
        };
        rendered_alike += usize::from(rendered.text() == case.prompt);
        tokens_alike += usize::from(rendered.tokens(tokenizer)? == case.tokens);
    }
    report.all("conversations rendered alike", rendered_alike, golden.chat.len());
    report.all("conversations tokenised alike", tokens_alike, golden.chat.len());
    Ok(())
}

/// Log-probabilities of every step of a completion, `[steps][vocabulary]`, fed with the recorded tokens.
fn log_probabilities(
    completion: &Completion,
    backend: &mut dyn Backend,
) -> Result<Vec<Vec<f64>>, ForwardError> {
    let limits = *backend.limits();
    let steps = completion.top.len().min(completion.tokens.len());
    let mut sequence = completion.prompt_tokens.clone();
    sequence.extend(&completion.tokens[..steps.saturating_sub(1)]);
    let first_step = completion.prompt_tokens.len().saturating_sub(1);
    let blocks: Vec<u32> = (0u32..).take(limits.blocks_for(sequence.len())).collect();
    let mut result = Vec::new();
    let mut batch = Batch::new(limits.block_tokens);
    let rows = limits.rows.min(limits.outputs);
    for (index, part) in sequence.chunks(rows).enumerate() {
        let before = index * rows;
        batch.clear();
        batch.push(part, before, &blocks);
        (0..part.len())
            .filter(|row| before + row >= first_step)
            .for_each(|row| batch.want(row));
        let wanted = batch.outputs.len();
        let logits = backend.logits(&batch)?;
        result.extend((0..wanted).map(|row| log_softmax(logits.row(row))));
    }
    Ok(result)
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = |logit: &f32| f64::from(*logit) - f64::from(largest);
    let total: f64 = logits.iter().map(|logit| shifted(logit).exp()).sum();
    logits.iter().map(|logit| shifted(logit) - total.ln()).collect()
}

fn check_against_peer(peer: &Deviation, deviations: &Deviations, report: &mut Report) {
    let checks = [
        ("top-1 difference, mean", mean(&deviations.top1), peer.top1_mean),
        (
            "top-1 difference, 95th percentile",
            percentile(&deviations.top1),
            peer.top1_p95,
        ),
        ("top-5 difference, mean", mean(&deviations.top5), peer.top5_mean),
        (
            "top-5 difference, 95th percentile",
            percentile(&deviations.top5),
            peer.top5_p95,
        ),
    ];
    for (name, got, peer) in checks {
        report.at_most(name, got, peer * PEER_FACTOR);
    }
    report.all(
        "decided steps with the same token",
        deviations.decided_alike,
        deviations.decided,
    );
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred values")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// 95th percentile, the value at rank `⌊0.95 n⌋`.
fn percentile(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(values.len() * 95 / 100)
        .or(sorted.last())
        .copied()
        .unwrap_or_default()
}
