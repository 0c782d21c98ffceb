//! Reference outputs: what a model must answer, and where the reference leaves no doubt.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// A step whose two likeliest tokens are closer than this, in log-probability, may go either way.
pub const DECISIVE_GAP: f64 = 0.3;

/// One file of reference outputs.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// Continuations of prompts.
    pub completions: Vec<Completion>,
}

/// The continuation of one prompt.
#[derive(Debug, Deserialize)]
pub struct Completion {
    /// The prompt; absent where only ids are given.
    pub prompt: Option<String>,
    /// Its tokens.
    pub prompt_tokens: Vec<u32>,
    /// The greedy continuation.
    pub tokens: Vec<u32>,
    /// For each step, the likeliest tokens with their log-probabilities.
    pub top: Vec<Vec<(u32, f64)>>,
}

impl Completion {
    /// Tokens up to the first step at which the reference is undecided.
    pub fn decided(&self) -> usize {
        let undecided = self
            .top
            .iter()
            .position(|top| top.len() > 1 && top[0].1 - top[1].1 <= DECISIVE_GAP);
        undecided.unwrap_or(self.tokens.len()).min(self.tokens.len())
    }
}

impl Golden {
    /// Reads the demo model's reference outputs.
    pub fn smollm2() -> Result<Self> {
        let path = folder().join("smollm2-135m-instruct-q4_1.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} holds no reference outputs", path.display()))
    }

    /// Those with a prompt as text.
    pub fn prompts(&self) -> impl Iterator<Item = (&str, &Completion)> {
        self.completions
            .iter()
            .filter_map(|completion| Some((completion.prompt.as_deref()?, completion)))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../goldens")
}
