//! What an evaluation found.

use std::fmt;

/// One check and its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What was found, against what is asked.
    pub figures: String,
    /// Whether it suffices.
    pub passed: bool,
}

/// A step of a completion at which a machine differs from the reference by more than is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct FailingStep {
    /// Which completion of the golden file, from 0.
    pub completion: usize,
    /// The beginning of its prompt, where the file has its text.
    pub prompt: Option<String>,
    /// Which token of the completion, from 0.
    pub step: usize,
    /// The token's position in the sequence, prompt included, from 0.
    pub position: usize,
    /// The reference's likeliest token and its text.
    pub reference: (Option<u32>, String),
    /// The machine's likeliest token and its text.
    pub computed: (Option<u32>, String),
    /// How far the reference's two best log-probabilities are apart.
    pub gap: f64,
    /// Largest difference of a recorded log-probability at this step.
    pub difference: f64,
}

/// All checks of an evaluation, in the order of running.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
    /// Each step that is at fault.
    pub failing: Vec<FailingStep>,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    pub(super) fn all(&mut self, name: &'static str, good: usize, total: usize) {
        self.checks.push(Check {
            name,
            figures: format!("{good} of {total}"),
            passed: good == total,
        });
    }

    pub(super) fn at_most(&mut self, name: &'static str, got: f64, most: f64) {
        self.checks.push(Check {
            name,
            figures: format!("{got:.5}, at most {most:.5}"),
            passed: got <= most,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check {
            name,
            figures,
            passed,
        } in &self.checks
        {
            let verdict = if *passed { "ok    " } else { "FAILED" };
            writeln!(f, "{verdict} {name}: {figures}")?;
        }
        self.failing
            .iter()
            .try_for_each(|step| writeln!(f, "       {step}"))
    }
}

impl fmt::Display for FailingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = |(id, text): &(Option<u32>, String)| match id {
            Some(id) => format!("{id} {text:?}"),
            None => "none".to_owned(),
        };
        let prompt = match &self.prompt {
            Some(prompt) => format!("\"{}…\"", prompt.escape_debug()),
            None => "of tokens alone".to_owned(),
        };
        write!(
            f,
            "completion {}, prompt {prompt}, step {} at position {}: reference {}, computed {}; the reference's two best \
             are {:.3} apart, and log-probabilities differ by up to {:.3}",
            self.completion,
            self.step,
            self.position,
            token(&self.reference),
            token(&self.computed),
            self.gap,
            self.difference,
        )
    }
}
