//! One request being computed.

use cocoon_api::{TokenCount, Usage};

use super::{
    prefix::BlockName,
    request::{FinishReason, GenerationRequest},
    text::TextStream,
};
use crate::{
    backend::{Penalties, SampleSpec, Sampling, SeenToken},
    model::tokenizer::Tokenizer,
};

/// Names a sequence within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Tokens of a request and how far they are computed.
#[derive(Debug)]
pub struct Sequence {
    /// Its name; later requests have larger ones.
    pub id: SequenceId,
    /// Prompt, then what was sampled.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    /// Tokens of the prompt whose keys and values were there when the sequence first ran; `None` before.
    cached: Option<usize>,
    /// Whether the prompt has been computed once.
    prefilled: bool,
    max_tokens: usize,
    sampling: Sampling,
    /// Tokens so far, ascending; empty where no penalty asks for them.
    seen: Vec<SeenToken>,
    text: TextStream,
    ignore_eos: bool,
    /// Cache blocks in order of position; they cover `computed`, and what the next batch computes.
    pub(super) blocks: Vec<u32>,
    /// Names of the full blocks of `tokens`, as far as they were asked for.
    names: Vec<BlockName>,
}

/// What one token led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
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
            seen: seen(&prompt, &sampling.penalties),
            prompt: prompt.len(),
            tokens: prompt,
            computed: 0,
            cached: None,
            prefilled: false,
            max_tokens,
            sampling,
            text: TextStream::new(stop),
            ignore_eos,
            blocks: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Tokens that it can have at most.
    pub fn most_tokens(&self) -> usize {
        self.prompt.saturating_add(self.max_tokens)
    }

    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens in the cache.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens that must be computed before the next one can be sampled.
    pub fn pending(&self) -> &[u32] {
        &self.tokens[self.computed..]
    }

    /// Tokens by class, so far.
    pub fn usage(&self) -> Usage {
        let cached = self.cached.unwrap_or(0);
        Usage {
            prompt_tokens: count(self.prompt - cached),
            cached_prompt_tokens: count(cached),
            completion_tokens: count(self.tokens.len() - self.prompt),
            ..Usage::default()
        }
    }

    /// The name of a full block of its tokens, of `block_tokens` each.
    pub fn block_name(&mut self, index: usize, block_tokens: usize) -> BlockName {
        while self.names.len() <= index {
            let start = self.names.len() * block_tokens;
            let name = BlockName::of(self.names.last(), &self.tokens[start..start + block_tokens]);
            self.names.push(name);
        }
        self.names[index]
    }

    /// Starts to run in these blocks, whose first `cached` tokens are computed. There is at least one more to compute.
    pub fn admit(&mut self, blocks: Vec<u32>, cached: usize) {
        debug_assert!(cached < self.tokens.len(), "nothing is left to compute");
        self.blocks = blocks;
        self.computed = cached;
        self.cached.get_or_insert(cached.min(self.prompt));
    }

    /// Stops running: hands its blocks out, and must be computed anew, keeping all its tokens.
    pub fn preempt(&mut self) -> Vec<u32> {
        self.computed = 0;
        std::mem::take(&mut self.blocks)
    }

    /// Notes that `count` pending tokens are in the cache. True once: when the whole prompt is.
    pub fn advance(&mut self, count: usize) -> bool {
        self.computed += count;
        let first = !self.prefilled && self.computed >= self.prompt;
        self.prefilled |= first;
        first
    }

    /// How its next token is chosen.
    pub fn spec(&self) -> SampleSpec<'_> {
        SampleSpec {
            sampling: self.sampling,
            index: (self.tokens.len() - self.prompt) as u64,
            seen: &self.seen,
            allowed: None,
        }
    }

    /// Adds the next token.
    pub fn take(&mut self, token: u32, tokenizer: &Tokenizer) -> Taken {
        self.tokens.push(token);
        self.see(token);
        let finished = |text, reason| Taken {
            text,
            finished: Some(reason),
        };
        if !self.ignore_eos && tokenizer.ends().binary_search(&token).is_ok() {
            return finished(self.text.finish(), FinishReason::Stop);
        }
        let pushed = self.text.push(tokenizer.text_bytes(token));
        if pushed.stopped {
            return finished(pushed.text, FinishReason::Stop);
        }
        if self.tokens.len() >= self.most_tokens() {
            return finished(pushed.text + &self.text.finish(), FinishReason::Length);
        }
        Taken {
            text: pushed.text,
            finished: None,
        }
    }

    /// Remembers a token of the completion, if a penalty asks for it.
    fn see(&mut self, token: u32) {
        if self.sampling.penalties == Penalties::NONE {
            return;
        }
        match self.seen.binary_search_by_key(&token, |seen| seen.token) {
            Ok(at) => self.seen[at].completion += 1,
            Err(at) => self.seen.insert(at, SeenToken { token, completion: 1 }),
        }
    }
}

/// The tokens of a prompt, if a penalty asks for them.
fn seen(prompt: &[u32], penalties: &Penalties) -> Vec<SeenToken> {
    if *penalties == Penalties::NONE {
        return Vec::new();
    }
    let mut tokens = prompt.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    let of_prompt = |token| SeenToken { token, completion: 0 };
    tokens.into_iter().map(of_prompt).collect()
}

/// A number of tokens; a sequence's tokens are far below the limit of the type.
fn count(tokens: usize) -> TokenCount {
    TokenCount::new(tokens as u64).unwrap_or_default()
}
