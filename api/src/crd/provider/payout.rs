//! Where an offer's earnings go, when they are settled, and what they come to.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::DURATION_PATTERN;
use crate::{crd::LocalReference, units::NanoTon};

/// Where earnings go and how they are settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payout {
    /// TON network by the name that the operator's configuration gives it, e.g. `mainnet`.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub network: String,
    /// Where channels pay. With `claimer` it may be any address, best one whose key lies in no cluster; without, it is
    /// the payout wallet (v5r1), which also claims.
    #[schemars(length(min = 48, max = 67))]
    pub address: String,
    /// Address of a wallet (v5r1) that claims in the place of `address`: it signs settlements and the agents'
    /// certificates and pays the fees, and claims pay it nothing. Channels name both: one that was opened before keeps
    /// the wallet that it named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 48, max = 67))]
    pub claimer: Option<String>,
    /// Secret whose key `key` holds the 24 words, or the 64 hexadecimal digits, of the wallet that claims: that of
    /// `claimer`, or of `address` where there is none. Keep little in it.
    pub wallet_secret_ref: LocalReference,
    /// What the claimer's wallet keeps for fees: what lies in it above this, by 0.1 TON or more, is swept to `address`.
    /// The default lets one message claim from a hundred channels, each of which sends back most of the 0.01 TON that
    /// go along.
    #[serde(default = "default_fee_reserve")]
    #[schemars(extend("minimum" = 100_000_000))]
    pub fee_reserve_nano: NanoTon,
    /// When usage is settled.
    #[serde(default)]
    pub settle: SettlePolicy,
    /// Shortest challenge window of a channel that is worked for, as a Go duration of at least 5m: the time that a
    /// payer's close leaves to notice it and to redeem, an outage of the cluster included.
    #[serde(default = "default_hour")]
    #[schemars(length(min = 1, max = 16), regex(pattern = DURATION_PATTERN))]
    pub min_challenge: String,
    /// How long a voucher must still be valid for new work, as a Go duration of at least 5m. Each voucher that runs out
    /// has its claim made early, whatever the fee.
    #[serde(default = "default_hour")]
    #[schemars(length(min = 1, max = 16), regex(pattern = DURATION_PATTERN))]
    pub min_voucher_validity: String,
    /// The provider's word on single channels, which payers cannot give.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub rulings: Vec<Ruling>,
}

impl Payout {
    /// Address of the wallet that signs for the provider.
    pub fn signer(&self) -> &str {
        self.claimer.as_deref().unwrap_or(&self.address)
    }
}

/// The provider's word on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ruling {
    /// UID of the `PaymentChannel`.
    #[schemars(length(min = 1, max = 36))]
    pub uid: String,
    /// Lets the channel go when it is deleted, at once and with everything that it owes.
    #[serde(default)]
    pub write_off: bool,
    /// Takes what its contract shows as redeemed, up to this much, as paid on account of work that this ledger does not
    /// know. Ends `LedgerBehind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_nano: Option<NanoTon>,
    /// What receipts prove of the work that the ledger lost; `kubectl cocoon channel rebuild` proves and writes it.
    /// Ends `LedgerBehind` where it explains what the contract shows as redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
}

/// What receipts prove of the work that a ledger lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rebuilt {
    /// What the contract showed as redeemed when it was proven: what is above is not explained by it.
    pub redeemed_nano: NanoTon,
    /// What the receipts of jobs add up to that handed over all their usage, as their statuses say.
    #[serde(default)]
    pub finished_nano: NanoTon,
    /// What the receipts of jobs that are gone add up to.
    #[serde(default)]
    pub gone_nano: NanoTon,
    /// What the receipts of jobs that have not ended add up to, beyond what the ledger counts of them and within their
    /// budgets.
    #[serde(default)]
    pub open_nano: NanoTon,
}

fn default_fee_reserve() -> NanoTon {
    NanoTon::from_nano(1_100_000_000).expect("1.1 TON is in range")
}
fn default_hour() -> String {
    "1h".into()
}

/// When usage is settled: as soon as either the threshold or the age is reached, while the fee stays small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettlePolicy {
    /// Settle once this much is metered and not yet on chain, over all channels.
    #[serde(default = "default_threshold")]
    pub threshold_nano: NanoTon,
    /// Settle once the oldest metered amount is this old, as a Go duration.
    #[serde(default = "default_max_age")]
    #[schemars(length(min = 1, max = 16), regex(pattern = DURATION_PATTERN))]
    pub max_age: String,
    /// The most that fees may take of an amount, as a decimal between 0 and 1; channels below wait.
    #[serde(default = "default_fee_ratio")]
    #[schemars(length(max = 8), regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"))]
    pub max_fee_ratio: String,
}

fn default_threshold() -> NanoTon {
    NanoTon::from_nano(1_000_000_000).expect("one TON is in range")
}
fn default_max_age() -> String {
    "24h".into()
}
fn default_fee_ratio() -> String {
    "0.01".into()
}

impl Default for SettlePolicy {
    fn default() -> Self {
        Self {
            threshold_nano: default_threshold(),
            max_age: default_max_age(),
            max_fee_ratio: default_fee_ratio(),
        }
    }
}

/// Money of an offer, over all its channels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Earnings {
    /// Metered so far, in nanoTON.
    pub accrued_nano: NanoTon,
    /// In settlements that are signed or sent.
    pub submitted_nano: NanoTon,
    /// Shown by the channels' getters.
    pub confirmed_nano: NanoTon,
    /// `confirmedNano` in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub confirmed: String,
    /// `accruedNano` less `confirmedNano`, in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub pending: String,
    /// Confirmed by channels that are gone; part of the other figures.
    #[serde(default)]
    pub closed_channels_nano: NanoTon,
    /// Hash of the wallet's last transaction that redeemed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_transaction: Option<String>,
    /// When it was confirmed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub last_settled_at: Option<String>,
}
