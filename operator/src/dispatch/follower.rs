//! Follows one attempt on one agent: attaches, reads its results, lands them, and meters them.

use std::{sync::Arc, time::Duration};

use cocoon_api::{
    agent::{AttemptRequest, AttemptState, Outcome, ResultLine},
    receipt::{ChainId, ReceiptChain},
};
use cocoon_core::job::{
    landing::{Accepted, Landing, Terms},
    plan::Following,
};
use kube::Client;
use reqwest::StatusCode;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    AgentClient, ClientError, Known, ResultsSecret, Stored,
    client::ResultStream,
    metering::{JobKey, meter},
};
use crate::{
    error::{self, Result},
    metrics::Metrics,
    reconcile::{KUBERNETES_LIMIT, within},
};

/// How long an agent may be silent: six of its signs of life (`KEEP_ALIVE_SECONDS`).
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Between two attempts to reach an agent that does not answer.
const RECONNECT_DELAY: Duration = Duration::from_millis(500);
/// Between two writes of results: a second bounds what runs again after a crash, and writes of etcd.
const LANDING_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at an agent's live figures.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Between two tries of a write that the API server refused.
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// One attempt on one agent.
pub struct Attempt {
    /// The job.
    pub job: JobKey,
    /// Number of the attempt.
    pub number: u32,
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
    /// Name of the channel that pays.
    pub channel: Option<String>,
    /// Where results land.
    pub secret: ResultsSecret,
    /// The Kubernetes API.
    pub client: Client,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

/// Why a round with the agent ended.
enum Round {
    /// The attempt is over and landed.
    Ended,
    /// Another process answers.
    Replaced,
    /// The agent broke the protocol.
    Broken,
    /// The connection broke; it answered in between or not.
    Disconnected { answered: bool },
}

impl Attempt {
    /// Follows until the attempt is over or lost, or `stop`. `known` tells the reconciler; `notify` wakes it.
    pub async fn follow(
        self,
        known: watch::Sender<Known>,
        cancel: CancellationToken,
        stop: CancellationToken,
        notify: impl FnMut() + Send + Clone,
    ) {
        self.metrics.attempts_active.inc();
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            following = self.rounds(&known, &cancel, notify.clone()) => Some(following),
        };
        self.metrics.attempts_active.dec();
        if let Some(following) = ended {
            debug!(job = %self.job.name, attempt = self.number, ?following, "attempt is over");
            known.send_modify(|known| known.following = following);
            let mut notify = notify;
            notify();
        }
    }

    async fn rounds(
        &self,
        known: &watch::Sender<Known>,
        cancel: &CancellationToken,
        mut notify: impl FnMut() + Send,
    ) -> Following {
        let mut last_answer = Instant::now();
        loop {
            match self.round(known, cancel, &mut notify).await {
                Round::Ended => return Following::Ended,
                Round::Replaced => return Following::Replaced,
                Round::Broken => return Following::Unreachable,
                Round::Disconnected { answered: true } => last_answer = Instant::now(),
                Round::Disconnected { answered: false } if last_answer.elapsed() > SILENCE_LIMIT => {
                    return Following::Unreachable;
                }
                Round::Disconnected { answered: false } => {}
            }
            sleep(RECONNECT_DELAY).await;
        }
    }

    async fn round(
        &self,
        known: &watch::Sender<Known>,
        cancel: &CancellationToken,
        notify: &mut (impl FnMut() + Send),
    ) -> Round {
        match self.attach().await {
            Ok(true) => {}
            Ok(false) => return Round::Replaced,
            Err(error) => return self.failed(&error, false),
        }
        let mut stream = match self.agent.results(&self.job.uid, self.number).await {
            Ok(stream) => stream,
            Err(error) => return self.failed(&error, true),
        };
        let stored = self.load().await;
        let mut pending = Pending {
            chain: ReceiptChain::new(self.chain.clone()),
            stored,
            lines: 0,
            dirty: false,
        };
        let round = self.read(&mut stream, &mut pending, known, cancel, notify).await;
        if pending.dirty && !matches!(round, Round::Broken) {
            self.land(&mut pending).await;
            notify();
        }
        round
    }

    /// Finds the attempt on the agent, or starts it. `false` where another process answers, or where the agent has forgotten an
    /// attempt of which something landed: begun again, it would sign a second chain of receipts under the same name.
    async fn attach(&self) -> Result<bool, ClientError> {
        if let Some(progress) = self.agent.progress(&self.job.uid, self.number).await? {
            return Ok(progress.agent == self.chain.agent);
        }
        if self.agent.identity().await?.agent != self.chain.agent {
            return Ok(false);
        }
        if !self.may_begin || self.load().await.landing.has_chain(&self.chain) {
            return Ok(false);
        }
        self.agent
            .start(&self.job.uid, self.number, &self.request)
            .await?;
        info!(job = %self.job.name, namespace = %self.job.namespace, attempt = self.number, requests = self.request.requests.len(), "dispatched");
        Ok(true)
    }

    async fn read(
        &self,
        stream: &mut ResultStream,
        pending: &mut Pending,
        known: &watch::Sender<Known>,
        cancel: &CancellationToken,
        notify: &mut (impl FnMut() + Send),
    ) -> Round {
        let mut landing_due = tokio::time::interval(LANDING_INTERVAL);
        let mut progress_due = tokio::time::interval(PROGRESS_INTERVAL);
        let mut cancelled = false;
        loop {
            tokio::select! {
                line = tokio::time::timeout(SILENCE_LIMIT, stream.next()) => match line {
                    Err(_) => return Round::Disconnected { answered: true },
                    Ok(Err(error)) => return self.failed(&error, true),
                    Ok(Ok(Some(None))) => {}
                    Ok(Ok(Some(Some(line)))) => if !self.accept(pending, line) { return Round::Broken },
                    Ok(Ok(None)) => return self.end_of_stream(pending, known).await,
                },
                _ = landing_due.tick() => if pending.dirty {
                    if !self.land(pending).await { return Round::Disconnected { answered: true } }
                    notify();
                },
                _ = progress_due.tick() => if self.look(known).await { notify() },
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    if let Err(error) = self.agent.cancel(&self.job.uid, self.number).await {
                        return self.failed(&error, true);
                    }
                },
            }
        }
    }

    /// Takes one line; `false` where the agent broke the protocol.
    fn accept(&self, pending: &mut Pending, line: ResultLine) -> bool {
        let delivered = match &line.outcome {
            Outcome::Succeeded { receipt, .. } => Some(receipt.usage),
            Outcome::Failed { .. } => None,
        };
        pending.lines += 1;
        match pending
            .stored
            .landing
            .accept(&mut pending.chain, line, &self.terms)
        {
            Ok(accepted) => {
                pending.dirty |= accepted.is_news();
                if let (Accepted::Landed, Some(usage)) = (accepted, delivered) {
                    self.metrics.delivered(usage);
                }
                true
            }
            Err(error) => {
                warn!(job = %self.job.name, attempt = self.number, error = error::chain(&error), "agent broke the protocol");
                false
            }
        }
    }

    async fn end_of_stream(&self, pending: &mut Pending, known: &watch::Sender<Known>) -> Round {
        let progress = match self.agent.progress(&self.job.uid, self.number).await {
            Ok(Some(progress)) => progress,
            Ok(None) => return Round::Disconnected { answered: true },
            Err(error) => return self.failed(&error, true),
        };
        let over = progress.state != AttemptState::Running && pending.lines >= progress.total;
        known.send_modify(|known| known.progress = Some(progress));
        if !over {
            return Round::Disconnected { answered: true };
        }
        // Nothing may follow an attempt that is over but has not landed.
        while pending.dirty {
            if !self.land(pending).await {
                return Round::Disconnected { answered: true };
            }
        }
        // What an earlier process landed may not be metered yet.
        self.meter(&pending.stored.landing).await;
        Round::Ended
    }

    /// Reads the agent's live figures. Answers whether they are news.
    async fn look(&self, known: &watch::Sender<Known>) -> bool {
        let Ok(Some(progress)) = self.agent.progress(&self.job.uid, self.number).await else {
            return false;
        };
        known.send_if_modified(|known| {
            let news = known.progress.as_ref() != Some(&progress);
            known.progress = Some(progress);
            news
        })
    }

    async fn load(&self) -> Stored {
        loop {
            match within(KUBERNETES_LIMIT, "read results", self.secret.load()).await {
                Ok(Ok(stored)) => return stored,
                Ok(Err(unreadable)) => {
                    warn!(job = %self.job.name, error = error::chain(&unreadable), "results cannot land");
                }
                Err(error) => {
                    warn!(job = %self.job.name, error = error::chain(&error), "results cannot be read");
                }
            }
            sleep(WRITE_RETRY_DELAY).await;
        }
    }

    /// Writes results and receipts, then meters them. `false` where another writer was first: the stream is read
    /// again from the start on what is stored now.
    async fn land(&self, pending: &mut Pending) -> bool {
        loop {
            match within(
                KUBERNETES_LIMIT,
                "write results",
                self.secret.save(&mut pending.stored),
            )
            .await
            {
                Ok(true) => break,
                Ok(false) => return false,
                Err(error) => {
                    warn!(job = %self.job.name, error = error::chain(&error), "results cannot land yet");
                }
            }
            sleep(WRITE_RETRY_DELAY).await;
        }
        pending.dirty = false;
        self.meter(&pending.stored.landing).await;
        true
    }

    /// Merges the landed receipts into the channel's counters; tried until it succeeds.
    async fn meter(&self, landing: &Landing) {
        let Some(channel) = &self.channel else { return };
        loop {
            let metered = meter(&self.client, &self.job, channel, landing);
            match within(KUBERNETES_LIMIT, "meter", metered).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(job = %self.job.name, error = error::chain(&error), "usage cannot be metered yet");
                }
            }
            sleep(WRITE_RETRY_DELAY).await;
        }
    }

    fn failed(&self, error: &ClientError, answered: bool) -> Round {
        debug!(job = %self.job.name, attempt = self.number, error = error::chain(error), "agent");
        match error {
            ClientError::Transport { .. } => Round::Disconnected { answered },
            ClientError::Refused { status, .. }
                if *status == StatusCode::SERVICE_UNAVAILABLE || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Round::Disconnected { answered: true }
            }
            ClientError::Refused { .. } | ClientError::Protocol { .. } | ClientError::Line { .. } => {
                warn!(job = %self.job.name, attempt = self.number, error = error::chain(error), "agent refuses the attempt");
                Round::Broken
            }
        }
    }
}

/// Results that were read and the chain that verifies them.
struct Pending {
    chain: ReceiptChain,
    stored: Stored,
    /// Lines read from the start of the stream.
    lines: u32,
    /// Something has not been written yet.
    dirty: bool,
}
