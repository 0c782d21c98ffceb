//! What follows from an agent's answers.

use std::time::Duration;

use cocoon_api::{
    agent::{AttemptProgress, AttemptState, Outcome, RefusalCode, ResultLine},
    receipt::ReceiptChain,
};

use super::{AgentFault, Event, Follower, LANDING_INTERVAL, LOOK_INTERVAL, SILENCE_LIMIT, State, Stopping};
use crate::job::{
    landing::{Accepted, LandingError},
    plan::Following,
};

impl Follower {
    /// An answer that no question was asked for changes nothing: it is of a round that is over.
    pub(super) fn on_agent(&mut self, event: Event, now: Duration) {
        match (self.state, event) {
            (State::Abandoning(following), Event::Attempt(_) | Event::Agent(_)) => {
                self.state = State::Over(following);
            }
            (_, Event::Agent(fault)) => self.on_fault(fault, now),
            (State::Asking, Event::Attempt(found)) => self.on_found(found, now),
            (State::Identifying, Event::Identity(agent)) => {
                self.answered = now;
                // An attempt that was begun already, begun again, would become a second chain under the same name.
                let was_begun = self.is_attached || self.landing.has_chain(&self.order.chain);
                let is_new = agent == self.order.chain.agent && !was_begun;
                match self.stopping {
                    _ if !is_new => self.end(Following::Replaced),
                    Stopping::No if self.order.may_begin => self.state = State::Starting,
                    Stopping::No | Stopping::Since { .. } => self.end(Following::Ended),
                }
            }
            (State::Starting, Event::Attempt(Some(progress))) => {
                self.attach(progress, now);
            }
            (State::Starting, Event::Attempt(None)) => self.end(Following::Replaced),
            (State::Opening, Event::Opened) => {
                self.answered = now;
                self.chain = ReceiptChain::new(self.order.chain.clone());
                self.position = 0;
                self.landing_due = now + LANDING_INTERVAL;
                self.look_due = now + LOOK_INTERVAL;
                self.read_on(now);
            }
            (State::Reading, Event::Line(line)) => {
                self.answered = now;
                match line.map(|line| self.take(*line, now)) {
                    None | Some(Ok(())) => self.read_on(now),
                    Some(Err(error)) => {
                        self.broken = Some(error);
                        self.state = State::Over(Following::Unreachable);
                    }
                }
            }
            (State::Reading, Event::EndOfStream) => self.state = State::Looking { at_end: true },
            (State::Cancelling, Event::Attempt(found)) => {
                if let Stopping::Since { told, .. } = &mut self.stopping {
                    *told = true;
                }
                match found {
                    Some(progress) => {
                        self.note_figures(progress, now);
                        self.read_on(now);
                    }
                    None => self.reconnect(now),
                }
            }
            (State::Looking { at_end }, Event::Attempt(found)) => self.on_look(found, at_end, now),
            _ => {}
        }
    }

    fn on_found(&mut self, found: Option<AttemptProgress>, now: Duration) {
        self.answered = now;
        match found {
            None => self.state = State::Identifying,
            Some(progress) if progress.agent != self.order.chain.agent => self.end(Following::Replaced),
            Some(progress) => self.attach(progress, now),
        }
    }

    fn attach(&mut self, progress: AttemptProgress, now: Duration) {
        self.note_figures(progress, now);
        self.is_attached = true;
        self.refused = None;
        self.state = State::Opening;
    }

    fn on_look(&mut self, found: Option<AttemptProgress>, at_end: bool, now: Duration) {
        let Some(progress) = found else {
            return self.reconnect(now);
        };
        let is_over = progress.state != AttemptState::Running && self.position >= progress.total;
        self.note_figures(progress, now);
        if !at_end {
            self.look_due = now + LOOK_INTERVAL;
            self.read_on(now);
        } else if is_over {
            self.finish(Following::Ended);
        } else {
            self.reconnect(now);
        }
    }

    /// Figures that grew are progress; an agent that answers the same for ever hangs.
    fn note_figures(&mut self, progress: AttemptProgress, now: Duration) {
        self.answered = now;
        let figures = |progress: &AttemptProgress| {
            let tokens = progress.usage.total().unwrap_or_default();
            (tokens, progress.succeeded, progress.failed, progress.state)
        };
        if self.progress.as_ref().map(figures) != Some(figures(&progress)) {
            self.note_progress(now);
        }
        self.progress = Some(progress);
    }

    /// Verifies one line and lets it land.
    fn take(&mut self, line: ResultLine, now: Duration) -> Result<(), LandingError> {
        if line.position != self.position {
            return Err(LandingError::Position {
                position: line.position,
                expected: self.position,
            });
        }
        let usage = match &line.outcome {
            Outcome::Succeeded { receipt, .. } => Some(receipt.usage),
            Outcome::Failed { .. } => None,
        };
        let accepted = self.landing.accept(&mut self.chain, line, &self.order.terms)?;
        self.position += 1;
        self.delivered = usage.filter(|_| accepted == Accepted::Landed);
        if accepted.is_news() {
            self.note_progress(now);
            self.is_dirty |= !self.has_vanished;
        }
        Ok(())
    }

    fn on_fault(&mut self, fault: AgentFault, now: Duration) {
        let is_calling = matches!(
            self.state,
            State::Asking
                | State::Identifying
                | State::Starting
                | State::Opening
                | State::Reading
                | State::Looking { .. }
                | State::Cancelling
        );
        if !is_calling {
            return;
        }
        match fault {
            AgentFault::Broken => self.state = State::Over(Following::Unreachable),
            AgentFault::Unreachable if now >= self.answered + SILENCE_LIMIT => {
                self.finish(Following::Unreachable);
            }
            AgentFault::Unreachable | AgentFault::Refused(RefusalCode::Unknown) => self.reconnect(now),
            AgentFault::Refused(code) if code.is_retryable() && !self.was_refused_long(now) => {
                self.reconnect(now);
            }
            AgentFault::Refused(code) => self.finish(Following::Refused(code)),
        }
    }

    /// An agent that has had no room for so long is not waited for: another may have some.
    fn was_refused_long(&mut self, now: Duration) -> bool {
        let since = *self.refused.get_or_insert(now);
        !self.is_attached && now >= since + SILENCE_LIMIT
    }
}
