//! `PaymentChannel`: a payer's escrow toward one provider, and the ledger of what is claimed from it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ProviderReference;
use crate::{
    subject::{Bill, BillFields, Subject, SubjectFields},
    units::{NanoTon, Usage},
};

/// Bills, of jobs and of sessions, with a reservation or an unsettled counter on one channel at most. An entry is below
/// 500 bytes, so that the object stays well below etcd's 1.5 MiB; a settlement is due before the ledger is full.
pub const MAX_LEDGER_ENTRIES: usize = 1000;

/// A payer's escrow toward one provider. The payer, or their command line, raises the voucher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cocoon.farm",
    version = "v1alpha1",
    kind = "PaymentChannel",
    plural = "paymentchannels",
    shortname = "pch",
    category = "cocoon",
    namespaced,
    status = "PaymentChannelStatus",
    derive = "PartialEq",
    doc = "PaymentChannel is a payer's escrow toward one provider and the ledger of what jobs claim from it.",
    selectable = ".spec.provider.name",
    selectable = ".spec.provider.namespace",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Deposit",
        type_ = "string",
        json_path = ".status.deposit",
        description = "TON left in the contract"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.available",
        description = "TON that new jobs can reserve"
    ),
    printcolumn(
        name = "Redeemed",
        type_ = "string",
        json_path = ".status.redeemed",
        description = "TON paid to the provider"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(
        name = "Farm",
        type_ = "string",
        json_path = ".spec.provider.namespace",
        description = "Namespace of the provider where it is another",
        priority = 1
    ),
    printcolumn(name = "Network", type_ = "string", json_path = ".spec.network", priority = 1),
    printcolumn(
        name = "Contract",
        type_ = "string",
        json_path = ".spec.contractAddress",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.provider == oldSelf.provider && self.network == oldSelf.network && self.contractAddress == oldSelf.contractAddress && self.payerPublicKey == oldSelf.payerPublicKey").message("only the voucher may change"))]
#[x_kube(validation = Rule::new("!has(oldSelf.binding) || (has(self.binding) && self.binding == oldSelf.binding)").message("a binding cannot be changed: delete the channel and make it again"))]
#[x_kube(validation = Rule::new("!has(self.voucher) || !has(oldSelf.voucher) || self.voucher.epoch > oldSelf.voucher.epoch || (self.voucher.epoch == oldSelf.voucher.epoch && self.voucher.capNano >= oldSelf.voucher.capNano && self.voucher.validUntil >= oldSelf.voucher.validUntil)").message("a voucher may only be raised: epoch, capNano and validUntil must not fall"))]
#[x_kube(validation = Rule::new("!has(oldSelf.voucher) || has(self.voucher)").message("a voucher cannot be taken back"))]
pub struct PaymentChannelSpec {
    /// The provider that is paid.
    pub provider: ProviderReference,
    /// TON network by the name that the operator's configuration gives it.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub network: String,
    /// Address of the escrow contract. Of several channels that name one contract, the oldest is used.
    #[schemars(
        length(min = 48, max = 67),
        regex(pattern = r"^([A-Za-z0-9_+/-]{48}|-?[0-9]:[0-9a-fA-F]{64})$")
    )]
    pub contract_address: String,
    /// The payer's Ed25519 public key, as 64 hexadecimal digits.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub payer_public_key: String,
    /// The payer's signature over network, contract, namespace and name of this object, as 128 hexadecimal digits: the
    /// proof that the owner of the contract made it, and nobody who only knows its address. An object without it is not
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 128, max = 128), regex(pattern = r"^[0-9a-f]{128}$"))]
    pub binding: Option<String>,
    /// The payer's signed cap. Without one, nothing can be reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<Voucher>,
}

/// A payer-signed cap: this channel may be claimed up to `capNano`, cumulative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Voucher {
    /// The most that may be claimed since the channel was opened, in nanoTON.
    #[schemars(extend("minimum" = 1))]
    pub cap_nano: NanoTon,
    /// Unix seconds after which the contract refuses the voucher.
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    pub valid_until: u32,
    /// Epoch of the contract for which it is signed.
    pub epoch: u32,
    /// The payer's signature, as 128 hexadecimal digits.
    #[schemars(length(min = 128, max = 128), regex(pattern = r"^[0-9a-f]{128}$"))]
    pub signature: String,
}

/// What the operator knows of a channel. The ledger (reservations, counters, `finishedNano`) is written by
/// compare-and-swap on the object. Only the operator writes it, whole, so that the API server need not keep who wrote
/// which field of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct PaymentChannelStatus {
    /// Generation of the specification that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up `Funded`, `VoucherValid`, `LedgerCurrent` and `ClockInStep`; `Closing` says whether the payer is
    /// leaving.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where the contract stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ChannelState>,
    /// NanoTON in the contract that can be claimed: its balance less the reserve for rent.
    #[serde(default)]
    pub deposit_nano: NanoTon,
    /// The best verified voucher of each epoch, with its signature. Claims use these, whatever the specification says
    /// by then: what was verified once stays the provider's evidence.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub vouchers: Vec<Voucher>,
    /// Epoch that the contract showed last; absent before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Challenge window of the contract, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_seconds: Option<u32>,
    /// Cap of the voucher that was verified last.
    #[serde(default)]
    pub cap_nano: NanoTon,
    /// Epoch of that voucher: within it, caps only rise.
    #[serde(default)]
    pub cap_epoch: u32,
    /// Metered so far: `finishedNano` and the counters.
    #[serde(default)]
    pub accrued_nano: NanoTon,
    /// Reserved by jobs that have not ended.
    #[serde(default)]
    pub reserved_nano: NanoTon,
    /// Paid to the provider, as the contract's getter shows.
    #[serde(default)]
    pub redeemed_nano: NanoTon,
    /// The most that `redeemedNano` may show as far as this ledger can tell: what was redeemed at the first look, what
    /// the provider acknowledged, and the highest claim that was signed since.
    #[serde(default)]
    pub claimed_nano: NanoTon,
    /// What the contract shows as redeemed where this ledger cannot explain it: somebody else claimed, or this object
    /// is older than the claims. Nothing is reserved, metered or claimed until the provider acknowledges it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexplained_nano: Option<NanoTon>,
    /// When the challenge window of a closing channel ends, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge_ends_at: Option<i64>,
    /// Budgets of jobs and sessions that have not ended, one for each.
    #[serde(default)]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "atomic"))]
    pub reservations: Vec<Reservation>,
    /// Usage of jobs and sessions that are not settled, by job and attempt or session, and by agent.
    #[serde(default)]
    #[schemars(length(max = 4000), extend("x-kubernetes-list-type" = "atomic"))]
    pub counters: Vec<Counter>,
    /// Metered for jobs that left the counters: settled or deleted ones, and ended ones where the ledger fills.
    #[serde(default)]
    pub finished_nano: NanoTon,
    /// Digest over the receipts of jobs that left the counters, one job after the other: what claims commit to,
    /// although the counters are gone. As 64 hexadecimal digits; absent before the first such job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub finished_root: Option<String>,
    /// Redeemed on account of other ledgers: before this object first saw the contract, or acknowledged by the
    /// provider. Part of `finishedNano`; of it counts what `redeemedNano` shows.
    #[serde(default)]
    pub earlier_nano: NanoTon,
    /// When the oldest amount that is metered and not redeemed appeared, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accruing_since: Option<i64>,
    /// `depositNano` in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub deposit: String,
    /// What new jobs can reserve, in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub available: String,
    /// `redeemedNano` in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub redeemed: String,
}

/// Where the contract of a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ChannelState {
    /// Not deployed, or without a deposit.
    Unfunded,
    /// Can be claimed.
    Open,
    /// The payer is closing it; claims are still taken.
    Closing,
    /// Closed.
    Closed,
}

/// The budget of a job, or of a session, that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Whose budget it is.
    #[serde(flatten)]
    #[schemars(with = "BillFields")]
    pub bill: Bill,
    /// Name of the job or session, for people.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its budget.
    pub nano: NanoTon,
}

/// Usage by one agent in one attempt of a job, or in a session: a counter that only grows, so merging is taking the
/// maximum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counter {
    /// The agent's public key.
    #[schemars(length(max = 64))]
    pub agent: String,
    /// What is billed.
    #[serde(flatten)]
    #[schemars(with = "SubjectFields")]
    pub subject: Subject,
    /// Name of the job or session, for people.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Receipts so far.
    pub count: u32,
    /// Tokens of them.
    #[serde(flatten)]
    pub usage: Usage,
    /// NanoTON of them.
    pub nano: NanoTon,
    /// Digest of the last receipt.
    #[schemars(length(max = 64))]
    pub head: String,
}
