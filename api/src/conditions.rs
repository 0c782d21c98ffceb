//! Condition types and their typed reasons, one enum a type: what `kubectl wait` waits for and what a person
//! reads when something waits.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::agent::GpuFault;

/// A condition type with its reasons.
pub trait Reason: Copy {
    /// Value of `type`.
    const TYPE: &'static str;
    /// All reasons.
    const NAMES: &'static [&'static str];
    /// Value of `reason`.
    fn name(self) -> &'static str;
    /// Whether the condition is `True` with this reason.
    fn is_true(self) -> bool;

    /// The condition with this reason; its transition time is set by [`set`].
    fn condition(self, message: impl Into<String>) -> Observation {
        Observation {
            type_: Self::TYPE,
            status: self.is_true(),
            reason: self.name(),
            message: message.into(),
        }
    }
}

/// A condition as decided: without the time of its last change, which only the stored object knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Value of `type`.
    pub type_: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// A typed reason.
    pub reason: &'static str,
    /// What it is waiting for, or what happened.
    pub message: String,
}

/// Longest message that is stored; Kubernetes allows 32,768.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Writes what was observed into the list, keeping the transition time where the status did not change.
pub fn set(list: &mut Vec<Condition>, observed: Observation, generation: Option<i64>, now: Timestamp) {
    let Observation {
        type_,
        status,
        reason,
        message,
    } = observed;
    let status = if status { "True" } else { "False" };
    let message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    let found = list.iter().position(|condition| condition.type_ == type_);
    let last_transition_time = found
        .map(|index| list.swap_remove(index))
        .filter(|old| old.status == status)
        .map_or(Time(now), |old| old.last_transition_time);
    list.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time,
    });
    list.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Whether the condition is present and `True`.
pub fn is_true(list: &[Condition], type_: &str) -> bool {
    list.iter()
        .any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// The condition of this type.
pub fn find<'a>(list: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    list.iter().find(|condition| condition.type_ == type_)
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident = $type_:literal { $($(#[$variant_doc:meta])* $variant:ident: $is_true:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl Reason for $name {
            const TYPE: &'static str = $type_;
            const NAMES: &'static [&'static str] = &[$(stringify!($variant),)*];
            fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }
            fn is_true(self) -> bool {
                match self { $(Self::$variant => $is_true,)* }
            }
        }
    };
}

reasons!(
    /// Summary of a `CocoonProvider` or a `PaymentChannel`.
    Ready = "Ready" {
        /// Everything that it needs is there.
        Ready: true,
        /// Another condition is false; its message is repeated.
        NotReady: false,
        /// `spec.paused` is set.
        Paused: false,
    }
);
reasons!(
    /// Provider: nodes with matching GPUs were found.
    InventoryReady = "InventoryReady" {
        /// At least one matching node is ready.
        NodesMatched: true,
        /// No node matches selector, product, memory and compute capability.
        NoMatchingNodes: false,
        /// Nodes match the selector, but lack the labels that describe their GPUs.
        LabelsMissing: false,
    }
);
reasons!(
    /// Provider: agents that are wanted are serving.
    AgentsAvailable = "AgentsAvailable" {
        /// All wanted agents serve.
        AgentsReady: true,
        /// No work, so no agents are wanted.
        ScaledToZero: true,
        /// Agents are starting.
        Starting: false,
        /// No node has enough free GPUs.
        InsufficientGPU: false,
        /// No node has enough processor, memory, local storage or places for pods.
        InsufficientResources: false,
        /// Nodes that would do are cordoned.
        NodesCordoned: false,
        /// Nodes that would do have taints that the offer does not tolerate.
        NodesTainted: false,
        /// No node has the labels that the offer asks for.
        NoMatchingNode: false,
        /// A claim of a volume or of a device, which the agent needs, is not there.
        ClaimMissing: false,
        /// No node takes the agent; the scheduler's words say why.
        Unschedulable: false,
        /// The namespace's quota leaves no room for an agent.
        QuotaExceeded: false,
        /// A limit range of the namespace does not allow what an agent asks for.
        LimitRangeExceeded: false,
        /// The namespace's pod security level does not allow agents as the offer has them.
        PodSecurityViolated: false,
        /// The `ServiceAccount` of the agents is not there.
        ServiceAccountMissing: false,
        /// The priority class that the offer names is not there, or may not be used.
        PriorityClassMissing: false,
        /// The runtime class that the offer names is not there.
        RuntimeClassMissing: false,
        /// The image of the agent cannot be pulled.
        ImagePullFailed: false,
        /// The node has no copy of the model: it is being downloaded, or the file of `hostPath` is not there.
        ModelNotCached: false,
        /// A node cannot download the model.
        DownloadFailed: false,
        /// The volumes of an agent are not set up.
        VolumesNotReady: false,
        /// The agent refuses its model file or fails to start.
        AgentFailed: false,
        /// A pod serves under the labels of an agent and is none of this provider's.
        AgentUnrecognised: false,
        /// The agent's container finds no NVIDIA driver.
        NoDriver: false,
        /// The node's NVIDIA driver is older than the agent's kernels.
        DriverTooOld: false,
        /// The node's NVIDIA driver does not load or does not start.
        DriverFailed: false,
        /// The driver shows the agent fewer GPUs than it was given.
        NoVisibleGpu: false,
        /// The GPU lacks instructions that the agent's kernels use.
        GpuTooOld: false,
        /// The GPU's memory does not hold model and cache.
        GpuMemoryTooSmall: false,
        /// It would, if other processes did not hold so much of it.
        GpuMemoryTaken: false,
        /// The GPU computes other results than every other machine.
        KernelWrong: false,
        /// The device refused memory that was planned.
        DeviceOutOfMemory: false,
        /// The GPU's memory has an error that it cannot correct.
        DeviceEccError: false,
        /// The GPU fell off its bus, or was reset.
        DeviceLost: false,
        /// The driver refuses an operation on the GPU.
        DeviceFailed: false,
    }
);
impl From<GpuFault> for AgentsAvailable {
    fn from(fault: GpuFault) -> Self {
        match fault {
            GpuFault::NoDriver => Self::NoDriver,
            GpuFault::DriverTooOld => Self::DriverTooOld,
            GpuFault::DriverFailed => Self::DriverFailed,
            GpuFault::NoVisibleGpu => Self::NoVisibleGpu,
            GpuFault::GpuTooOld => Self::GpuTooOld,
            GpuFault::GpuMemoryTooSmall => Self::GpuMemoryTooSmall,
            GpuFault::GpuMemoryTaken => Self::GpuMemoryTaken,
            GpuFault::KernelWrong => Self::KernelWrong,
            GpuFault::DeviceOutOfMemory => Self::DeviceOutOfMemory,
            GpuFault::DeviceEccError => Self::DeviceEccError,
            GpuFault::DeviceLost => Self::DeviceLost,
            GpuFault::DeviceFailed => Self::DeviceFailed,
        }
    }
}

reasons!(
    /// Provider: the payout wallet can settle.
    WalletReady = "WalletReady" {
        /// The wallet is deployed or can be, and has funds for fees.
        WalletFunded: true,
        /// The Secret or its key is missing.
        SecretMissing: false,
        /// The Secret's text is neither 24 words nor 64 hexadecimal digits.
        SecretMalformed: false,
        /// The Secret is being deleted, and held only until what is owed is claimed.
        SecretDeleting: false,
        /// `payout.address` is no address, or not the one of the wallet's key.
        AddressInvalid: false,
        /// No endpoint is configured for `payout.network`, or it serves another network.
        WrongNetwork: false,
        /// Too little balance for fees.
        LowBalance: false,
        /// The chain could not be asked.
        EndpointUnavailable: false,
    }
);
reasons!(
    /// Provider: usage becomes money.
    SettlementHealthy = "SettlementHealthy" {
        /// Nothing is overdue.
        UpToDate: true,
        /// The last settlement failed; another is tried.
        SettlementFailed: false,
        /// The chain cannot be reached or lags behind.
        EndpointUnavailable: false,
        /// The wallet is not ready.
        WalletNotReady: false,
    }
);
reasons!(
    /// Job: the specification is sound and somebody offers the model.
    Accepted = "Accepted" {
        /// The job will run.
        Accepted: true,
        /// The input, its `ConfigMap` or Secret cannot be read as requests.
        InvalidInput: false,
        /// Results of an earlier job of this name are still being removed.
        EarlierResults: false,
        /// No provider in the namespace offers the model.
        ModelUnknown: false,
        /// The provider is of another namespace and does not allow this one, or does not exist.
        ProviderNotGranted: false,
        /// `spec.providerRef` is not the provider that the channel pays.
        ProviderMismatch: false,
        /// The referenced channel does not exist.
        ChannelNotFound: false,
        /// `billing.maxNano` is below the least that the requests cost.
        BudgetTooSmall: false,
        /// `billing.mode` is `Free`, and the offer has prices and does not set `allowFree`.
        FreeNotOffered: false,
        /// The provider asks more than `billing.maxPrices` allows.
        PriceTooHigh: false,
    }
);
reasons!(
    /// Job: the budget is reserved on the channel.
    FundsReserved = "FundsReserved" {
        /// Reserved.
        Reserved: true,
        /// `billing.mode` is `Free`.
        Free: true,
        /// The job ended and what it did not use was released.
        Released: true,
        /// The channel does not cover the budget yet.
        WaitingForFunds: false,
        /// The voucher of the channel is not valid.
        VoucherInvalid: false,
        /// The channel cannot be used yet.
        ChannelNotReady: false,
        /// The job runs or could run, and what it may cost could not be claimed in time: it is stopped or waits.
        NotCovered: false,
    }
);
reasons!(
    /// Job: an agent has its requests.
    Scheduled = "Scheduled" {
        /// An agent works on it.
        Dispatched: true,
        /// No node has enough free GPUs for an agent.
        InsufficientGPU: false,
        /// No node has enough processor, memory, local storage or places for pods.
        InsufficientResources: false,
        /// Nodes that would do are cordoned.
        NodesCordoned: false,
        /// Nodes that would do have taints that the offer does not tolerate.
        NodesTainted: false,
        /// No node has the labels that the offer asks for.
        NoMatchingNode: false,
        /// A claim of a volume or of a device, which the agent needs, is not there.
        ClaimMissing: false,
        /// No node takes the agent; the scheduler's words say why.
        Unschedulable: false,
        /// The quota of the provider's namespace leaves no room for an agent.
        QuotaExceeded: false,
        /// A limit range of the provider's namespace does not allow what an agent asks for.
        LimitRangeExceeded: false,
        /// The pod security level of the provider's namespace does not allow agents as the offer has them.
        PodSecurityViolated: false,
        /// The `ServiceAccount` of the agents is not there.
        ServiceAccountMissing: false,
        /// The priority class that the offer names is not there, or may not be used.
        PriorityClassMissing: false,
        /// The runtime class that the offer names is not there.
        RuntimeClassMissing: false,
        /// The image of the agent cannot be pulled.
        ImagePullFailed: false,
        /// The node has no copy of the model: it is being downloaded, or the file of `hostPath` is not there.
        ModelNotCached: false,
        /// A node cannot download the model.
        DownloadFailed: false,
        /// The volumes of an agent are not set up.
        VolumesNotReady: false,
        /// An agent is starting and loads the model.
        ColdStart: false,
        /// The agents of the model are busy.
        AgentsBusy: false,
        /// The agent cannot start.
        AgentFailed: false,
        /// A pod serves under the labels of an agent and is none of the provider's.
        AgentUnrecognised: false,
        /// The agent cannot use the GPUs that it was given.
        GPUUnusable: false,
        /// The provider is paused or goes away.
        ProviderUnavailable: false,
        /// The agent was lost; the rest is dispatched again.
        AgentLost: false,
        /// The agent refuses the attempt; another is asked.
        AgentRefused: false,
        /// Waiting for an earlier condition.
        Waiting: false,
    }
);
reasons!(
    /// Job: held back by `spec.suspend`.
    Suspended = "Suspended" {
        /// Held back.
        Suspended: true,
        /// Not held back.
        Resumed: false,
    }
);
reasons!(
    /// Job: every request has a result.
    Complete = "Complete" {
        /// At least one request succeeded and every one has ended.
        RequestsFinished: true,
        /// Work is left.
        InProgress: false,
    }
);
reasons!(
    /// Job: it ended without completing.
    Failed = "Failed" {
        /// The specification is not acceptable.
        InvalidInput: true,
        /// Every request failed.
        RequestsFailed: true,
        /// The budget was spent before all requests had run.
        BudgetExceeded: true,
        /// `activeDeadlineSeconds` passed.
        DeadlineExceeded: true,
        /// Agents were lost or failed more often than `backoffLimit`.
        BackoffLimitExceeded: true,
        /// The `PaymentChannel` that held the budget is gone; another of its name has another ledger.
        ChannelGone: true,
        /// The API server refuses the Secret of the results: nothing can be delivered.
        ResultsRefused: true,
        /// Somebody took results away or changed them, and did not put them back in time.
        ResultsLost: true,
    }
);
reasons!(
    /// Job: its cost is paid on chain.
    Settled = "Settled" {
        /// The channel's `redeemed` covers the job.
        Paid: true,
        /// The job cost nothing.
        NothingDue: true,
        /// Its settlement is being signed, sent or confirmed.
        Settling: false,
        /// It waits for a threshold, an age, or for the job to end.
        Pending: false,
        /// What its channel owes is too little for a settlement's fee: it is paid together with later jobs.
        BelowFee: false,
        /// The channel went away before.
        WrittenOff: false,
    }
);
reasons!(
    /// Channel: the escrow contract is there and holds a deposit.
    Funded = "Funded" {
        /// Deployed with the known code and a deposit.
        Funded: true,
        /// No contract at the address.
        NotDeployed: false,
        /// Another contract is at the address.
        ForeignCode: false,
        /// The contract names another payer key or provider.
        ForeignParties: false,
        /// The challenge window is too short to settle in.
        ChallengeTooShort: false,
        /// The deposit is used up.
        InsufficientDeposit: false,
        /// The chain could not be asked.
        EndpointUnavailable: false,
        /// No endpoint is configured for `spec.network`, or it serves another network.
        WrongNetwork: false,
        /// The referenced provider does not exist.
        ProviderNotFound: false,
        /// The provider is of another namespace and does not allow this one, or does not exist.
        ProviderNotGranted: false,
        /// An older channel uses the same contract, and one contract has one ledger.
        ContractInUse: false,
        /// `spec.binding` is not the payer's signature over this contract, namespace and name.
        Unbound: false,
        /// The provider's payout wallet cannot redeem.
        WalletNotReady: false,
    }
);
reasons!(
    /// Channel: the payer's voucher can be redeemed.
    VoucherValid = "VoucherValid" {
        /// Signed by the payer for this channel and network, and not expired.
        Valid: true,
        /// No voucher yet.
        Missing: false,
        /// The signature is not the payer's over this network, contract, cap and epoch.
        BadSignature: false,
        /// `validUntil` has passed.
        Expired: false,
        /// The epoch is not the contract's.
        WrongEpoch: false,
        /// The cap or the validity is below an earlier voucher's, or the cap is below what was redeemed.
        Lowered: false,
        /// It is valid for less than the provider's `minVoucherValidity`.
        TooShort: false,
        /// The contract has not been seen.
        Unknown: false,
    }
);
reasons!(
    /// Channel: the ledger explains what the contract shows as redeemed.
    LedgerCurrent = "LedgerCurrent" {
        /// It does.
        UpToDate: true,
        /// The contract has not been seen.
        Unknown: false,
        /// More was redeemed than this ledger ever claimed: somebody else claimed, or this object is older than the
        /// claims.
        LedgerBehind: false,
        /// An endpoint shows more than the payer ever allowed: it lies, and is not believed.
        ReadingRefused: false,
    }
);
reasons!(
    /// Channel: the clocks of operator and chain agree.
    ClockInStep = "ClockInStep" {
        /// They differ by a minute at most.
        InStep: true,
        /// They differ by more; the later one counts.
        OutOfStep: false,
        /// The chain's time is not known.
        Unknown: true,
    }
);
reasons!(
    /// Provider: what is made for it is there.
    ChildrenApplied = "ChildrenApplied" {
        /// It is.
        Applied: true,
        /// The API server refuses one.
        Refused: false,
        /// An object of the name is there and is not this provider's; it is left alone.
        Foreign: false,
    }
);
reasons!(
    /// Channel: the payer is closing it.
    Closing = "Closing" {
        /// The challenge window runs.
        ChallengeWindow: true,
        /// Closed.
        Closed: true,
        /// Not closing.
        Open: false,
    }
);
reasons!(
    /// Settlement: where its message stands.
    Confirmed = "Confirmed" {
        /// Every channel's getter shows the claim.
        Redeemed: true,
        /// The wallet's surplus is on its way to the payout address.
        Swept: true,
        /// Signed, not yet sent.
        Signed: false,
        /// Sent; the chain has not shown it yet.
        Broadcast: false,
        /// It cannot take effect any more.
        Failed: false,
    }
);
reasons!(
    /// Settlement: it cannot take effect any more.
    SettlementFailed = "Failed" {
        /// Expired before the wallet took it.
        Expired: true,
        /// The wallet took another message with its number.
        Superseded: true,
        /// The wallet took it, and a channel did not move.
        NotRedeemed: true,
        /// The wallet took it, and sent nothing on to the payout address.
        NotSwept: true,
    }
);
