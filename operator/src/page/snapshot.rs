//! What is known at one moment, and whose it is.

use std::{collections::BTreeSet, sync::Arc};

use cocoon_api::crd::{CocoonProvider, FullName, InferenceJob, PaymentChannel, Settlement};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::Store};

use super::text::plain;
use crate::watch::Watches;

/// Digits of a UID that tell an object of somebody else: of a thousand objects, the chance that two share them is one
/// in 8,000.
const UID_DIGITS: usize = 8;

/// The stores of the controllers that the page reads.
pub struct Stores {
    providers: Store<CocoonProvider>,
    jobs: Store<InferenceJob>,
    channels: Store<PaymentChannel>,
    settlements: Store<Settlement>,
}

impl Stores {
    /// Those of what is watched.
    pub fn of(watches: &Watches) -> Self {
        Self::new(
            watches.providers.reader(),
            watches.jobs.reader(),
            watches.channels.reader(),
            watches.settlements.reader(),
        )
    }

    /// These.
    pub fn new(
        providers: Store<CocoonProvider>,
        jobs: Store<InferenceJob>,
        channels: Store<PaymentChannel>,
        settlements: Store<Settlement>,
    ) -> Self {
        Self {
            providers,
            jobs,
            channels,
            settlements,
        }
    }

    /// What they hold now.
    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let mut providers = self.providers.state();
        providers.sort_by_key(|provider| FullName::of(provider.as_ref()));
        Snapshot {
            providers,
            jobs: self.jobs.state(),
            channels: self.channels.state(),
            settlements: self.settlements.state(),
            now,
        }
    }
}

/// What is known at one moment.
pub(super) struct Snapshot {
    /// Offers, by full name.
    pub(super) providers: Vec<Arc<CocoonProvider>>,
    /// Jobs, in no order.
    pub(super) jobs: Vec<Arc<InferenceJob>>,
    /// Channels, in no order.
    pub(super) channels: Vec<Arc<PaymentChannel>>,
    /// Settlements, in no order.
    pub(super) settlements: Vec<Arc<Settlement>>,
    /// When.
    pub(super) now: Timestamp,
}

/// An object as it may be called here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name where it is of a farm's namespace, and the beginning of its UID where it is a payer's.
    pub(super) name: String,
    /// Whether it is of a farm's namespace: only then are its name and what its conditions say shown.
    pub(super) is_ours: bool,
}

/// Tells farms' namespaces from payers'.
pub(super) struct Homes(BTreeSet<String>);

impl Homes {
    /// What an object may be called.
    pub(super) fn call(&self, object: &impl ResourceExt) -> Called {
        let namespace = object.namespace().unwrap_or_default();
        let is_ours = self.0.contains(&namespace);
        let name = if is_ours {
            object.name_any()
        } else {
            object
                .uid()
                .unwrap_or_default()
                .chars()
                .take(UID_DIGITS)
                .collect()
        };
        Called {
            namespace: plain(&namespace),
            name: plain(&name),
            is_ours,
        }
    }
}

impl Snapshot {
    /// Namespaces with an offer: whoever reads this page for a farm reads those anyway.
    pub(super) fn homes(&self) -> Homes {
        Homes(
            self.providers
                .iter()
                .filter_map(|provider| provider.namespace())
                .collect(),
        )
    }

    /// The models that are offered by anybody. A name that a job asks for and that is none of them is its payer's word.
    pub(super) fn models(&self) -> BTreeSet<&str> {
        let models = self.providers.iter().flat_map(|provider| &provider.spec.models);
        models.map(|offer| offer.name.as_str()).collect()
    }

    /// The offer of this name.
    pub(super) fn provider(&self, name: &FullName) -> Option<&CocoonProvider> {
        let providers = self.providers.iter().map(AsRef::as_ref);
        providers
            .into_iter()
            .find(|provider| FullName::of(*provider) == *name)
    }
}
