//! One attempt at a job: its requests, its receipt chain, and the lines of its results.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cocoon_api::{
    TokenCount, Usage,
    agent::{AttemptProgress, AttemptRequest, AttemptState, FailureCode, Outcome, ResultLine},
    receipt::{ChainId, ReceiptChain, ResolvedSampling, Sha256Digest, UsageStatement},
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
    live: LiveTokens,
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
    rate: Rate,
}

/// Tokens of requests that succeeded or are in flight.
#[derive(Debug, Default)]
struct LiveTokens {
    prompt: AtomicU64,
    completion: AtomicU64,
}

/// One request that succeeded.
pub(super) struct Success {
    pub(super) body: String,
    pub(super) usage: Usage,
    /// SHA-256 of the request's body as it came.
    pub(super) request_sha256: Sha256Digest,
    /// The sampling that was used.
    pub(super) sampling: ResolvedSampling,
    /// Root over the tokens of prompt and answer.
    pub(super) tokens_root: Sha256Digest,
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
                rate: Rate::default(),
            }),
            grown: watch::Sender::new(Grown::default()),
            live: LiveTokens::default(),
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
            usage: Usage {
                prompt_tokens: count(self.live.prompt.load(Ordering::Relaxed)),
                completion_tokens: count(self.live.completion.load(Ordering::Relaxed)),
                ..Usage::default()
            },
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

    /// Notes tokens of a request in flight.
    pub(super) fn count_tokens(&self, prompt: usize, completion: usize) {
        self.live.prompt.fetch_add(prompt as u64, Ordering::Relaxed);
        self.live
            .completion
            .fetch_add(completion as u64, Ordering::Relaxed);
        if completion > 0 {
            self.state().rate.record(Instant::now(), completion);
        }
    }

    /// Takes back tokens of a request that ended without a result.
    pub(super) fn uncount_tokens(&self, prompt: usize, completion: usize) {
        self.live.prompt.fetch_sub(prompt as u64, Ordering::Relaxed);
        self.live
            .completion
            .fetch_sub(completion as u64, Ordering::Relaxed);
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
        let outcome = match result.and_then(|success| state.sign(service, request, index, success)) {
            Ok(outcome) => {
                state.succeeded += 1;
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
        success: Success,
    ) -> Result<Outcome, Failure> {
        let Success {
            body,
            usage,
            request_sha256,
            sampling,
            tokens_root,
        } = success;
        let delivery = cocoon_api::receipt::Delivery {
            request: index,
            request_sha256,
            arithmetic: None,
            sampling,
            tokens_root,
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

/// A number of tokens; an attempt's tokens are far below the limit of the type.
fn count(tokens: u64) -> TokenCount {
    TokenCount::new(tokens).unwrap_or_default()
}

/// Tokens of the last seconds.
#[derive(Debug, Default)]
struct Rate {
    /// When tokens were sampled, and how many; at most one entry a tenth of a second.
    recent: VecDeque<(Instant, usize)>,
}

impl Rate {
    fn record(&mut self, now: Instant, tokens: usize) {
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
        let fresh = |entry: &&(Instant, usize)| now.duration_since(entry.0).as_secs() < RATE_WINDOW_SECONDS;
        let tokens: usize = self.recent.iter().filter(fresh).map(|(_, count)| count).sum();
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
