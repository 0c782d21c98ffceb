//! One attempt at a job: its requests, its receipt chain, and the lines of its results.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cocoon_api::{
    Prices, Subject, Usage,
    agent::{
        AttemptProgress, AttemptRequest, AttemptState, FailureCode, MAX_RESULT_LINE_BYTES, Outcome,
        ResultLine,
    },
    receipt::{AnswerTokens, ChainId, Delivery, ReceiptChain, ReceiptSigner, ResolvedSampling, Sha256Digest},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{live::Live, rate::Rate};

/// Bytes of a line of results at most besides its answer and tokens: a receipt of the longest kind takes 1,664, and
/// names and numbers around it less than 200.
const MAX_AROUND_ANSWER_BYTES: usize = 2048;

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
    terms: Terms,
    signer: Arc<ReceiptSigner>,
    state: Mutex<State>,
    /// Number of lines and whether they are all, for those who wait for more.
    grown: watch::Sender<Grown>,
}

/// What every receipt of an attempt says.
#[derive(Debug, Clone)]
struct Terms {
    model: Sha256Digest,
    /// Version of the arithmetic that computes; absent where the machine has none.
    arithmetic: Option<String>,
    prices: Prices,
    /// Address of the channel that pays; absent where the attempt is free.
    channel: Option<String>,
}

/// How far the results have grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grown {
    /// Lines that are there.
    pub lines: usize,
    /// Whether nothing follows.
    pub ended: bool,
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

/// Shows the tokens of one request while it is in flight.
pub(super) struct LiveRequest {
    attempt: Arc<Attempt>,
    tokens: Live,
}

/// One request that succeeded.
pub(super) struct Success {
    pub(super) body: String,
    pub(super) usage: Usage,
    /// SHA-256 of the request's body as it came.
    pub(super) request_sha256: Sha256Digest,
    /// The sampling that was used.
    pub(super) sampling: ResolvedSampling,
    /// The tokens of prompt and answer, and the root over them.
    pub(super) tokens: AnswerTokens,
    pub(super) tokens_root: Sha256Digest,
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
    /// An attempt that nothing was computed of, whose receipts this signer signs.
    pub fn new(
        id: AttemptId,
        request: &AttemptRequest,
        digest: Sha256Digest,
        signer: Arc<ReceiptSigner>,
        arithmetic: Option<String>,
    ) -> Self {
        let chain = ReceiptChain::new(ChainId {
            agent: signer.key(),
            subject: Subject::job(&id.job, id.attempt),
            channel: request.channel.clone(),
        });
        Self {
            id,
            digest,
            cancel: CancellationToken::new(),
            total: u32::try_from(request.requests.len()).unwrap_or(u32::MAX),
            terms: Terms {
                model: request.model_sha256,
                arithmetic,
                prices: request.prices,
                channel: request.channel.clone(),
            },
            signer,
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

    /// Its name.
    pub fn id(&self) -> &AttemptId {
        &self.id
    }

    /// Ends what is unfinished; what is finished stays readable.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether the attempt is free of charge.
    pub(super) fn is_free(&self) -> bool {
        self.terms.channel.is_none()
    }

    /// Live figures.
    pub fn progress(&self) -> AttemptProgress {
        let state = self.state();
        AttemptProgress {
            agent: self.signer.key(),
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

    /// The chain of its receipts.
    pub fn chain(&self) -> ChainId {
        self.state().chain.id().clone()
    }

    /// The line at a position, if it is there.
    pub fn line(&self, position: usize) -> Option<Arc<str>> {
        self.state().lines.get(position).cloned()
    }

    /// To be told of every line.
    pub fn follow(&self) -> watch::Receiver<Grown> {
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
    pub(super) fn finish_request(&self, index: u32, was_in_flight: bool, result: Result<Success, Failure>) {
        let mut state = self.state();
        state.in_flight -= u32::from(was_in_flight);
        let mut usage = Usage::default();
        let signed = result.and_then(|mut success| {
            // Tokens pass from those in flight to those delivered under one lock: who looks sees them once.
            state.live.subtract(std::mem::take(&mut success.live.tokens));
            usage = success.usage;
            state.sign(&self.signer, &self.terms, index, success)
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
        signer: &ReceiptSigner,
        terms: &Terms,
        index: u32,
        success: Success,
    ) -> Result<Outcome, Failure> {
        let Success {
            body,
            usage,
            request_sha256,
            sampling,
            tokens,
            tokens_root,
            live: _,
        } = success;
        // Nothing is signed that cannot be handed over.
        let answer = serde_json::to_string(&body).map_or(usize::MAX, |text| text.len());
        let bytes = answer.saturating_add(tokens.prompt.len() + tokens.completion.len());
        if bytes.saturating_add(MAX_AROUND_ANSWER_BYTES) > MAX_RESULT_LINE_BYTES {
            return Err(Failure {
                code: FailureCode::ResultTooLarge,
                message: format!(
                    "the answer takes {bytes} bytes with its tokens, and a line of results has {MAX_RESULT_LINE_BYTES} at \
                     most: lower max_tokens; this request is free"
                ),
            });
        }
        let delivery = Delivery {
            request: index,
            request_sha256,
            model: terms.model,
            arithmetic: terms.arithmetic.clone(),
            sampling,
            tokens_root,
            result: Sha256Digest::of(body.as_bytes()),
            usage,
            prices: terms.prices,
        };
        let receipt = signer
            .receipt(&mut self.chain, delivery)
            .map_err(|error| Failure {
                code: FailureCode::Internal,
                message: format!("cannot sign a receipt: {error}"),
            })?;
        Ok(Outcome::Succeeded {
            body,
            tokens,
            receipt: Box::new(receipt),
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
        state.live.add(more);
        self.tokens.add(more);
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
