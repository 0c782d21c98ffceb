//! The follower of one attempt on one agent: attaches, reads its results, has them stored and metered, and knows when
//! it is over. It does no I/O: it says what is to be done next ([`Follower::action`]) and is told what came of it
//! ([`Follower::on`]), one thing after the other.
//!
//! ```text
//! Loading ─▶ Asking ─▶ Identifying ─▶ Starting ─▶ Opening ─▶ Reading ⇄ Looking, Cancelling, Storing ─▶ Metering
//!    ▲                                                          │
//!    └──────────── Pausing ◀── the connection broke ────────────┘        every state ─▶ Over
//! ```
//!
//! Wanted properties, each a property test over random sequences of events:
//! - nothing is metered that was not stored, and what was stored is metered before more is read;
//! - a full page is written once and before more is read, and counts from the moment on at which the open page lists
//!   it;
//! - a stream that is read again, from the start or from another agent, adds nothing twice;
//! - every wait ends: at a limit of this file, at the job's deadline, or when the attempt is asked to stop;
//! - an attempt that is asked to stop is over within [`CANCEL_LIMIT`] of the agent's and the store's last word.

mod agent;
mod store;

use std::time::Duration;

use cocoon_api::{
    Usage,
    agent::{AttemptProgress, RefusalCode, ResultLine},
    receipt::{AgentKey, ChainId, ReceiptChain},
};

use super::{
    landing::{ClosedPage, Landing, LandingError, Terms},
    plan::Following,
};

/// How long an agent may be silent: six of its signs of life (`KEEP_ALIVE_SECONDS`).
pub const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How long an agent may live without computing anything: the prefill of the longest context, 131,072 tokens, at the
/// 250 tokens a second of a slow CPU takes 524 s, rounded up to whole minutes. Signs of life do not count.
pub const PROGRESS_LIMIT: Duration = Duration::from_mins(10);
/// How long an attempt that is asked to stop may go on: the agent stops within one batch, which takes seconds, and its
/// last lines take one landing.
pub const CANCEL_LIMIT: Duration = Duration::from_secs(30);
/// How long results wait for the API server to take them. Its outages take minutes; nothing is read meanwhile.
pub const STORE_LIMIT: Duration = Duration::from_hours(1);
/// How long usage waits to be metered here. The end of the job meters it again.
pub const METER_LIMIT: Duration = Duration::from_mins(5);
/// Between two attempts to reach an agent that does not answer.
pub const RECONNECT_DELAY: Duration = Duration::from_millis(500);
/// Between two writes of results: a second bounds what runs again after a crash, and writes of etcd.
pub const LANDING_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at an agent's live figures.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Between two tries of a call that the API server did not take.
pub const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What happened. Times are since any fixed moment.
#[derive(Debug)]
pub enum Event {
    /// What is stored of the job was read.
    Loaded(Box<Landing>),
    /// The closed page was written under the name that it was to have, or is there already.
    PageStored {
        /// The name.
        name: String,
    },
    /// Something else has the name of the closed page.
    PageTaken,
    /// The open page was written.
    Stored,
    /// Somebody else wrote first: what was read is read again on what is stored now.
    Overtaken,
    /// The usage is in the ledger.
    Metered,
    /// The API server did not do what was asked last.
    Failed(StoreFault),
    /// What the agent says of the attempt; `None` where it does not know it.
    Attempt(Option<AttemptProgress>),
    /// Who answers at the agent's address.
    Identity(AgentKey),
    /// The stream of results is open, from the start.
    Opened,
    /// A line of it; `None` is a sign of life.
    Line(Option<Box<ResultLine>>),
    /// The stream ended.
    EndOfStream,
    /// The agent did not answer as it should.
    Agent(AgentFault),
    /// Nothing happened until the time of the action.
    Elapsed,
    /// The attempt is to stop; what is finished is still taken.
    Stop,
    /// The job is gone: nothing can be stored any more.
    Vanished,
}

/// Why the API server did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// It may later.
    Later,
    /// It never will: it refuses what was asked, whatever the time.
    Never,
}

/// Why an agent did not answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// It cannot be reached, or the connection broke.
    Unreachable,
    /// It refuses.
    Refused(RefusalCode),
    /// It breaks the protocol.
    Broken,
}

/// What is to be done next. Each is answered by one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read what is stored of the job.
    Load,
    /// Ask the agent for the attempt.
    Ask,
    /// Ask who answers at the agent's address.
    Identify,
    /// Hand over the requests.
    Start,
    /// Open the stream of results from its start.
    Open,
    /// Wait for a line of results, until then.
    Read(Duration),
    /// Ask the agent for the attempt's live figures.
    Look,
    /// Ask the agent to stop.
    Cancel,
    /// Write [`Follower::page`], as a page that nobody changes any more.
    StorePage,
    /// Write the open page of [`Follower::landing`].
    Store,
    /// Merge the counters of [`Follower::landing`] into the ledger.
    Meter,
    /// Wait until then.
    Pause(Duration),
    /// Nothing: the attempt is over.
    End(Following),
}

/// Where the follower stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Loading,
    Asking,
    Identifying,
    Starting,
    Opening,
    Reading,
    Looking {
        at_end: bool,
    },
    Cancelling,
    /// The agent is told to stop, whatever it answers: nothing of it can be delivered any more.
    Abandoning(Following),
    Storing(Then),
    Metering(Then),
    Pausing {
        until: Duration,
        then: After,
    },
    Over(Following),
}

/// What follows once everything is stored and metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Read,
    Reconnect,
    End(Following),
}

/// What follows a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Load,
    Store(Then),
    Meter(Then),
}

/// Whether the attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// Since then; the agent was told or not.
    Since {
        at: Duration,
        told: bool,
    },
}

/// What is followed.
#[derive(Debug)]
pub struct Order {
    /// Name of the job: its pages are called after it.
    pub job: String,
    /// UID of the job, for the same.
    pub uid: String,
    /// The chain of the attempt's receipts, with the agent's key as it was recorded.
    pub chain: ChainId,
    /// What may land of it.
    pub terms: Terms,
    /// Whether a channel pays.
    pub is_paid: bool,
    /// Whether the agent may be asked to begin: nothing begins that is not covered.
    pub may_begin: bool,
    /// When the job must end, on the clock of the events.
    pub deadline: Option<Duration>,
}

/// The follower of one attempt.
#[derive(Debug)]
pub struct Follower {
    order: Order,
    state: State,
    landing: Landing,
    chain: ReceiptChain,
    /// Position of the next line.
    position: u32,
    /// Something has not been stored yet.
    is_dirty: bool,
    stopping: Stopping,
    has_vanished: bool,
    /// Whether the agent has had the attempt.
    is_attached: bool,
    progress: Option<AttemptProgress>,
    /// When the agent last answered anything.
    answered: Duration,
    /// When it last computed or delivered anything, for this attempt or another.
    progressed: Duration,
    landing_due: Duration,
    look_due: Duration,
    /// Since when the agent has no room for the attempt.
    refused: Option<Duration>,
    /// Since when a call to the API server fails.
    failing: Option<Duration>,
    /// Tokens of the last answer that landed, until they are taken note of.
    delivered: Option<Usage>,
    /// Why the agent is not believed any more.
    broken: Option<LandingError>,
}

impl Follower {
    /// Begins now.
    pub fn new(order: Order, now: Duration) -> Self {
        Self {
            chain: ReceiptChain::new(order.chain.clone()),
            order,
            state: State::Loading,
            landing: Landing::default(),
            position: 0,
            is_dirty: false,
            stopping: Stopping::No,
            has_vanished: false,
            is_attached: false,
            progress: None,
            answered: now,
            progressed: now,
            landing_due: now,
            look_due: now,
            refused: None,
            failing: None,
            delivered: None,
            broken: None,
        }
    }

    /// What is to be done next.
    pub fn action(&self) -> Action {
        match self.state {
            State::Loading => Action::Load,
            State::Asking => Action::Ask,
            State::Identifying => Action::Identify,
            State::Starting => Action::Start,
            State::Opening => Action::Open,
            State::Reading => Action::Read(self.wakes()),
            State::Looking { .. } => Action::Look,
            State::Cancelling | State::Abandoning(_) => Action::Cancel,
            State::Storing(_) if self.landing.is_closing() => Action::StorePage,
            State::Storing(_) => Action::Store,
            State::Metering(_) => Action::Meter,
            State::Pausing { until, .. } => Action::Pause(until),
            State::Over(following) => Action::End(following),
        }
    }

    /// Takes note of what happened.
    pub fn on(&mut self, event: Event, now: Duration) {
        self.note_deadline(now);
        match event {
            Event::Stop => self.stop(now),
            Event::Vanished => self.vanish(now),
            Event::Loaded(_)
            | Event::PageStored { .. }
            | Event::PageTaken
            | Event::Stored
            | Event::Overtaken
            | Event::Metered
            | Event::Failed(_) => self.on_store(event, now),
            Event::Elapsed => self.on_elapsed(now),
            Event::Attempt(_)
            | Event::Identity(_)
            | Event::Opened
            | Event::Line(_)
            | Event::EndOfStream
            | Event::Agent(_) => self.on_agent(event, now),
        }
    }

    /// The agent computed something at this moment, for this attempt or for another: it does not hang.
    pub fn note_progress(&mut self, at: Duration) {
        self.progressed = self.progressed.max(at);
    }

    /// When the agent was last seen to compute or deliver anything.
    pub fn progressed(&self) -> Duration {
        self.progressed
    }

    /// What has landed: to be stored, to be metered.
    pub fn landing(&self) -> &Landing {
        &self.landing
    }

    /// The page to be stored before more is read; none where none is full.
    pub fn page(&self) -> Option<ClosedPage> {
        self.landing.next_page(&self.order.job, &self.order.uid)
    }

    /// The agent's last figures.
    pub fn progress(&self) -> Option<&AttemptProgress> {
        self.progress.as_ref()
    }

    /// Whether the agent has had the requests: they need not be kept for it any longer.
    pub fn is_attached(&self) -> bool {
        self.is_attached
    }

    /// Tokens of the answer that the last line brought, if it landed and was not known; answered once.
    pub fn take_delivered(&mut self) -> Option<Usage> {
        self.delivered.take()
    }

    /// Why the agent is not believed any more, once it is over.
    pub fn broken(&self) -> Option<&LandingError> {
        self.broken.as_ref()
    }

    fn stop(&mut self, now: Duration) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Since { at: now, told: false };
        }
        if self.state == State::Reading {
            self.read_on(now);
        }
    }

    fn vanish(&mut self, now: Duration) {
        self.has_vanished = true;
        // What was stored is metered before more is read, so that what is left was never delivered.
        self.is_dirty = false;
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Since { at: now, told: false };
        }
        // What is stored already is still metered.
        let has_metered = !matches!(
            self.state,
            State::Metering(_)
                | State::Pausing {
                    then: After::Meter(_),
                    ..
                }
                | State::Over(_)
        );
        if has_metered {
            self.end(Following::Ended);
        }
    }

    fn note_deadline(&mut self, now: Duration) {
        if self.order.deadline.is_some_and(|deadline| now >= deadline) && self.stopping == Stopping::No {
            self.stopping = Stopping::Since { at: now, told: false };
        }
    }

    /// Whether the attempt was to stop so long ago that nothing more is waited for.
    fn is_overdue(&self, now: Duration) -> bool {
        matches!(self.stopping, Stopping::Since { at, .. } if now >= at + CANCEL_LIMIT)
    }

    /// When a read must be looked after, whatever comes.
    fn wakes(&self) -> Duration {
        let stop = match self.stopping {
            Stopping::No => self.order.deadline,
            Stopping::Since { at, .. } => Some(at + CANCEL_LIMIT),
        };
        let landing = self.is_dirty.then_some(self.landing_due);
        let limits = [self.answered + SILENCE_LIMIT, self.progressed + PROGRESS_LIMIT];
        let due = limits.into_iter().chain(stop).chain(landing);
        due.fold(self.look_due, Duration::min)
    }

    fn on_elapsed(&mut self, now: Duration) {
        match self.state {
            State::Reading => self.read_on(now),
            State::Pausing { until, then } if now >= until => {
                self.state = match then {
                    After::Load => State::Loading,
                    After::Store(then) => State::Storing(then),
                    After::Meter(then) => State::Metering(then),
                };
            }
            _ => {}
        }
    }

    /// What comes between two lines.
    fn read_on(&mut self, now: Duration) {
        if self.has_vanished {
            self.end(Following::Ended);
        } else if let Stopping::Since { told: false, .. } = self.stopping {
            self.state = State::Cancelling;
        } else if self.is_overdue(now) || now >= self.progressed + PROGRESS_LIMIT {
            self.finish(Following::Unreachable);
        } else if now >= self.answered + SILENCE_LIMIT {
            self.reconnect(now);
        } else if self.is_dirty && (self.landing.is_closing() || now >= self.landing_due) {
            self.state = State::Storing(Then::Read);
        } else if now >= self.look_due {
            self.state = State::Looking { at_end: false };
        } else {
            self.state = State::Reading;
        }
    }

    /// Stores and meters what is left, then ends. What an earlier process stored may not be metered yet.
    fn finish(&mut self, following: Following) {
        if self.is_dirty {
            self.state = State::Storing(Then::End(following));
        } else if following == Following::Ended && self.order.is_paid && !self.has_vanished {
            self.state = State::Metering(Then::End(following));
        } else {
            self.end(following);
        }
    }

    /// It is over. An agent whose results nobody can take is told to stop first.
    fn end(&mut self, following: Following) {
        let is_in_vain = self.has_vanished || following == Following::Unstored;
        self.state = if is_in_vain && self.is_attached {
            State::Abandoning(following)
        } else {
            State::Over(following)
        };
    }

    /// Stores what is left, then begins a new round.
    fn reconnect(&mut self, now: Duration) {
        if self.has_vanished {
            self.end(Following::Ended);
        } else if self.is_overdue(now) || now >= self.progressed + PROGRESS_LIMIT {
            self.finish(Following::Unreachable);
        } else if self.is_dirty {
            self.state = State::Storing(Then::Reconnect);
        } else {
            self.state = State::Pausing {
                until: now + RECONNECT_DELAY,
                then: After::Load,
            };
        }
    }
}

#[cfg(test)]
mod tests;
