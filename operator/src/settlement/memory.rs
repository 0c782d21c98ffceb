//! What the settlement controller remembers from one reconcile to the next, and may forget without harm.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use cocoon_api::crd::{Settlement, SettlementStatus};
use cocoon_core::settlement::has_ended;
use scopeguard::ScopeGuard;

use crate::reconcile::CHAIN_LIMIT;

/// Between two looks at what a wallet holds above its reserve: nothing is lost while it lies there, and each look asks
/// the chain.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// When bytes were last sent, which provider uses which wallet, and messages that cannot be stored.
#[derive(Default)]
pub(super) struct Memory(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// When each message was last sent, by UID, in Unix seconds.
    sent: BTreeMap<String, i64>,
    /// The provider whose message from a wallet is being signed or in flight, by the wallet's address.
    wallets: BTreeMap<String, Holder>,
    /// When each provider's wallet was last looked at for what it holds above its reserve.
    looked: BTreeMap<String, Instant>,
    /// Messages of providers whose namespace is being deleted, by provider: the API server stores nothing new there.
    /// One that is forgotten with the process does no harm: claims are cumulative, the wallet takes each number once,
    /// and the channels know what was claimed.
    unstored: BTreeMap<String, Settlement>,
}

struct Holder {
    provider: String,
    /// When the holder was last reconciled.
    seen: Instant,
}

impl Holder {
    /// A holder is seen with every reconcile of its message; one that was not for longer than a reconcile can take is
    /// gone, and its message is told from another's by the wallet's number.
    fn is_gone(&self, now: Instant) -> bool {
        now.duration_since(self.seen) > CHAIN_LIMIT
    }
}

impl Memory {
    pub(super) fn sent_at(&self, uid: &str) -> Option<i64> {
        self.kept().sent.get(uid).copied()
    }

    pub(super) fn note_sent(&self, uid: String, at: i64) {
        self.kept().sent.insert(uid, at);
    }

    pub(super) fn forget_sent(&self, uid: &str) {
        self.kept().sent.remove(uid);
    }

    /// Whether the provider's wallet is to be looked at for a sweep; notes that it is.
    pub(super) fn looks_for_surplus(&self, provider: &str, now: Instant) -> bool {
        let looked = &mut self.kept().looked;
        looked.retain(|_, at| now.duration_since(*at) < SWEEP_INTERVAL);
        if looked.contains_key(provider) {
            return false;
        }
        looked.insert(provider.to_owned(), now);
        true
    }

    /// The provider's message that is not stored.
    pub(super) fn unstored(&self, provider: &str) -> Option<Settlement> {
        self.kept().unstored.get(provider).cloned()
    }

    /// Keeps a message that cannot be stored.
    pub(super) fn keep(&self, provider: String, settlement: Settlement) {
        self.kept().unstored.insert(provider, settlement);
    }

    /// Writes the status of a message that is not stored, and forgets it where it has ended. Answers whether it is one.
    pub(super) fn write_unstored(&self, settlement: &Settlement, status: &SettlementStatus) -> bool {
        let mut kept = self.kept();
        let found = kept
            .unstored
            .iter_mut()
            .find(|(_, held)| held.metadata.uid.is_some() && held.metadata.uid == settlement.metadata.uid);
        let Some((provider, held)) = found else {
            return false;
        };
        held.status = Some(status.clone());
        if has_ended(held) {
            let provider = provider.clone();
            kept.unstored.remove(&provider);
        }
        true
    }

    /// Notes that the provider's message from this wallet is in flight, or that none of its messages is.
    pub(super) fn note_flight(&self, provider: &str, wallet: Option<&str>, now: Instant) {
        let mut kept = self.kept();
        kept.wallets.retain(|_, holder| holder.provider != provider);
        if let Some(wallet) = wallet {
            let holder = Holder {
                provider: provider.to_owned(),
                seen: now,
            };
            kept.wallets.insert(wallet.to_owned(), holder);
        }
    }

    /// Takes the wallet for a message of this provider, unless another's is being signed or in flight. It is given back
    /// where the reconcile ends, however it ends, without a message that is stored.
    pub(super) fn take_wallet(
        &self,
        wallet: String,
        provider: String,
        now: Instant,
    ) -> Option<ScopeGuard<(), impl FnOnce(())>> {
        {
            let mut kept = self.kept();
            let free = kept
                .wallets
                .get(&wallet)
                .is_none_or(|holder| holder.provider == provider || holder.is_gone(now));
            if !free {
                return None;
            }
            let holder = Holder {
                provider: provider.clone(),
                seen: now,
            };
            kept.wallets.insert(wallet.clone(), holder);
        }
        Some(scopeguard::guard((), move |()| {
            let mut kept = self.kept();
            let own = |holder: &Holder| holder.provider == provider;
            if kept.wallets.get(&wallet).is_some_and(own) {
                kept.wallets.remove(&wallet);
            }
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0
            .lock()
            .expect("no thread panicked while it held the memory")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take(memory: &Memory, provider: &str, now: Instant) -> Option<ScopeGuard<(), impl FnOnce(())>> {
        memory.take_wallet("0:ab".into(), provider.into(), now)
    }

    #[test]
    fn a_wallet_signs_for_one_provider_at_a_time() {
        let (memory, now) = (Memory::default(), Instant::now());
        ScopeGuard::into_inner(take(&memory, "a", now).unwrap());
        assert!(take(&memory, "b", now).is_none());
        assert!(take(&memory, "a", now).is_some());
    }

    #[test]
    fn a_provider_that_signed_nothing_gives_the_wallet_back() {
        let (memory, now) = (Memory::default(), Instant::now());
        drop(take(&memory, "a", now).unwrap());
        assert!(take(&memory, "b", now).is_some());
    }

    #[test]
    fn a_wallet_is_free_when_its_message_has_ended() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.note_flight("a", Some("0:ab"), now);
        assert!(take(&memory, "b", now).is_none());
        memory.note_flight("a", None, now);
        assert!(take(&memory, "b", now).is_some());
    }

    #[test]
    fn a_wallet_is_looked_at_for_its_surplus_once_in_a_while() {
        let (memory, now) = (Memory::default(), Instant::now());
        assert!(memory.looks_for_surplus("a", now));
        assert!(!memory.looks_for_surplus("a", now + SWEEP_INTERVAL / 2));
        assert!(memory.looks_for_surplus("b", now + SWEEP_INTERVAL / 2));
        assert!(memory.looks_for_surplus("a", now + SWEEP_INTERVAL));
    }

    #[test]
    fn a_provider_that_is_gone_does_not_keep_a_wallet() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.note_flight("a", Some("0:ab"), now);
        assert!(take(&memory, "b", now + CHAIN_LIMIT).is_none());
        assert!(take(&memory, "b", now + CHAIN_LIMIT + Duration::from_secs(1)).is_some());
    }
}
