//! One request being computed.

use super::{FinishReason, GenerationRequest, sampler::Sampler, text::TextStream};
use crate::model::tokenizer::Tokenizer;

/// Names a sequence within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Tokens of a request and how far they are computed.
#[derive(Debug)]
pub struct Sequence {
    /// Its name.
    pub id: SequenceId,
    /// Prompt, then what was sampled.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    max_tokens: usize,
    sampler: Sampler,
    text: TextStream,
    ignore_eos: bool,
    /// Cache blocks for all tokens that it can ever have; empty while it waits.
    pub(super) blocks: Vec<u32>,
}

/// What one batch computed of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advanced {
    /// Tokens of the prompt among them.
    pub prompt_tokens: usize,
    /// Whether they complete the prompt.
    pub prefilled: bool,
}

/// What one sampled token led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Text that is certain.
    pub text: String,
    /// Set when the sequence has ended.
    pub finished: Option<FinishReason>,
}

impl Sequence {
    /// A request that nothing was computed of.
    pub fn new(id: SequenceId, request: GenerationRequest) -> Self {
        let GenerationRequest {
            prompt,
            max_tokens,
            sampling,
            stop,
            ignore_eos,
        } = request;
        Self {
            id,
            prompt: prompt.len(),
            tokens: prompt,
            computed: 0,
            max_tokens,
            sampler: Sampler::new(sampling),
            text: TextStream::new(stop),
            ignore_eos,
            blocks: Vec::new(),
        }
    }

    /// Tokens that it can have at most.
    pub fn most_tokens(&self) -> usize {
        self.prompt + self.max_tokens
    }

    /// Tokens in the cache.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens that must be computed before the next one can be sampled.
    pub fn pending(&self) -> &[u32] {
        &self.tokens[self.computed..]
    }

    /// Notes that `count` pending tokens are in the cache.
    pub fn advance(&mut self, count: usize) -> Advanced {
        let before = self.computed.min(self.prompt);
        self.computed += count;
        let after = self.computed.min(self.prompt);
        Advanced {
            prompt_tokens: after - before,
            prefilled: before < after && after == self.prompt,
        }
    }

    /// Samples the next token.
    pub fn sample(&mut self, logits: &[f32], tokenizer: &Tokenizer) -> Sampled {
        let token = self.sampler.sample(logits);
        self.tokens.push(token);
        if !self.ignore_eos && tokenizer.ends().binary_search(&token).is_ok() {
            return Sampled {
                token,
                text: self.text.finish(),
                finished: Some(FinishReason::Stop),
            };
        }
        let pushed = self.text.push(tokenizer.text_bytes(token));
        if pushed.stopped {
            return Sampled {
                token,
                text: pushed.text,
                finished: Some(FinishReason::Stop),
            };
        }
        if self.tokens.len() >= self.most_tokens() {
            let text = pushed.text + &self.text.finish();
            return Sampled {
                token,
                text,
                finished: Some(FinishReason::Length),
            };
        }
        Sampled {
            token,
            text: pushed.text,
            finished: None,
        }
    }
}
