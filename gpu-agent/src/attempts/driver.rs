//! Runs the requests of one attempt: some at once, within the budget, until all have a result or it is cancelled.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use cocoon_api::{
    NanoTon, TokenCount, Usage,
    agent::{AttemptRequest, AttemptState, FailureCode},
    json,
    receipt::{AnswerTokens, ResolvedSampling, tokens_root},
    units::UnitError,
};
use tokio::task::JoinSet;

use super::{
    attempt::{Attempt, Failure, Success},
    body::{Body, Defaults, Refusal},
    openai::{self, Prepared},
    served::Serving,
};
use crate::{
    backend::{Penalties, Sampling},
    engine::{self, Event, GenerationRequest, Health},
};

/// A request that has not started.
struct Pending {
    index: u32,
    prepared: Result<Prepared, Refusal>,
}

/// The result of a request that ran.
struct Ended {
    index: u32,
    result: Result<Success, Failure>,
}

/// One attempt being run.
struct Driver {
    serving: Arc<Serving>,
    attempt: Arc<Attempt>,
    request: Arc<AttemptRequest>,
    pending: VecDeque<Pending>,
    running: JoinSet<Ended>,
    /// The most that each request in flight can cost.
    reserved: BTreeMap<u32, NanoTon>,
    spent: NanoTon,
}

/// Runs an attempt to its end.
pub async fn drive(serving: Arc<Serving>, attempt: Arc<Attempt>, request: AttemptRequest) {
    let request = Arc::new(request);
    let cancel = attempt.cancel.clone();
    let pending = tokio::select! {
        () = cancel.cancelled() => None,
        pending = prepare_all(&serving, &request) => Some(pending),
    };
    let unprepared = |item: &cocoon_api::agent::RequestItem| Pending {
        index: item.index,
        prepared: Err(cancelled().into()),
    };
    let cancelled_early = pending.is_none();
    let pending = pending.unwrap_or_else(|| request.requests.iter().map(unprepared).collect());
    let mut driver = Driver {
        serving,
        attempt,
        request,
        pending,
        running: JoinSet::new(),
        reserved: BTreeMap::new(),
        spent: NanoTon::ZERO,
    };
    let was_cancelled = cancelled_early
        || tokio::select! {
            biased;
            () = cancel.cancelled() => true,
            () = driver.run() => false,
        };
    if was_cancelled {
        driver.cancel().await;
    }
    driver.attempt.end(if was_cancelled {
        AttemptState::Cancelled
    } else {
        AttemptState::Finished
    });
}

/// Tokenises every request, away from the threads that serve connections.
async fn prepare_all(serving: &Arc<Serving>, request: &Arc<AttemptRequest>) -> VecDeque<Pending> {
    let (for_thread, wanted) = (Arc::clone(serving), Arc::clone(request));
    let prepared = tokio::task::spawn_blocking(move || {
        let prepare = |item: &cocoon_api::agent::RequestItem| {
            let defaults = Defaults {
                sampling: wanted.sampling,
                seed: rand::random(),
            };
            Pending {
                index: item.index,
                prepared: json::read(item.body.text().as_bytes())
                    .map_err(|fault| Refusal::invalid(format!("the body {fault}")))
                    .and_then(|body| Body::read(wanted.endpoint, &for_thread.model.name, &body, defaults))
                    .and_then(|body| openai::prepare(&for_thread.model, body)),
            }
        };
        wanted.requests.iter().map(prepare).collect()
    });
    prepared.await.unwrap_or_else(|error| {
        // The error repeats a panic's payload, which may hold a prompt.
        tracing::error!(is_panic = error.is_panic(), "preparing requests failed");
        let failed = || Refusal {
            code: FailureCode::Internal,
            message: "the agent could not read the request".to_owned(),
        };
        request
            .requests
            .iter()
            .map(|item| Pending {
                index: item.index,
                prepared: Err(failed()),
            })
            .collect()
    })
}

impl Driver {
    async fn run(&mut self) {
        loop {
            while self.running.len() < self.request.parallelism as usize && self.start_next() {}
            match self.running.join_next().await {
                Some(Ok(ended)) => self.record(ended),
                Some(Err(error)) => tracing::error!(is_panic = error.is_panic(), "a request's task failed"),
                None => return self.fail_lost(),
            }
        }
    }

    /// Starts or refuses the next request. False when there is none, or it must wait for the budget.
    fn start_next(&mut self) -> bool {
        let Some(next) = self.pending.front() else {
            return false;
        };
        let most = match &next.prepared {
            Ok(prepared) => self.most_cost(prepared),
            Err(_) => Ok(NanoTon::ZERO),
        };
        let fits = most.is_ok_and(|most| self.fits_budget(most));
        if !fits && !self.running.is_empty() {
            return false;
        }
        let Some(Pending { index, prepared }) = self.pending.pop_front() else {
            return false;
        };
        match prepared {
            Err(refusal) => self.refuse(index, refusal.into()),
            Ok(_) if !fits => {
                let message =
                    "the attempt's budget does not cover the most that this request can cost".to_owned();
                self.refuse(
                    index,
                    Failure {
                        code: FailureCode::BudgetExceeded,
                        message,
                    },
                );
            }
            Ok(prepared) => {
                self.reserved.insert(index, most.unwrap_or_default());
                self.attempt.start_request();
                let (serving, attempt, request) = (
                    Arc::clone(&self.serving),
                    Arc::clone(&self.attempt),
                    Arc::clone(&self.request),
                );
                self.running.spawn(async move {
                    Ended {
                        index,
                        result: generate(&serving, &attempt, &request, index, prepared).await,
                    }
                });
            }
        }
        true
    }

    fn refuse(&self, index: u32, failure: Failure) {
        self.serving.outcomes.count(Some(failure.code));
        self.attempt.finish_request(index, false, Err(failure));
    }

    fn record(&mut self, Ended { index, result }: Ended) {
        self.reserved.remove(&index);
        match &result {
            Ok(success) => {
                // The same sum was computed with more tokens when the request was admitted.
                let cost = self.cost(success.usage).unwrap_or(NanoTon::ZERO);
                self.spent = self.spent.checked_add(cost).unwrap_or(self.spent);
                self.serving.outcomes.count(None);
            }
            Err(failure) => self.serving.outcomes.count(Some(failure.code)),
        }
        self.attempt.finish_request(index, true, result);
    }

    /// Gives requests whose task failed, a fault that was logged, their line.
    fn fail_lost(&mut self) {
        for index in std::mem::take(&mut self.reserved).into_keys() {
            self.record(Ended {
                index,
                result: Err(internal()),
            });
        }
    }

    /// Ends everything that is unfinished. Dropping a task drops its receiver of events, which the engine notices.
    async fn cancel(&mut self) {
        self.running.abort_all();
        while let Some(joined) = self.running.join_next().await {
            match joined {
                Ok(ended) => self.record(ended),
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!(is_panic = error.is_panic(), "a request's task failed"),
            }
        }
        for index in std::mem::take(&mut self.reserved).into_keys() {
            self.record(Ended {
                index,
                result: Err(cancelled()),
            });
        }
        for Pending { index, .. } in std::mem::take(&mut self.pending) {
            self.refuse(index, cancelled());
        }
    }

    /// The most that a request can cost, however much of its prompt is in the prefix cache.
    fn most_cost(&self, prepared: &Prepared) -> Result<NanoTon, UnitError> {
        let (prompt, most) = (prepared.generation.prompt.len(), prepared.generation.max_tokens);
        let computed = Usage {
            prompt_tokens: count(prompt)?,
            completion_tokens: count(most)?,
            ..Usage::default()
        };
        let cached = Usage {
            prompt_tokens: TokenCount::default(),
            cached_prompt_tokens: computed.prompt_tokens,
            ..computed
        };
        Ok(self.cost(computed)?.max(self.cost(cached)?))
    }

    fn cost(&self, usage: Usage) -> Result<NanoTon, UnitError> {
        if self.attempt.is_free() {
            Ok(NanoTon::ZERO)
        } else {
            self.request.prices.cost(usage)
        }
    }

    fn fits_budget(&self, most: NanoTon) -> bool {
        let Some(budget) = self.request.budget else {
            return true;
        };
        let total = NanoTon::sum(self.reserved.values().copied().chain([self.spent, most]));
        total.is_ok_and(|total| total <= budget)
    }
}

/// Runs one request on the engine.
async fn generate(
    serving: &Serving,
    attempt: &Arc<Attempt>,
    request: &AttemptRequest,
    index: u32,
    Prepared { generation }: Prepared,
) -> Result<Success, Failure> {
    let prompt = generation.prompt.clone();
    let sampling = resolved(&generation);
    let mut live = attempt.watch();
    let stopped = |_| ended(serving.engine.health());
    let mut events = serving.engine.submit(generation).await.map_err(stopped)?;
    let (mut text, mut completion) = (String::new(), Vec::new());
    while let Some(event) = events.recv().await {
        match event {
            Event::Prefilled { cached } => live.prefilled(prompt.len() as u64, cached.get()),
            Event::Tokens { ids, text: more, .. } => {
                live.sampled(ids.len() as u64);
                completion.extend(ids);
                text.push_str(&more);
            }
            Event::Finished { reason, usage } => {
                let id = format!("cocoon-{}-{}-{index}", attempt.id.job, attempt.id.attempt);
                let created = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                let body = openai::response(
                    request.endpoint,
                    &serving.model.name,
                    &id,
                    created,
                    &text,
                    reason,
                    usage,
                );
                let asked = request.requests.iter().find(|item| item.index == index);
                return Ok(Success {
                    body,
                    usage,
                    request_sha256: asked.ok_or_else(internal)?.body.digest(),
                    sampling,
                    tokens: AnswerTokens::new(&prompt, &completion),
                    tokens_root: tokens_root(&prompt, &completion),
                    live,
                });
            }
            Event::Failed(failure) => return Err(failure.into()),
        }
    }
    Err(ended(serving.engine.health()))
}

fn count(tokens: usize) -> Result<TokenCount, UnitError> {
    TokenCount::new(tokens as u64)
}

/// The sampling as a receipt tells it.
fn resolved(generation: &GenerationRequest) -> ResolvedSampling {
    let Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        penalties: Penalties {
            repetition,
            presence,
            frequency,
        },
        seed,
    } = generation.sampling;
    ResolvedSampling {
        max_tokens: u32::try_from(generation.max_tokens).unwrap_or(u32::MAX),
        temperature: ResolvedSampling::decimal(temperature),
        top_k,
        top_p: ResolvedSampling::decimal(top_p),
        min_p: ResolvedSampling::decimal(min_p),
        repetition_penalty: ResolvedSampling::decimal(repetition),
        presence_penalty: ResolvedSampling::decimal(presence),
        frequency_penalty: ResolvedSampling::decimal(frequency),
        seed,
        ignore_eos: generation.ignore_eos,
    }
}

/// Of a task that failed, a fault that was logged.
fn internal() -> Failure {
    Failure {
        code: FailureCode::Internal,
        message: "the agent could not compute the request; it may be tried again".to_owned(),
    }
}

/// Of a request that is handed back: another attempt, on another agent, may succeed.
fn ended(health: Health) -> Failure {
    Failure {
        code: FailureCode::Internal,
        message: format!(
            "the agent's engine has ended ({}) before the request was computed; it may be tried again",
            health.reason()
        ),
    }
}

impl From<engine::Failure> for Failure {
    fn from(failure: engine::Failure) -> Self {
        match failure {
            engine::Failure::Engine(fault) => ended(Health::Failed(fault)),
            engine::Failure::DoesNotFit => internal(),
            engine::Failure::NotFinite => Self {
                code: FailureCode::NotComputable,
                message:
                    "the request leads the model beyond finite numbers, as it would on every other agent"
                        .to_owned(),
            },
        }
    }
}

fn cancelled() -> Failure {
    Failure {
        code: FailureCode::Cancelled,
        message: "the attempt was cancelled".to_owned(),
    }
}

impl From<Refusal> for Failure {
    fn from(Refusal { code, message }: Refusal) -> Self {
        Self { code, message }
    }
}

impl From<Failure> for Refusal {
    fn from(Failure { code, message }: Failure) -> Self {
        Self { code, message }
    }
}
