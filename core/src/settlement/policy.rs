//! `spec.payout.settle`, as typed values.

use cocoon_api::{
    NanoTon,
    crd::provider::{Payout, Ruling, SettlePolicy},
};

use cocoon_ton::prices::ClaimedBy;

use crate::{
    duration,
    funds::{MIN_CHALLENGE_SECONDS, Terms},
};

/// Parts of one in a [`FeeRatio`]: six decimals, as many as the API takes.
const MILLION: u64 = 1_000_000;

/// What one claim costs the wallet with all its legs where the chain's prices are not known: its own transaction, the
/// channel's, and what comes back. Measured as 1,232,806 nanoTON at the prices of 2026 for a message with one claim,
/// and as a fifth more where the wallet is not the one that is paid (`operator/tests/sender.rs` holds it against this
/// figure), and rounded up. Where they are known, `cocoon_ton::Prices::redeem_fee` says it.
pub const REDEEM_FEE: NanoTon = match NanoTon::from_nano(1_500_000) {
    Ok(fee) => fee,
    Err(_) => panic!("a constant amount is out of range"),
};

/// The most that fees may take of an amount: `0..=1` in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeeRatio(u64);

impl FeeRatio {
    /// Fees may take everything.
    pub const ONE: Self = Self(MILLION);

    /// A ratio of so many millionths; none above one.
    pub const fn from_millionths(millionths: u64) -> Option<Self> {
        if millionths <= MILLION {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// Reads a decimal between 0 and 1 with at most six decimals.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return None;
        }
        let millionths: u64 = format!("{decimals:0<6}").parse().ok()?;
        let ratio = whole
            .parse::<u64>()
            .ok()?
            .checked_mul(MILLION)?
            .checked_add(millionths)?;
        (ratio <= MILLION).then_some(Self(ratio))
    }

    /// The least amount of which `fee` is at most this part; none where there is no such amount.
    pub fn least(self, fee: NanoTon) -> Option<NanoTon> {
        let parts = u128::from(fee.nano()) * u128::from(MILLION);
        let amount = (self.0 > 0).then(|| parts.div_ceil(u128::from(self.0)))?;
        NanoTon::from_nano(u64::try_from(amount).ok()?).ok()
    }

    /// Whether `fee` is at most this part of `amount`.
    pub fn allows(self, fee: NanoTon, amount: NanoTon) -> bool {
        // A 63-bit amount times a million stays below 2^83.
        u128::from(fee.nano()) * u128::from(MILLION) <= u128::from(amount.nano()) * u128::from(self.0)
    }
}

/// When usage is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Settle at this much, over all channels.
    pub threshold: NanoTon,
    /// Settle when the oldest amount is this old, in seconds.
    pub max_age: i64,
    /// Channels whose fee takes more wait.
    pub max_fee_ratio: FeeRatio,
    /// What one claim costs, at the chain's prices.
    pub redeem_fee: NanoTon,
}

impl Policy {
    /// The policy where a claim costs this much.
    #[must_use]
    pub fn at_fee(self, redeem_fee: NanoTon) -> Self {
        Self { redeem_fee, ..self }
    }
}

/// A field of `spec.payout.settle` is not what the API asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// `maxAge` is no duration up to a hundred years.
    #[error("payout.settle.maxAge: {0:?} is no duration such as 24h")]
    MaxAge(String),
    /// `maxFeeRatio` is no decimal between 0 and 1.
    #[error("payout.settle.maxFeeRatio: {0:?} is no decimal between 0 and 1")]
    MaxFeeRatio(String),
}

/// What a provider asks of channels. A field that is no duration is as if the shortest were asked for; the provider is
/// told so by its own status.
pub fn terms(payout: &Payout) -> Terms {
    let seconds = |text: &str| {
        duration::seconds(text)
            .unwrap_or_default()
            .max(i64::from(MIN_CHALLENGE_SECONDS))
    };
    Terms {
        min_challenge_seconds: u32::try_from(seconds(&payout.min_challenge)).unwrap_or(u32::MAX),
        min_voucher_seconds: seconds(&payout.min_voucher_validity),
    }
}

/// Whose messages the provider's claims are, which decides about their fee. Channels that were opened before it kept a
/// wallet apart cost a little less.
pub fn claimed_by(payout: &Payout) -> ClaimedBy {
    if payout.signer() == payout.address {
        ClaimedBy::Payee
    } else {
        ClaimedBy::Claimer
    }
}

/// The provider's word on the channel with this UID.
pub fn ruling<'a>(payout: &'a Payout, uid: &str) -> Option<&'a Ruling> {
    payout.rulings.iter().find(|ruling| ruling.uid == uid)
}

impl TryFrom<&SettlePolicy> for Policy {
    type Error = PolicyError;
    fn try_from(spec: &SettlePolicy) -> Result<Self, PolicyError> {
        let SettlePolicy {
            threshold_nano,
            max_age,
            max_fee_ratio,
        } = spec;
        Ok(Self {
            threshold: *threshold_nano,
            max_age: duration::seconds(max_age).ok_or_else(|| PolicyError::MaxAge(max_age.clone()))?,
            max_fee_ratio: FeeRatio::parse(max_fee_ratio)
                .ok_or_else(|| PolicyError::MaxFeeRatio(max_fee_ratio.clone()))?,
            redeem_fee: REDEEM_FEE,
        })
    }
}
