//! `Settlement`: the intent log of one wallet message.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{FullName, LocalReference};
use crate::units::NanoTon;

/// The signed message of one settlement, stored before it is first sent. Only these bytes are ever sent again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cocoon.farm",
    version = "v1alpha1",
    kind = "Settlement",
    plural = "settlements",
    shortname = "stl",
    category = "cocoon",
    namespaced,
    status = "SettlementStatus",
    derive = "PartialEq",
    doc = "Settlement is the intent log of one wallet message that redeems channels: stored before it is sent, and paid only when the channels show it.",
    selectable = ".spec.providerRef.name",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.providerRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Seqno", type_ = "integer", json_path = ".spec.seqno"),
    printcolumn(
        name = "Claimed",
        type_ = "string",
        json_path = ".spec.claimed",
        description = "TON, the step over what was redeemed before"
    ),
    printcolumn(name = "Transaction", type_ = "string", json_path = ".status.transaction"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Swept",
        type_ = "integer",
        json_path = ".spec.sweep.nano",
        description = "NanoTON that go on to the payout address",
        priority = 1
    ),
    printcolumn(
        name = "Attempts",
        type_ = "integer",
        json_path = ".status.attempts",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a settlement is immutable: it says what was signed"))]
#[x_kube(validation = Rule::new("self.redeems.size() > 0 || has(self.sweep)").message("a settlement claims or sweeps"))]
pub struct SettlementSpec {
    /// The provider whose wallet signs.
    pub provider_ref: LocalReference,
    /// Address of the wallet.
    #[schemars(length(min = 1, max = 67))]
    pub wallet: String,
    /// Number of the wallet's message.
    pub seqno: u32,
    /// Unix seconds of chain time after which the wallet refuses the message.
    pub valid_until: u32,
    /// The signed external message, BoC in base64.
    #[schemars(length(min = 1, max = 262_144))]
    pub message: String,
    /// Normalized hash of the message (TEP-467), as hexadecimal digits: finds its transaction.
    #[schemars(length(min = 64, max = 64))]
    pub message_hash: String,
    /// What it claims; nothing where it sweeps.
    #[schemars(length(max = 200))]
    pub redeems: Vec<Redeem>,
    /// What it passes on to the payout address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Sum of the steps, in TON, for people.
    #[schemars(length(max = 32))]
    pub claimed: String,
}

/// What the wallet holds above its reserve for fees, on its way to the payout address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sweep {
    /// The payout address.
    #[schemars(length(min = 1, max = 67))]
    pub to: String,
    /// How much.
    pub nano: NanoTon,
}

/// A claim on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redeem {
    /// Name of the channel.
    #[schemars(length(min = 1, max = 253))]
    pub channel: String,
    /// Namespace of the channel, and of its jobs; absent: the settlement's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// UID of the channel: another object of its name has another ledger.
    #[serde(default)]
    #[schemars(length(max = 36))]
    pub channel_uid: String,
    /// Address of its contract.
    #[schemars(length(min = 1, max = 67))]
    pub contract_address: String,
    /// Claimed in all since the channel was opened.
    pub cumulative_nano: NanoTon,
    /// Of this, redeemed before.
    pub redeemed_before_nano: NanoTon,
    /// Root of the Merkle tree over the receipts that were metered by then, which goes into the message: the provider's
    /// word on what it claims for. As 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub receipts_root: Option<String>,
    /// Jobs that have ended and are wholly covered by this claim.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub jobs: Vec<CoveredJob>,
}

impl Redeem {
    /// The channel; `home` is the settlement's namespace.
    pub fn full_name(&self, home: &str) -> FullName {
        FullName::new(self.namespace.as_deref().unwrap_or(home), &self.channel)
    }
}

/// A job whose cost a claim covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CoveredJob {
    /// Name of the job.
    #[schemars(length(max = 253))]
    pub name: String,
    /// UID of the job.
    #[schemars(length(max = 36))]
    pub uid: String,
    /// Its cost.
    pub nano: NanoTon,
}

/// Where a settlement stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettlementStatus {
    /// `Confirmed` and `Failed`.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// For people; programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SettlementState>,
    /// How often the bytes were sent.
    #[serde(default)]
    pub attempts: u32,
    /// Hash of the wallet's transaction, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub transaction: Option<String>,
    /// What the message cost the wallet with all its legs: its own transaction, what the channels' transactions used up
    /// of the value that went along, and the transactions that took in the rest.
    #[serde(default)]
    pub fee_nano: NanoTon,
    /// Paid by the channels beyond what was redeemed before.
    #[serde(default)]
    pub confirmed_nano: NanoTon,
    /// Where it failed although the wallet took it: the channels that do not show their claim, each by its name, or as
    /// `namespace/name` where it is of another namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), inner(length(max = 317)))]
    pub unpaid: Vec<String>,
}

/// Where a settlement stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum SettlementState {
    /// Stored, not yet sent.
    Signed,
    /// Sent; unknown until the chain shows it or it expires.
    Broadcast,
    /// Every channel shows its claim.
    Confirmed,
    /// It cannot take effect any more.
    Failed,
}
