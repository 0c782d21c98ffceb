//! What to do next, and what to say about it.

use cocoon_api::{
    NanoTon,
    conditions::{Observation, Reason as _, Scheduled},
    crd::{
        Agreement,
        job::{Assignment, AssignmentState},
    },
};

use crate::agents::AgentPod;

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// `Complete` or `Failed`.
    pub condition: Observation,
}

/// One step. The next reconcile plans again from what then is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing but the status.
    Wait,
    /// Reserve the budget on the channel.
    Reserve {
        /// Name of the channel.
        channel: String,
        /// UID of the channel: no other object of its name is meant.
        uid: String,
        /// The budget.
        budget: NanoTon,
    },
    /// Record an attempt on this agent, then start it.
    Assign {
        /// Number of the attempt.
        attempt: u32,
        /// The agent's pod.
        pod: AgentPod,
        /// What its work is done and billed by.
        agreed: Agreement,
    },
    /// Follow the active attempt.
    Follow {
        /// The attempt.
        assignment: Assignment,
        /// What its work is done and billed by.
        agreed: Agreement,
        /// What the attempt may cost.
        budget: Option<NanoTon>,
        /// Whether the agent may be asked to begin it; where not, it is only followed if the agent has begun already.
        may_begin: bool,
    },
    /// Ask the agent to stop; its results so far are taken.
    Cancel {
        /// Number of the attempt.
        attempt: u32,
    },
    /// Mark the attempt.
    Close {
        /// Number of the attempt.
        attempt: u32,
        /// What became of it.
        state: AssignmentState,
    },
    /// Delete the pod of an agent that does not answer, so that it cannot deliver any more.
    Fence {
        /// The provider, as the job's namespace names it: the pod is of its namespace.
        provider: String,
        /// Name of the pod.
        pod: String,
        /// UID of the pod.
        uid: String,
    },
    /// Give the budget back while the job is held.
    Release,
    /// Meter what landed, give the rest of the budget back, and end.
    Finish(End),
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to do.
    pub step: Step,
    /// Conditions to write.
    pub conditions: Vec<Observation>,
    /// What it waits for, for people.
    pub waiting_for: Option<String>,
    /// The provider that serves it.
    pub provider: Option<String>,
    /// UID of the channel that holds the budget, where it does: usage is metered there alone.
    pub channel_uid: Option<String>,
    /// What is agreed from here on; set with the first attempt.
    pub agreed: Option<Agreement>,
}

impl Plan {
    /// Whether all that is missing is an agent.
    pub fn waits_for_agent(&self) -> bool {
        let mut conditions = self.conditions.iter();
        self.step == Step::Wait
            && conditions.any(|condition| condition.type_ == Scheduled::TYPE && !condition.status)
    }
}

/// A plan in the making.
pub(super) struct Draft {
    pub(super) conditions: Vec<Observation>,
    pub(super) provider: Option<String>,
    pub(super) channel_uid: Option<String>,
    pub(super) agreed: Option<Agreement>,
}

impl Draft {
    pub(super) fn say(&mut self, condition: Observation) {
        self.conditions.push(condition);
    }

    /// The step, waiting for nothing.
    pub(super) fn act(self, step: Step) -> Plan {
        Plan {
            step,
            conditions: self.conditions,
            waiting_for: None,
            provider: self.provider,
            channel_uid: self.channel_uid,
            agreed: self.agreed,
        }
    }

    /// Only the status; the condition says what is waited for.
    pub(super) fn wait(mut self, condition: Observation) -> Plan {
        let waiting_for = Some(condition.message.clone());
        self.conditions.push(condition);
        Plan {
            step: Step::Wait,
            conditions: self.conditions,
            waiting_for,
            provider: self.provider,
            channel_uid: self.channel_uid,
            agreed: self.agreed,
        }
    }

    /// The step; the last condition that is false says what is waited for.
    pub(super) fn finish(self, step: Step) -> Plan {
        let waiting = self.conditions.iter().rev().find(|condition| !condition.status);
        let waiting_for = waiting.map(|condition| condition.message.clone());
        Plan {
            step,
            conditions: self.conditions,
            waiting_for,
            provider: self.provider,
            channel_uid: self.channel_uid,
            agreed: self.agreed,
        }
    }
}
