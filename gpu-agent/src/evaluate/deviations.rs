//! How far a machine's log-probabilities are from the reference's, and at which steps that matters.

use super::{golden::Completion, report::FailingStep};
use crate::model::tokenizer::Tokenizer;

/// Exact mode: a log-probability may differ by this much from the reference.
pub(super) const EXACT_TOLERANCE: f64 = 0.002;
/// Fast mode: steps of each completion that the recorded peer's deviation was taken over.
const PEER_STEPS: usize = 8;
/// Where the reference's two best are further apart than this, the likeliest token must be the same.
const DECIDED_GAP: f64 = 0.3;
/// Characters of a prompt that name it in a report.
const PROMPT_CHARACTERS: usize = 40;

/// Absolute differences to the reference.
#[derive(Debug, Default)]
pub(super) struct Deviations {
    pub(super) all: Vec<f64>,
    /// Of the likeliest token, over the first steps.
    pub(super) top1: Vec<f64>,
    /// Of the five likeliest tokens, over the first steps.
    pub(super) top5: Vec<f64>,
    pub(super) decided: usize,
    pub(super) decided_alike: usize,
    /// Decided steps with another token.
    pub(super) other_token: Vec<FailingStep>,
    /// Steps with a log-probability beyond [`EXACT_TOLERANCE`].
    pub(super) inexact: Vec<FailingStep>,
}

/// A step of a completion, with the reference's view of it and the machine's.
struct Compared<'a> {
    index: usize,
    completion: &'a Completion,
    step: usize,
    /// The reference's likeliest tokens.
    top: &'a [(u32, f64)],
    /// The machine's log-probabilities, `[vocabulary]`.
    computed: &'a [f64],
}

impl Deviations {
    /// Adds a completion, whose steps the machine gave these log-probabilities.
    pub(super) fn add(
        &mut self,
        index: usize,
        completion: &Completion,
        computed: &[Vec<f64>],
        tokenizer: &Tokenizer,
    ) {
        for (step, (top, computed)) in completion.top.iter().zip(computed).enumerate() {
            let compared = Compared {
                index,
                completion,
                step,
                top,
                computed,
            };
            let largest = self.compare(&compared);
            if largest > EXACT_TOLERANCE {
                self.inexact.push(compared.failing(largest, tokenizer));
            }
            if let [(best, _), _, ..] = top.as_slice()
                && compared.gap() > DECIDED_GAP
            {
                self.decided += 1;
                if argmax(computed) == Some(*best) {
                    self.decided_alike += 1;
                } else {
                    self.other_token.push(compared.failing(largest, tokenizer));
                }
            }
        }
    }

    /// Adds the differences of a step; the largest of them.
    fn compare(&mut self, step: &Compared<'_>) -> f64 {
        let mut largest = 0.0f64;
        for (rank, (token, expected)) in step.top.iter().enumerate() {
            let difference = (step.log_probability(*token) - expected).abs();
            largest = largest.max(difference);
            self.all.push(difference);
            if step.step < PEER_STEPS {
                self.top5.push(difference);
                if rank == 0 {
                    self.top1.push(difference);
                }
            }
        }
        largest
    }

    pub(super) fn largest(&self) -> f64 {
        self.all.iter().copied().fold(0.0, f64::max)
    }
}

impl Compared<'_> {
    fn log_probability(&self, token: u32) -> f64 {
        let computed = self.computed.get(token as usize);
        computed.copied().unwrap_or(f64::NEG_INFINITY)
    }

    /// How far the reference's two best are apart; 0 where it names fewer.
    fn gap(&self) -> f64 {
        match self.top {
            [(_, first), (_, second), ..] => first - second,
            _ => 0.0,
        }
    }

    fn failing(&self, difference: f64, tokenizer: &Tokenizer) -> FailingStep {
        let name = |token: Option<u32>| {
            let text = token.map_or_else(Default::default, |token| tokenizer.text_bytes(token).to_vec());
            (token, String::from_utf8_lossy(&text).into_owned())
        };
        let prompt = self.completion.prompt.as_deref();
        FailingStep {
            completion: self.index,
            prompt: prompt.map(|prompt| prompt.chars().take(PROMPT_CHARACTERS).collect()),
            step: self.step,
            position: self.completion.prompt_tokens.len() + self.step,
            reference: name(self.top.first().map(|(token, _)| *token)),
            computed: name(argmax(self.computed)),
            gap: self.gap(),
            difference,
        }
    }
}

/// The likeliest token; of several, the first.
fn argmax(values: &[f64]) -> Option<u32> {
    let larger = |a: (f64, u32), b: (f64, u32)| if b.0.total_cmp(&a.0).is_gt() { b } else { a };
    values
        .iter()
        .copied()
        .zip(0u32..)
        .reduce(larger)
        .map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{tiny, tokenizer::Tokenizer};

    /// A completion of two steps: the first is decided for token 0, the second is not.
    fn completion() -> Completion {
        Completion {
            prompt: Some("abab and so on, for more than forty characters in all".to_owned()),
            prompt_tokens: vec![2, 2, 5],
            tokens: vec![0, 1],
            top: vec![vec![(0, -0.5), (1, -1.5)], vec![(1, -0.9), (0, -1.0)]],
        }
    }

    #[test]
    fn failing_steps_are_named_with_prompt_position_both_tokens_and_gap() {
        let tokenizer = Tokenizer::read(&tiny::file("llama", |_, _| {})).expect("a tokenizer");
        let mut deviations = Deviations::default();
        let computed = [vec![-0.7, -0.6, -3.0], vec![-0.8, -0.901, -3.0]];
        deviations.add(4, &completion(), &computed, &tokenizer);
        assert_eq!((deviations.decided, deviations.decided_alike), (1, 0));
        assert_eq!(deviations.inexact.len(), 2);
        let [step] = deviations.other_token.as_slice() else {
            panic!("{:?}", deviations.other_token)
        };
        let line = step.to_string();
        for part in [
            "completion 4",
            "\"abab and so on, for more than forty char…\"",
            "position 3",
            "reference 0 \"a\"",
            "computed 1 \"b\"",
            "1.000 apart",
            "0.900",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_machine_that_agrees_has_no_failing_step() {
        let tokenizer = Tokenizer::read(&tiny::file("llama", |_, _| {})).expect("a tokenizer");
        let mut deviations = Deviations::default();
        let computed = [vec![-0.501, -1.5], vec![-1.001, -0.9]];
        deviations.add(0, &completion(), &computed, &tokenizer);
        assert_eq!((deviations.decided, deviations.decided_alike), (1, 1));
        assert!(deviations.other_token.is_empty() && deviations.inexact.is_empty());
    }
}
