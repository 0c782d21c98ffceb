//! One attempt at a job: its requests, its receipt chain, and the lines of its results.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cocoon_api::{
    TokenCount, Usage,
    agent::{AttemptProgress, AttemptRequest, AttemptState, FailureCode, Outcome, ResultLine},
    receipt::{ChainId, ReceiptChain, Sha256Digest, UsageStatement},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::service::Service;

/// Seconds over which tokens per second are averaged: long enough to be steady at a few tokens a second.
const RATE_WINDOW_SECONDS: u64 = 5;

/// Names an attempt: UID of the job, number of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId {
    /// UID of the job.
    pub job: String,
    /// Number of the attempt.
    pub attempt: u32,
}

/// An attempt, from its acceptance on.
pub struct Attempt {
    pub(super) id: AttemptId,
    /// Digest of the request, which tells a repetition from another body.
    pub(super) digest: Sha256Digest,
    pub(super) cancel: CancellationToken,
    total: u32,
    channel: Option<String>,
    state: Mutex<State>,
    /// Number of lines and whether they are all, for those who wait for more.
    grown: watch::Sender<Grown>,
}

/// How far the results have grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grown {
    pub(super) lines: usize,
    pub(super) ended: bool,
}

struct State {
    chain: ReceiptChain,
    /// Result lines, each with its line feed.
    lines: Vec<Arc<str>>,
    bytes: usize,
    in_flight: u32,
    succeeded: u32,
    failed: u32,
    ended: Option<AttemptState>,
    /// Tokens of requests that succeeded.
    delivered: Usage,
    /// Tokens of requests in flight.
    live: Live,
    rate: Rate,
}

/// Tokens of requests that have no result yet; never billed from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Live {
    prompt: u64,
    cached: u64,
    completion: u64,
}

/// Shows the tokens of one request while it is in flight.
pub(super) struct LiveRequest {
    attempt: Arc<Attempt>,
    tokens: Live,
}

/// One request that succeeded.
pub(super) struct Success {
    pub(super) body: String,
    pub(super) usage: Usage,
    /// Its tokens as they were shown while it was in flight.
    pub(super) live: LiveRequest,
}

/// Why one request failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) code: FailureCode,
    pub(super) message: String,
}

impl Attempt {
    pub(super) fn new(
        id: AttemptId,
        request: &AttemptRequest,
        digest: Sha256Digest,
        service: &Service,
    ) -> Self {
        let chain = ReceiptChain::new(ChainId {
            agent: service.signer.key(),
            job: id.job.clone(),
            attempt: id.attempt,
            channel: request.channel.clone(),
        });
        Self {
            id,
            digest,
            cancel: CancellationToken::new(),
            total: u32::try_from(request.requests.len()).unwrap_or(u32::MAX),
            channel: request.channel.clone(),
            state: Mutex::new(State {
                chain,
                lines: Vec::new(),
                bytes: 0,
                in_flight: 0,
                succeeded: 0,
                failed: 0,
                ended: None,
                delivered: Usage::default(),
                live: Live::default(),
                rate: Rate::default(),
            }),
            grown: watch::Sender::new(Grown::default()),
        }
    }

    /// Whether the attempt is free of charge.
    pub(super) fn is_free(&self) -> bool {
        self.channel.is_none()
    }

    /// Live figures.
    pub(super) fn progress(&self, service: &Service) -> AttemptProgress {
        let state = self.state();
        AttemptProgress {
            agent: service.signer.key(),
            state: state.ended.unwrap_or(AttemptState::Running),
            total: self.total,
            in_flight: state.in_flight,
            succeeded: state.succeeded,
            failed: state.failed,
            usage: state
                .delivered
                .checked_add(state.live.usage())
                .unwrap_or(state.delivered),
            tokens_per_second: state.rate.per_second(Instant::now()),
        }
    }

    /// The signed sum of what was delivered.
    pub(super) fn statement(&self, service: &Service) -> UsageStatement {
        service.signer.statement(&self.state().chain)
    }

    /// The line at a position, if it is there.
    pub(super) fn line(&self, position: usize) -> Option<Arc<str>> {
        self.state().lines.get(position).cloned()
    }

    /// To be told of every line.
    pub(super) fn follow(&self) -> watch::Receiver<Grown> {
        self.grown.subscribe()
    }

    /// Whether every request has its line.
    pub(super) fn has_ended(&self) -> bool {
        self.grown.borrow().ended
    }

    /// Bytes of all lines.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// Notes that a request is being computed.
    pub(super) fn start_request(&self) {
        self.state().in_flight += 1;
    }

    /// Watches the tokens of a request in flight.
    pub(super) fn watch(self: &Arc<Self>) -> LiveRequest {
        LiveRequest {
            attempt: Arc::clone(self),
            tokens: Live::default(),
        }
    }

    /// Notes that a request is no longer being computed, and appends its line; a success is signed here.
    pub(super) fn finish_request(
        &self,
        service: &Service,
        request: &AttemptRequest,
        index: u32,
        was_in_flight: bool,
        result: Result<Success, Failure>,
    ) {
        let mut state = self.state();
        state.in_flight -= u32::from(was_in_flight);
        let mut usage = Usage::default();
        let signed = result.and_then(|mut success| {
            // Tokens pass from those in flight to those delivered under one lock: who looks sees them once.
            state.live.subtract(std::mem::take(&mut success.live.tokens));
            usage = success.usage;
            state.sign(service, request, index, success.body, usage)
        });
        let outcome = match signed {
            Ok(outcome) => {
                state.succeeded += 1;
                state.delivered = state.delivered.checked_add(usage).unwrap_or(state.delivered);
                outcome
            }
            Err(Failure { code, message }) => {
                state.failed += 1;
                Outcome::Failed { code, message }
            }
        };
        let position = u32::try_from(state.lines.len()).unwrap_or(u32::MAX);
        match serde_json::to_string(&ResultLine {
            position,
            index,
            outcome,
        }) {
            Ok(line) => {
                let line: Arc<str> = (line + "\n").into();
                state.bytes += line.len();
                state.lines.push(line);
            }
            Err(error) => tracing::error!(%error, "cannot write a result line"),
        }
        let lines = state.lines.len();
        drop(state);
        self.grown.send_modify(|grown| grown.lines = lines);
    }

    /// Notes that nothing follows.
    pub(super) fn end(&self, ended: AttemptState) {
        self.state().ended = Some(ended);
        self.grown.send_modify(|grown| grown.ended = true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sign(
        &mut self,
        service: &Service,
        request: &AttemptRequest,
        index: u32,
        body: String,
        usage: Usage,
    ) -> Result<Outcome, Failure> {
        let delivery = cocoon_api::receipt::Delivery {
            request: index,
            model: service.model.sha256,
            result: Sha256Digest::of(body.as_bytes()),
            usage,
            prices: request.prices,
        };
        let receipt = service
            .signer
            .receipt(&mut self.chain, delivery)
            .map_err(|error| Failure {
                code: FailureCode::Internal,
                message: format!("cannot sign a receipt: {error}"),
            })?;
        let statement = Box::new(service.signer.statement(&self.chain));
        Ok(Outcome::Succeeded {
            body,
            receipt: Box::new(receipt),
            statement,
        })
    }
}

impl LiveRequest {
    /// The prompt was computed, except for what came from the prefix cache.
    pub(super) fn prefilled(&mut self, prompt: u64, cached: u64) {
        self.add(Live {
            prompt: prompt - cached,
            cached,
            completion: 0,
        });
    }

    /// Tokens were sampled.
    pub(super) fn sampled(&mut self, tokens: u64) {
        self.add(Live {
            completion: tokens,
            ..Live::default()
        });
        self.attempt.state().rate.record(Instant::now(), tokens);
    }

    fn add(&mut self, more: Live) {
        let mut state = self.attempt.state();
        for tokens in [&mut self.tokens, &mut state.live] {
            tokens.prompt += more.prompt;
            tokens.cached += more.cached;
            tokens.completion += more.completion;
        }
    }
}

/// The request has its result, or none: its tokens are no longer in flight.
impl Drop for LiveRequest {
    fn drop(&mut self) {
        // Tokens that were delivered were taken out of it, with the attempt's lock held.
        if self.tokens == Live::default() {
            return;
        }
        self.attempt.state().live.subtract(self.tokens);
    }
}

impl Live {
    fn subtract(&mut self, other: Self) {
        self.prompt -= other.prompt;
        self.cached -= other.cached;
        self.completion -= other.completion;
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: count(self.prompt),
            cached_prompt_tokens: count(self.cached),
            completion_tokens: count(self.completion),
            ..Usage::default()
        }
    }
}

/// A number of tokens; an attempt's tokens are far below the limit of the type.
fn count(tokens: u64) -> TokenCount {
    TokenCount::new(tokens).unwrap_or_default()
}

/// Tokens of the last seconds.
#[derive(Debug, Default)]
struct Rate {
    /// When tokens were sampled, and how many; at most one entry a tenth of a second.
    recent: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn record(&mut self, now: Instant, tokens: u64) {
        match self.recent.back_mut() {
            Some((at, count)) if now.duration_since(*at).as_millis() < 100 => *count += tokens,
            _ => self.recent.push_back((now, tokens)),
        }
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at).as_secs() >= RATE_WINDOW_SECONDS)
        {
            self.recent.pop_front();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    fn per_second(&self, now: Instant) -> f64 {
        let fresh = |entry: &&(Instant, u64)| now.duration_since(entry.0).as_secs() < RATE_WINDOW_SECONDS;
        let tokens: u64 = self.recent.iter().filter(fresh).map(|(_, count)| count).sum();
        let oldest = self
            .recent
            .iter()
            .find(fresh)
            .map_or(0.0, |(at, _)| now.duration_since(*at).as_secs_f64());
        if tokens == 0 {
            0.0
        } else {
            tokens as f64 / oldest.max(0.1)
        }
    }
}
