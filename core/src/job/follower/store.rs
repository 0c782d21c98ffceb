//! What follows from the API server's answers.

use std::time::Duration;

use super::{
    After, CANCEL_LIMIT, Event, Follower, LANDING_INTERVAL, METER_LIMIT, RETRY_DELAY, STORE_LIMIT, State,
    Stopping, StoreFault, Then,
};
use crate::job::plan::Following;

impl Follower {
    pub(super) fn on_store(&mut self, event: Event, now: Duration) {
        match (self.state, event) {
            (State::Loading, Event::Loaded(landing)) => {
                self.failing = None;
                self.landing = *landing;
                self.is_dirty = false;
                self.state = State::Asking;
            }
            (State::Storing(_), Event::PageStored { name }) => {
                self.failing = None;
                self.landing.page_written(name);
            }
            (State::Storing(_), Event::PageTaken) => self.on_taken_page(now),
            (State::Storing(then), Event::Stored) => {
                self.failing = None;
                self.is_dirty = false;
                self.landing_due = now + LANDING_INTERVAL;
                if self.order.is_paid {
                    self.state = State::Metering(then);
                } else {
                    self.go_on(then, now);
                }
            }
            (State::Storing(then), Event::Overtaken) => {
                self.is_dirty = false;
                match then {
                    Then::End(following) if following != Following::Ended => self.end(following),
                    _ => self.reconnect(now),
                }
            }
            (State::Metering(then), Event::Metered) => {
                self.failing = None;
                self.go_on(then, now);
            }
            (_, Event::Failed(fault)) => self.on_store_fault(fault, now),
            _ => {}
        }
    }

    /// The page gets another name, as long as there is one.
    fn on_taken_page(&mut self, now: Duration) {
        if !self.landing.page_is_taken() {
            self.on_store_fault(StoreFault::Never, now);
        }
    }

    fn on_store_fault(&mut self, fault: StoreFault, now: Duration) {
        let since = *self.failing.get_or_insert(now);
        let never = fault == StoreFault::Never;
        let is_hopeless = never || self.has_vanished || now >= since + self.patience(STORE_LIMIT);
        let until = now + RETRY_DELAY;
        let pause = |then| State::Pausing { until, then };
        match self.state {
            State::Loading | State::Storing(_) if is_hopeless => {
                self.is_dirty = false;
                self.end(if self.has_vanished {
                    Following::Ended
                } else {
                    Following::Unstored
                });
            }
            State::Loading => self.state = pause(After::Load),
            State::Storing(then) => self.state = pause(After::Store(then)),
            State::Metering(then) if never || now >= since + self.patience(METER_LIMIT) => {
                self.failing = None;
                self.go_on(then, now);
            }
            State::Metering(then) => self.state = pause(After::Meter(then)),
            _ => {}
        }
    }

    /// How long a call is tried again: less where the attempt is to stop.
    fn patience(&self, limit: Duration) -> Duration {
        match self.stopping {
            Stopping::No => limit,
            Stopping::Since { .. } => limit.min(CANCEL_LIMIT),
        }
    }

    fn go_on(&mut self, then: Then, now: Duration) {
        match then {
            Then::Read => self.read_on(now),
            Then::Reconnect => self.reconnect(now),
            Then::End(following) => self.end(following),
        }
    }
}
