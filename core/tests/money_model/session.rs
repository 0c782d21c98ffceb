//! Whoever serves a session: the same reservation, cover, counters and release as a job's, without a plan of requests.

use cocoon_core::{
    funds::{Cover, is_behind},
    ledger,
};

use super::{World, nano};

/// A session has one chain on its agent, which the model keeps as this attempt.
const CHAIN: u32 = 1;

impl World {
    /// One step of a session; answers whether there may be more to do. It lives as long as the ledger that reserved for
    /// it holds something of it, and ends for good otherwise.
    pub(super) fn serve(&mut self, index: usize) -> Result<bool, String> {
        let session = self.cluster.jobs[index].clone();
        let Some(channel) = &mut self.cluster.channel else {
            self.cluster.jobs[index].ended = true;
            return Ok(false);
        };
        let leaving = channel.metadata.deletion_timestamp.is_some();
        let status = channel.status.get_or_insert_default();
        let cover = |status| Cover {
            status,
            leaving,
            seen_at: self.seen_at,
            now: self.now,
        };
        if session.channel_uid.is_none() {
            let reserved = ledger::reserve(status, &session.bill, "session", nano(session.budget));
            let is_reserved =
                !leaving && !is_behind(status) && reserved.map_err(|error| error.to_string())?.is_ok();
            if !is_reserved {
                ledger::release(status, &session.bill);
            }
            let session = &mut self.cluster.jobs[index];
            session.ended = !is_reserved;
            session.channel_uid = channel.metadata.uid.clone().filter(|_| is_reserved);
            return Ok(is_reserved);
        }
        let is_here = session.channel_uid == channel.metadata.uid && ledger::holds(status, &session.bill);
        let has_begun = self.agents[session.number].contains_key(&CHAIN);
        let may = if has_begun {
            cover(status).may_run(&session.bill)
        } else {
            cover(status).may_start(&session.bill)
        };
        let is_covered = may.map_err(|error| error.to_string())?.is_ok();
        if !is_here || (has_begun && !is_covered) {
            self.did.stopped += 1;
            self.finish(index);
            return Ok(false);
        }
        if !is_covered {
            return Ok(false);
        }
        if !has_begun {
            self.must_be_covered(&session.bill)?;
            self.did.begun += 1;
            self.agents[session.number].insert(CHAIN, 0);
            self.cluster.jobs[index].attempts = CHAIN;
        }
        self.cluster.jobs[index].active = true;
        self.deliver(index);
        Ok(false)
    }
}
