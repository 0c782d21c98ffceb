//! What to do about the attempt that is active.

use cocoon_api::{
    conditions::{FundsReserved, Reason as _, Scheduled},
    crd::job::{Assignment, AssignmentState},
    units::UnitError,
};

use super::{
    Draft, Following, Plan, Step, World,
    end::past_deadline,
    funds::{reserved, uncovered},
    schedule::dispatched,
};
use crate::{job::validate::Billing, ledger};

/// What becomes of an attempt whose agent goes, and the words for it.
struct Gone {
    state: AssignmentState,
    what: &'static str,
    why: &'static str,
}

const LOST: Gone = Gone {
    state: AssignmentState::Lost,
    what: "is gone",
    why: "",
};
const EVICTED: Gone = Gone {
    state: AssignmentState::Suspended,
    what: "was evicted",
    why: ": it is evicted, or its node is drained",
};

pub(super) fn follow(world: &World<'_>, mut draft: Draft, active: &Assignment) -> Result<Plan, UnitError> {
    let Assignment {
        attempt,
        pod,
        pod_uid,
        ..
    } = active;
    let agent = world.agents.iter().find(|agent| agent.pod.uid == *pod_uid);
    let alive = agent.is_some_and(|agent| !agent.pod.state.has_ended());
    // What the cluster takes away is not the job's fault, and counts against no limit of it.
    let displaced = agent.is_some_and(|agent| agent.pod.displaced);
    let gone = if displaced { EVICTED } else { LOST };
    let uncovered = uncovered(world, &active.provider)?;
    draft.say(match (&uncovered, &world.job.billing) {
        (Some(why), _) => FundsReserved::NotCovered.condition(format!("it is stopped: {why}")),
        (None, Billing::Free) => FundsReserved::Free.condition("billing.mode is Free"),
        (None, Billing::Channel { name, budget, .. }) => reserved(name, *budget),
    });
    let close = |mut draft: Draft, state, message: String| {
        draft.say(Scheduled::AgentLost.condition(message));
        draft.finish(Step::Close {
            attempt: *attempt,
            state,
        })
    };
    let plan = match world.following {
        Following::Ended => {
            let state = if world.job.suspend || uncovered.is_some() || displaced {
                AssignmentState::Suspended
            } else {
                AssignmentState::Ended
            };
            draft.say(Scheduled::Dispatched.condition(format!("agent {pod} has ended attempt {attempt}")));
            draft.finish(Step::Close {
                attempt: *attempt,
                state,
            })
        }
        _ if !alive => close(
            draft,
            gone.state,
            format!("agent {pod} {}; the rest runs on another", gone.what),
        ),
        Following::Replaced => close(
            draft,
            AssignmentState::Lost,
            format!("agent {pod} was restarted; the rest runs again"),
        ),
        Following::Refused(code) => {
            draft.say(
                Scheduled::AgentRefused.condition(format!("agent {pod} refuses attempt {attempt}: {code}")),
            );
            draft.finish(Step::Close {
                attempt: *attempt,
                state: AssignmentState::Refused,
            })
        }
        // The job ends with it, which is planned before.
        Following::Unstored => draft.finish(Step::Wait),
        Following::Unreachable => {
            draft.say(Scheduled::AgentLost.condition(format!("agent {pod} does not answer and is removed")));
            draft.finish(Step::Fence {
                provider: active.provider.clone(),
                pod: pod.clone(),
                uid: pod_uid.clone(),
            })
        }
        Following::Yes if displaced || world.job.suspend || uncovered.is_some() || past_deadline(world) => {
            draft.say(Scheduled::Dispatched.condition(format!("agent {pod} is asked to stop{}", gone.why)));
            draft.finish(Step::Cancel { attempt: *attempt })
        }
        Following::No | Following::Yes => {
            draft.say(dispatched(pod, *attempt));
            follow_step(world, draft, active, uncovered.is_none())?
        }
    };
    Ok(plan)
}

fn follow_step(
    world: &World<'_>,
    draft: Draft,
    active: &Assignment,
    may_begin: bool,
) -> Result<Plan, UnitError> {
    let Some(agreed) = world.status.agreed.clone() else {
        return Ok(draft.finish(Step::Wait));
    };
    let budget = match &world.job.billing {
        Billing::Free => None,
        // What the attempt may cost is what is left of the budget, also where somebody deleted results that were
        // billed.
        Billing::Channel { budget, .. } => {
            let metered = world
                .channel
                .map(|channel| ledger::used(&channel.status, &world.job.bill()))
                .transpose()?
                .unwrap_or_default();
            // Of a job that is paid step by step, what is reserved is the step's end.
            let held = world
                .channel
                .and_then(|channel| ledger::reserved(&channel.status, &world.job.bill()));
            let most = held.unwrap_or(*budget).min(*budget);
            Some(most.saturating_sub(world.landing.nano()?.max(metered)))
        }
    };
    let step = Step::Follow {
        assignment: active.clone(),
        agreed,
        budget,
        may_begin,
    };
    Ok(draft.finish(step))
}
