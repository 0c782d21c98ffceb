//! Follows one attempt on one agent: does what the follower of `cocoon_core` says, and tells it what came of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cocoon_api::{
    agent::{AttemptProgress, AttemptRequest},
    receipt::ChainId,
};
use cocoon_core::job::{
    follower::{Action, Event, Follower, LOOK_INTERVAL, Order, StoreFault},
    landing::{Landing, Terms},
    plan::Following,
};
use kube::Client;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    client::{AgentClient, ClientError, ResultStream},
    metering::{JobKey, meter},
    results::{Origin, PageWritten, Results, Stored, Written},
};
use crate::{
    error::{self, Error, Result},
    metrics::Metrics,
    reconcile::within,
};

/// For one call to the API server on behalf of an attempt: it answers in milliseconds, and the follower must hear that
/// it is asked to stop. What takes longer is tried again.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// What is known of an attempt that is followed.
#[derive(Debug, Clone)]
pub struct Known {
    /// Where it stands.
    pub following: Following,
    /// The agent's last word.
    pub progress: Option<AttemptProgress>,
    /// What of the job is stored, once that was read: nobody needs to read it again.
    pub landing: Option<Arc<Landing>>,
}

impl Known {
    /// Of an attempt that is not followed.
    pub fn nothing() -> Self {
        Self {
            following: Following::No,
            progress: None,
            landing: None,
        }
    }
}

/// One attempt on one agent.
pub struct Attempt {
    /// The job.
    pub job: JobKey,
    /// Number of the attempt.
    pub number: u32,
    /// UID of the agent's pod.
    pub pod_uid: String,
    /// The agent.
    pub agent: AgentClient,
    /// The chain of its receipts, with the agent's key as it was recorded.
    pub chain: ChainId,
    /// What is asked of it, if it has not been asked yet.
    pub request: AttemptRequest,
    /// Whether the agent may be asked to begin: nothing begins that is not covered.
    pub may_begin: bool,
    /// What may land of it.
    pub terms: Terms,
    /// How long it may still run.
    pub time_left: Option<Duration>,
    /// Name of the channel that pays.
    pub channel: Option<String>,
    /// Where results land.
    pub results: Results,
    /// What is stored of the job, where it was read just before.
    pub stored: Option<Stored>,
    /// The Kubernetes API.
    pub client: Client,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

/// What an attempt shares with the others of this process.
#[derive(Clone)]
pub(super) struct Shared {
    /// When this process began: the zero of all followers' clocks.
    pub(super) began: Instant,
    /// Pages of results that are read or written at once.
    pub(super) secrets: Arc<Semaphore>,
    /// Milliseconds at which the agent last computed anything, for whichever attempt.
    pub(super) agent_progressed: Arc<AtomicU64>,
}

/// What others ask of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    /// To stop; what is finished is taken.
    pub(super) cancel: CancellationToken,
    /// The job is gone.
    pub(super) vanished: CancellationToken,
    /// To be let go at once.
    pub(super) stop: CancellationToken,
}

/// One attempt being followed.
struct Driver {
    job: JobKey,
    number: u32,
    agent: AgentClient,
    /// Dropped once the agent has it.
    request: Option<AttemptRequest>,
    channel: Option<String>,
    results: Results,
    client: Client,
    metrics: Arc<Metrics>,
    shared: Shared,
    follower: Follower,
    /// What is stored of the job, until it was taken.
    stored: Option<Stored>,
    origin: Origin,
    stream: Option<ResultStream>,
    /// When the reconciler was last told of figures.
    told: Instant,
}

impl Attempt {
    /// Follows until the attempt is over or lost, or until it is let go. `known` tells the reconciler; `notify` wakes
    /// it.
    pub(super) async fn follow(
        self,
        known: watch::Sender<Known>,
        shared: Shared,
        signals: Signals,
        mut notify: impl FnMut() + Send,
    ) {
        let metrics = self.metrics.clone();
        metrics.attempts_active.inc();
        let mut driver = Driver::new(self, shared);
        let ended = tokio::select! {
            () = signals.stop.cancelled() => None,
            following = driver.run(&known, &signals, &mut notify) => Some(following),
        };
        metrics.attempts_active.dec();
        if let Some(following) = ended {
            debug!(job = %driver.job.name, attempt = driver.number, ?following, "attempt is over");
            known.send_modify(|known| known.following = following);
            notify();
        }
    }
}

impl Driver {
    fn new(attempt: Attempt, shared: Shared) -> Self {
        let Attempt {
            job,
            number,
            pod_uid: _,
            agent,
            chain,
            request,
            may_begin,
            terms,
            time_left,
            channel,
            results,
            stored,
            client,
            metrics,
        } = attempt;
        let now = shared.began.elapsed();
        let order = Order {
            job: job.name.clone(),
            uid: job.uid.clone(),
            chain,
            terms,
            is_paid: channel.is_some(),
            may_begin,
            deadline: time_left.map(|left| now.saturating_add(left)),
        };
        Self {
            job,
            number,
            agent,
            request: Some(request),
            channel,
            results,
            client,
            metrics,
            follower: Follower::new(order, now),
            shared,
            stored,
            origin: Origin::default(),
            stream: None,
            told: Instant::now(),
        }
    }

    async fn run(
        &mut self,
        known: &watch::Sender<Known>,
        signals: &Signals,
        notify: &mut (impl FnMut() + Send),
    ) -> Following {
        let (mut heard_cancel, mut heard_vanished) = (false, false);
        loop {
            let action = self.follower.action();
            if let Action::End(following) = action {
                if let Some(error) = self.follower.broken() {
                    warn!(job = %self.job.name, attempt = self.number, error = error::chain(error), "agent broke the protocol");
                }
                return following;
            }
            // Only waits are broken off: a write that is would leave open whether it took effect.
            let is_wait = matches!(action, Action::Read(_) | Action::Pause(_));
            let event = tokio::select! {
                biased;
                () = signals.vanished.cancelled(), if is_wait && !heard_vanished => {
                    heard_vanished = true;
                    Event::Vanished
                }
                () = signals.cancel.cancelled(), if is_wait && !heard_cancel => {
                    heard_cancel = true;
                    Event::Stop
                }
                event = self.act(action) => event,
            };
            let is_stored = self.tell(event, action);
            self.publish(known, is_stored, notify);
        }
    }

    /// Tells the follower what happened. Answers whether what it holds is what is stored.
    fn tell(&mut self, event: Event, action: Action) -> bool {
        let shared = &self.shared.agent_progressed;
        self.follower
            .note_progress(Duration::from_millis(shared.load(Ordering::Relaxed)));
        let is_stored = matches!(event, Event::Loaded(_) | Event::Stored);
        self.follower.on(event, self.shared.began.elapsed());
        let progressed = u64::try_from(self.follower.progressed().as_millis()).unwrap_or(u64::MAX);
        shared.fetch_max(progressed, Ordering::Relaxed);
        if let Some(usage) = self.follower.take_delivered() {
            self.metrics.delivered(usage);
        }
        if self.follower.is_attached() && self.request.take().is_some() && action == Action::Start {
            info!(job = %self.job.name, namespace = %self.job.namespace, attempt = self.number, "dispatched");
        }
        is_stored
    }

    /// What is stored is told at once, and live figures as often as they are looked at: a job that is over before has
    /// none.
    fn publish(&mut self, known: &watch::Sender<Known>, is_stored: bool, notify: &mut (impl FnMut() + Send)) {
        let progress = self.follower.progress();
        let mut has_figures = false;
        known.send_modify(|known| {
            has_figures = known.progress.as_ref() != progress;
            if has_figures {
                known.progress = progress.cloned();
            }
            if is_stored {
                known.landing = Some(Arc::new(self.follower.landing().clone()));
            }
        });
        if is_stored || (has_figures && self.told.elapsed() >= LOOK_INTERVAL) {
            self.told = Instant::now();
            notify();
        }
    }

    async fn act(&mut self, action: Action) -> Event {
        match action {
            Action::Load | Action::StorePage | Action::Store | Action::Meter => self.store(action).await,
            Action::Pause(until) => {
                sleep_until(self.shared.began + until).await;
                Event::Elapsed
            }
            Action::Read(until) => self.read(until).await,
            Action::End(_) => std::future::pending().await,
            Action::Ask | Action::Look | Action::Identify | Action::Start | Action::Open | Action::Cancel => {
                self.call(action).await.unwrap_or_else(|error| self.fault(&error))
            }
        }
    }

    async fn call(&mut self, action: Action) -> Result<Event, ClientError> {
        let (job, number) = (&self.job.uid, self.number);
        Ok(match action {
            Action::Identify => Event::Identity(self.agent.identity().await?.agent),
            Action::Start => match &self.request {
                Some(request) => Event::Attempt(Some(self.agent.start(job, number, request).await?)),
                None => Event::Attempt(None),
            },
            Action::Open => {
                self.stream = Some(self.agent.results(job, number).await?);
                Event::Opened
            }
            Action::Cancel => Event::Attempt(Some(self.agent.cancel(job, number).await?)),
            _ => Event::Attempt(self.agent.progress(job, number).await?),
        })
    }

    /// The next line, or nothing until then. A line that is half read stays in the stream.
    async fn read(&mut self, until: Duration) -> Event {
        let Some(stream) = &mut self.stream else {
            return Event::EndOfStream;
        };
        match timeout_at(self.shared.began + until, stream.next()).await {
            Err(_) => Event::Elapsed,
            Ok(Ok(Some(line))) => Event::Line(line.map(Box::new)),
            Ok(Ok(None)) => Event::EndOfStream,
            Ok(Err(error)) => self.fault(&error),
        }
    }

    async fn store(&mut self, action: Action) -> Event {
        if let (Action::Load, Some(stored)) = (action, self.stored.take()) {
            return self.loaded(stored);
        }
        let Ok(_permit) = self.shared.secrets.clone().acquire_owned().await else {
            return Event::Failed(StoreFault::Later);
        };
        let done = match action {
            Action::Load => match within(CALL_LIMIT, "read results", self.results.load()).await {
                Ok(Ok(stored)) => Ok(self.loaded(stored)),
                Ok(Err(source)) => Err(Error::Results { source }),
                Err(error) => Err(error),
            },
            Action::StorePage => self.store_page().await,
            Action::Store => {
                let save = self.results.save(self.follower.landing(), &mut self.origin);
                within(CALL_LIMIT, "write results", save)
                    .await
                    .map(|written| match written {
                        Written::Stored => Event::Stored,
                        Written::Overtaken => Event::Overtaken,
                    })
            }
            _ => self.meter().await.map(|()| Event::Metered),
        };
        done.unwrap_or_else(|error| {
            let fault = store_fault(&error);
            warn!(job = %self.job.name, attempt = self.number, ?fault, error = error::chain(&error), "results cannot land");
            Event::Failed(fault)
        })
    }

    /// Writes the page that is full.
    async fn store_page(&self) -> Result<Event> {
        let Some(page) = self.follower.page() else {
            return Ok(Event::PageTaken);
        };
        let save = self.results.save_page(&page, &self.origin);
        Ok(match within(CALL_LIMIT, "write a page of results", save).await? {
            PageWritten::Stored => Event::PageStored { name: page.name },
            PageWritten::Taken => Event::PageTaken,
        })
    }

    fn loaded(&mut self, stored: Stored) -> Event {
        self.origin = stored.origin;
        Event::Loaded(Box::new(Arc::unwrap_or_clone(stored.landing)))
    }

    /// Merges the landed receipts into the channel's counters.
    async fn meter(&self) -> Result<()> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        let metered = meter(&self.client, &self.job, channel, self.follower.landing());
        within(CALL_LIMIT, "meter", metered).await
    }

    fn fault(&self, error: &ClientError) -> Event {
        let fault = error.fault();
        debug!(job = %self.job.name, attempt = self.number, ?fault, error = error::chain(error), "agent");
        Event::Agent(fault)
    }
}

/// Whether what the API server did not do may succeed later. What it refuses (4xx) it refuses for good; exceptions are
/// those that say so themselves: a conflict, too many requests, a time-out, and credentials that are being renewed.
fn store_fault(error: &Error) -> StoreFault {
    match error {
        Error::Kube { source, .. } => match source.as_ref() {
            kube::Error::Api(status) if matches!(status.code, 401 | 408 | 409 | 429) => StoreFault::Later,
            kube::Error::Api(status) if (400..500).contains(&status.code) => StoreFault::Never,
            _ => StoreFault::Later,
        },
        Error::Results { .. } | Error::Money { .. } => StoreFault::Never,
        _ => StoreFault::Later,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_refuses_is_final_unless_it_says_otherwise() {
        let fault = |code: u16| {
            let status = json!({"status": "Failure", "code": code, "reason": "R", "message": "m"});
            store_fault(&Error::Kube {
                action: "write",
                object: "Secret j".into(),
                source: Box::new(kube::Error::Api(Box::new(
                    serde_json::from_value(status).unwrap(),
                ))),
            })
        };
        for code in [400, 403, 404, 413, 422] {
            assert_eq!(fault(code), StoreFault::Never, "{code}");
        }
        for code in [401, 408, 409, 429, 500, 503, 504] {
            assert_eq!(fault(code), StoreFault::Later, "{code}");
        }
        let silent = Error::TimedOut {
            action: "write",
            limit: CALL_LIMIT,
        };
        assert_eq!(store_fault(&silent), StoreFault::Later);
    }
}
