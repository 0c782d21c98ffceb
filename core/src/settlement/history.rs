//! What the settlements of a provider tell: where each stands, which channels did not pay lately, and how the next is
//! named.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{self, Confirmed, Reason as _, SettlementFailed},
    crd::{FullName, Settlement, settlement::SettlementState},
};

use super::decide::Setback;

/// Where a settlement stands; none before its status was first written.
pub fn state(settlement: &Settlement) -> Option<SettlementState> {
    settlement.status.as_ref().and_then(|status| status.state)
}

/// The provider whose wallet signed a settlement, which lies in its namespace.
pub fn signed_by(settlement: &Settlement) -> FullName {
    let home = settlement.metadata.namespace.as_deref().unwrap_or_default();
    FullName::new(home, &settlement.spec.provider_ref.name)
}

/// Whether a settlement is confirmed or failed.
pub fn has_ended(settlement: &Settlement) -> bool {
    matches!(
        state(settlement),
        Some(SettlementState::Confirmed | SettlementState::Failed)
    )
}

/// When a settlement ended, in Unix seconds; none while it is in flight.
pub fn ended_at(settlement: &Settlement) -> Option<i64> {
    let type_ = match state(settlement)? {
        SettlementState::Confirmed => Confirmed::TYPE,
        SettlementState::Failed => SettlementFailed::TYPE,
        SettlementState::Signed | SettlementState::Broadcast => return None,
    };
    let list = &settlement.status.as_ref()?.conditions;
    conditions::find(list, type_).map(|condition| condition.last_transition_time.0.as_second())
}

/// Claims in a row that each channel did not pay, as the kept settlements tell; by the channels' names as the
/// provider's namespace names them. Of a message with many claims only the channels count that did not show theirs.
pub fn setbacks(settlements: &[Settlement]) -> BTreeMap<String, Setback> {
    let mut ended: Vec<(i64, &Settlement)> = settlements
        .iter()
        .filter_map(|settlement| Some((ended_at(settlement)?, settlement)))
        .collect();
    ended.sort_by_key(|(at, settlement)| (*at, &settlement.metadata.name));
    let mut setbacks: BTreeMap<String, Setback> = BTreeMap::new();
    for (at, settlement) in ended {
        let home = settlement.metadata.namespace.as_deref().unwrap_or_default();
        for redeem in &settlement.spec.redeems {
            let channel = redeem.full_name(home).seen_from(home);
            if is_unpaid(settlement, &channel) {
                let setback = setbacks.entry(channel).or_default();
                *setback = Setback {
                    count: setback.count.saturating_add(1),
                    last_at: at,
                };
            } else if is_paid(settlement) {
                setbacks.remove(&channel);
            }
        }
    }
    setbacks
}

/// Whether the wallet took the message, so that the channels which are not named as unpaid have paid.
fn is_paid(settlement: &Settlement) -> bool {
    match state(settlement) {
        Some(SettlementState::Confirmed) => true,
        Some(SettlementState::Failed) => was_not_redeemed(settlement),
        Some(SettlementState::Signed | SettlementState::Broadcast) | None => false,
    }
}

fn is_unpaid(settlement: &Settlement, channel: &str) -> bool {
    let Some(status) = &settlement.status else {
        return false;
    };
    was_not_redeemed(settlement)
        && (status.unpaid.is_empty() || status.unpaid.iter().any(|name| name == channel))
}

fn was_not_redeemed(settlement: &Settlement) -> bool {
    let list = settlement
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    conditions::find(list, SettlementFailed::TYPE)
        .is_some_and(|condition| condition.reason == SettlementFailed::NotRedeemed.name())
}

/// Characters of the provider's name in a settlement's: 253 less what follows it.
const MAX_PROVIDER_CHARS: usize = 200;

/// `<provider>-<eight digits of the wallet>-<seqno>-<number>`, as a DNS subdomain. The number is one more than the
/// highest of the names that are taken: some of those between may have been removed.
pub fn next_name<'a>(
    provider: &str,
    wallet: &str,
    seqno: u32,
    taken: impl IntoIterator<Item = &'a str>,
) -> String {
    let provider: String = provider.chars().take(MAX_PROVIDER_CHARS).collect();
    let account = wallet.split_once(':').map_or(wallet, |(_, account)| account);
    let account: String = account.chars().take(8).collect();
    let prefix = format!("{}-{account}-{seqno}-", provider.trim_end_matches(['.', '-']));
    let highest = taken
        .into_iter()
        .filter_map(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok())
        .max();
    format!(
        "{prefix}{}",
        highest.map_or(0, |highest| highest.saturating_add(1))
    )
}
