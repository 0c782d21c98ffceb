//! What this process has seen of each channel's contract, and when: work needs a look that is not old, and the chain's
//! clock counts where it is ahead of this process's. Nothing of it is stored, so that whoever leads next looks first.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use cocoon_api::crd::PaymentChannel;

/// The last looks, by the channel's UID.
#[derive(Debug, Default)]
pub struct Looks(Mutex<BTreeMap<String, Look>>);

/// One channel's last look at the chain.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Time of the newest block then, in Unix seconds.
    chain_time: i64,
    at: Instant,
    /// Chain time of the last look that was believed.
    believed_at: Option<i64>,
}

/// What is known of a channel by looking at its chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Chain time of the last believed look at the contract, in Unix seconds.
    pub(crate) seen_at: Option<i64>,
    /// What the chain's clock shows by now, as far as is known.
    pub(crate) chain_now: Option<i64>,
}

impl Looks {
    /// Notes a look that found the chain's time.
    pub(super) fn note(&self, channel: &PaymentChannel, chain_time: u32, believed: bool) {
        let Some(uid) = channel.metadata.uid.clone() else {
            return;
        };
        let chain_time = i64::from(chain_time);
        let mut looks = self.lock();
        let before = looks.get(&uid).and_then(|look| look.believed_at);
        looks.insert(
            uid,
            Look {
                chain_time,
                at: Instant::now(),
                believed_at: if believed { Some(chain_time) } else { before },
            },
        );
    }

    /// Forgets a channel that is gone.
    pub(super) fn forget(&self, channel: &PaymentChannel) {
        if let Some(uid) = &channel.metadata.uid {
            self.lock().remove(uid);
        }
    }

    /// What is known of a channel.
    pub(crate) fn known(&self, uid: &str) -> Known {
        self.lock().get(uid).map_or_else(Known::default, |look| {
            let passed = i64::try_from(look.at.elapsed().as_secs()).unwrap_or(i64::MAX);
            Known {
                seen_at: look.believed_at,
                chain_now: Some(look.chain_time.saturating_add(passed)),
            }
        })
    }

    /// The later of `own` and of what the chains of these channels show by now, in Unix seconds.
    pub(crate) fn later_of<'a>(
        &self,
        own: i64,
        channels: impl IntoIterator<Item = &'a PaymentChannel>,
    ) -> i64 {
        channels
            .into_iter()
            .filter_map(|channel| self.known(channel.metadata.uid.as_deref()?).chain_now)
            .fold(own, i64::max)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Look>> {
        self.0.lock().expect("no thread panicked while it held the looks")
    }
}
