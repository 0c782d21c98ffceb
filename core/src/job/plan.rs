//! What to do next for one job. The plan leaves nothing to choose: whoever applies it has no `if` of its own.
//!
//! Wanted properties:
//! - no attempt starts before the budget is reserved, unless the offer consents to free jobs;
//! - nothing starts and nothing goes on that could not be claimed in time;
//! - an attempt is given up only when its agent can no longer deliver: its pod is gone, or another process
//!   answers there; an agent that cannot be reached is first removed;
//! - every wait says what it waits for;
//! - an accepted job ends: attempts are bounded by `backoffLimit`, time by `activeDeadlineSeconds`.

mod end;
mod follow;
mod funds;
mod schedule;
mod step;
mod world;

use cocoon_api::{
    conditions::{Accepted, Reason as _, Scheduled, Suspended},
    crd::job::{Assignment, AssignmentState, InferenceJobStatus},
    units::UnitError,
};

pub use schedule::MAX_JOBS_PER_AGENT;
pub use step::{End, Plan, Step};
pub use world::{Agent, Channel, Following, Offer, World};

use super::{landing::Landing, validate::ValidatedJob};
use step::Draft;

/// Decides the next step.
pub fn plan(world: &World<'_>) -> Result<Plan, UnitError> {
    let mut draft = Draft {
        conditions: vec![Accepted::Accepted.condition("the job will run")],
        provider: world.status.provider.clone(),
        channel_uid: world.status.channel_uid.clone(),
    };
    if let Some(end) = end::ended(world) {
        return Ok(draft.act(Step::Finish(end)));
    }
    if let Some(active) = active(world.status) {
        return follow::follow(world, draft, active);
    }
    if world.job.suspend {
        draft.say(Suspended::Suspended.condition("spec.suspend is true"));
        draft.say(Scheduled::Waiting.condition("the job is suspended"));
        return Ok(draft.act(Step::Release));
    }
    if world
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == Suspended::TYPE)
    {
        draft.say(Suspended::Resumed.condition("spec.suspend is false"));
    }
    let offer = match funds::choose_offer(world) {
        Ok(offer) => offer,
        Err(rejected) => {
            draft.conditions.clear();
            return Ok(draft.wait(rejected));
        }
    };
    draft.provider = Some(offer.provider.clone());
    if let Some(step) = funds::reserve(world, offer, &mut draft)? {
        return Ok(draft.finish(step));
    }
    Ok(schedule::schedule(world, offer, draft))
}

/// The attempt that is active.
pub fn active(status: &InferenceJobStatus) -> Option<&Assignment> {
    status
        .assignments
        .iter()
        .find(|assignment| assignment.state == AssignmentState::Active)
}

/// Indices of the requests that have not ended.
pub fn remaining<'a>(job: &'a ValidatedJob, landing: &'a Landing) -> impl Iterator<Item = u32> + 'a {
    job.requests
        .items
        .iter()
        .map(|item| item.index)
        .filter(|&index| !landing.has(index))
}

#[cfg(test)]
mod tests;
