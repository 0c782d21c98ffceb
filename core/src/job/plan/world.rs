//! Everything that a plan depends on.

use cocoon_api::{
    agent::RefusalCode,
    crd::{PaymentChannelStatus, job::InferenceJobStatus},
    units::Prices,
};

use crate::{
    agents::{AgentPod, Refusal},
    job::{landing::Landing, validate::ValidatedJob},
};

/// A provider as a job sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The provider as the job's namespace names it: see [`FullName`](cocoon_api::crd::FullName).
    pub provider: String,
    /// Whether the job's namespace may use it.
    pub granted: bool,
    /// Takes no new work, because it is paused or goes away.
    pub closed: bool,
    /// SHA-256 of the model's file, as hexadecimal digits; `None` where the provider does not offer the model.
    pub model_sha256: Option<String>,
    /// Prices of the model.
    pub prices: Prices,
    /// Takes jobs that nobody pays for.
    pub allow_free: bool,
    /// Why nothing that is paid for can run: the payout wallet cannot redeem, or nobody has looked yet; none where it
    /// can.
    pub unpayable: Option<String>,
}

/// The channel that a job names.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// UID of the object: another of its name has another ledger.
    pub uid: String,
    /// The provider that it pays, as the job's namespace names it.
    pub provider: String,
    /// Address of the contract.
    pub address: String,
    /// Goes away.
    pub deleting: bool,
    /// Chain time of the last believed look at its contract by this process, in Unix seconds.
    pub seen_at: Option<i64>,
    /// Unix seconds by the later of the operator's clock and the chain's: what vouchers and windows are measured by.
    pub now: i64,
    /// Its ledger and conditions.
    pub status: PaymentChannelStatus,
}

/// An agent that could take the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its pod.
    pub pod: AgentPod,
    /// Attempts of other jobs that are active on it.
    pub active: usize,
}

/// What this process knows of the attempt that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Nothing: it does not follow it yet.
    No,
    /// It reads its results.
    Yes,
    /// The agent has ended the attempt, and all its results are landed.
    Ended,
    /// Another process answers at the agent's address.
    Replaced,
    /// The agent refuses the attempt; nothing of it ran.
    Refused(RefusalCode),
    /// The agent did not answer, or got no further, for longer than its limit, or broke the protocol.
    Unreachable,
    /// The API server refuses the Secret of the results for good: nothing more can be delivered.
    Unstored,
}

/// Everything that a plan depends on.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// Unix seconds by the operator's clock.
    pub now: i64,
    /// The job.
    pub job: &'a ValidatedJob,
    /// Its stored status.
    pub status: &'a InferenceJobStatus,
    /// Providers of the namespace, and those of others that the job, its channel or its status names; ordered as they
    /// are named.
    pub offers: &'a [Offer],
    /// The channel that it names; `None` where it does not exist or the job is free.
    pub channel: Option<&'a Channel>,
    /// Agents of the provider that serve the model, by name.
    pub agents: &'a [Agent],
    /// Why no pod of such an agent can be made; none where nothing is refused.
    pub refused: Option<Refusal>,
    /// What has landed.
    pub landing: &'a Landing,
    /// What this process knows of the active attempt.
    pub following: Following,
    /// Whether this process may follow one more attempt.
    pub has_room: bool,
    /// Jobs that wait for an agent of the same model and were there before.
    pub queue_position: u32,
}
