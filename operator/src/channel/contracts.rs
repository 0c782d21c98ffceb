//! Which object holds each contract: an index over all channels that are watched, by the network's global id and the
//! parsed address, so that other spellings of an address and other names of a network are the same contract. Only
//! objects rank whose binding the payer signed: whoever merely knows an address can keep nobody from using it.
//!
//! The watch of the channel controller feeds it. What remains of races is bounded:
//! - the order is by values that the API server wrote once, so that every look at the same objects names the same
//!   holder;
//! - an object can be displaced only by one of the same second that sorts before it, or of an API server whose clock is
//!   behind. Nobody holds a contract before [`SETTLING`] has passed since it was first seen, so that the watch has
//!   shown such a one by then;
//! - where the watch is slower still, both may hold the contract until it has caught up. From then on the later one's
//!   reservations, claims and status are refused by this index, whatever its stored status says. What its jobs used
//!   until then, no more than the budgets reserved in that time, is not claimed while the contract is held, and is paid
//!   only as far as it exceeds what the holder redeemed. That is to the farm's disadvantage, never to the payer's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use cocoon_api::crd::PaymentChannel;
use cocoon_core::funds::Contender;
use cocoon_ton::{Address, Binding, Network, PublicKey, Signature};
use kube::{
    ResourceExt as _,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use crate::chain::Networks;

/// How long after it was first seen an object may hold a contract: the second within which an older one by order can
/// still be created, and half a second until the watch shows that one, which takes milliseconds.
const SETTLING: Duration = Duration::from_millis(1500);

/// Before the index has seen an object, or all objects for the first time, it is asked again after this time.
const UNSEEN_INTERVAL: Duration = Duration::from_millis(500);

/// What an object is to its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Not yet known: ask again after this time.
    Unsettled(Duration),
    /// It may be used. So may one that names no contract of a known network: nothing can be claimed with it.
    Holder,
    /// This other object holds the contract.
    HeldBy(Contender),
    /// The payer did not sign that it stands for the contract.
    Unbound,
}

/// A contract: global id of its network, and address.
type Contract = (i32, Address);
/// An object: namespace and name.
type Object = (String, String);

/// The index.
pub struct Contracts {
    networks: Arc<Networks>,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    /// Whether all objects were seen once.
    ready: bool,
    /// Objects of the listing that is under way.
    listed: Option<BTreeSet<Object>>,
    contenders: BTreeMap<Contract, BTreeSet<Contender>>,
    places: BTreeMap<Object, Place>,
}

struct Place {
    contract: Contract,
    contender: Contender,
    first_seen: Instant,
}

impl Contracts {
    /// An empty index.
    pub fn new(networks: Arc<Networks>) -> Self {
        Self {
            networks,
            index: Mutex::default(),
        }
    }

    /// Takes a change from the watch. Answers the objects of contracts that have another holder by it.
    pub(super) fn take(&self, event: &Event<PaymentChannel>) -> Vec<ObjectRef<PaymentChannel>> {
        let mut index = self.lock();
        let changed = match event {
            Event::Init => {
                index.listed = Some(BTreeSet::new());
                BTreeSet::new()
            }
            Event::InitApply(channel) => {
                if let Some(listed) = &mut index.listed {
                    listed.insert(object(channel));
                }
                index.place(object(channel), self.place(channel))
            }
            Event::Apply(channel) => index.place(object(channel), self.place(channel)),
            Event::Delete(channel) => index.remove(&object(channel)),
            Event::InitDone => index.end_listing(),
        };
        // Before the first listing is over, nobody was told of a holder.
        if !index.ready {
            return Vec::new();
        }
        changed
            .iter()
            .filter_map(|contract| index.contenders.get(contract))
            .flatten()
            .map(|contender| ObjectRef::new(&contender.name).within(&contender.namespace))
            .collect()
    }

    /// What the object is to its contract.
    pub(crate) fn tenure(&self, channel: &PaymentChannel) -> Tenure {
        let Ok(chain) = self.networks.get(&channel.spec.network) else {
            return Tenure::Holder;
        };
        let Some(Place {
            contract, contender, ..
        }) = self.place(channel)
        else {
            return if is_bound(channel, chain.network()) {
                Tenure::Holder
            } else {
                Tenure::Unbound
            };
        };
        let index = self.lock();
        let place = index
            .places
            .get(&object(channel))
            .filter(|place| place.contract == contract && place.contender == contender);
        let Some(place) = place.filter(|_| index.ready) else {
            return Tenure::Unsettled(UNSEEN_INTERVAL);
        };
        match index.holder(&contract) {
            Some(holder) if *holder != contender => Tenure::HeldBy(holder.clone()),
            _ => match SETTLING.checked_sub(place.first_seen.elapsed()) {
                Some(rest) if !rest.is_zero() => Tenure::Unsettled(rest),
                _ => Tenure::Holder,
            },
        }
    }

    /// Whether the contract is known to be another object's, or not this one's.
    pub(crate) fn is_held_by_another(&self, channel: &PaymentChannel) -> bool {
        matches!(self.tenure(channel), Tenure::HeldBy(_) | Tenure::Unbound)
    }

    /// Where the object stands; none where it names no contract of a known network, or the payer did not sign that it
    /// may.
    fn place(&self, channel: &PaymentChannel) -> Option<Place> {
        let chain = self.networks.get(&channel.spec.network).ok()?;
        let network = chain.network();
        if !is_bound(channel, network) {
            return None;
        }
        let address = Address::parse_for(network, &channel.spec.contract_address).ok()?;
        let (namespace, name) = object(channel);
        Some(Place {
            contract: (network.global_id(), address),
            contender: Contender {
                created_at: channel.metadata.creation_timestamp.as_ref()?.0,
                namespace,
                name,
            },
            first_seen: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index
            .lock()
            .expect("no thread panicked while it held the index of contracts")
    }
}

/// Whether the payer signed that this object stands for the contract.
fn is_bound(channel: &PaymentChannel, network: &Network) -> bool {
    let spec = &channel.spec;
    let holds = || {
        let signature: Signature = spec.binding.as_ref()?.parse().ok()?;
        let key: PublicKey = spec.payer_public_key.parse().ok()?;
        let binding = Binding {
            global_id: network.global_id(),
            channel: Address::parse_for(network, &spec.contract_address).ok()?,
            namespace: &channel.namespace()?,
            name: &channel.name_any(),
        };
        Some(binding.verify(&key, &signature))
    };
    holds().unwrap_or(false)
}

/// Each change answers the contracts that have another holder by it.
impl Index {
    fn holder(&self, contract: &Contract) -> Option<&Contender> {
        self.contenders.get(contract)?.first()
    }

    fn place(&mut self, object: Object, place: Option<Place>) -> BTreeSet<Contract> {
        let unchanged = match (self.places.get(&object), &place) {
            (Some(old), Some(new)) => old.contract == new.contract && old.contender == new.contender,
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            return BTreeSet::new();
        }
        let mut changed = self.remove(&object);
        if let Some(place) = place {
            let before = self.holder(&place.contract).cloned();
            let contenders = self.contenders.entry(place.contract).or_default();
            contenders.insert(place.contender.clone());
            if contenders.first() != before.as_ref() {
                changed.insert(place.contract);
            }
            self.places.insert(object, place);
        }
        changed
    }

    fn remove(&mut self, object: &Object) -> BTreeSet<Contract> {
        let Some(Place {
            contract, contender, ..
        }) = self.places.remove(object)
        else {
            return BTreeSet::new();
        };
        let held = self.holder(&contract) == Some(&contender);
        if let Some(contenders) = self.contenders.get_mut(&contract) {
            contenders.remove(&contender);
            if contenders.is_empty() {
                self.contenders.remove(&contract);
            }
        }
        if held {
            BTreeSet::from([contract])
        } else {
            BTreeSet::new()
        }
    }

    /// What the listing did not show is gone.
    fn end_listing(&mut self) -> BTreeSet<Contract> {
        self.ready = true;
        let listed = self.listed.take().unwrap_or_default();
        let gone: Vec<Object> = self
            .places
            .keys()
            .filter(|object| !listed.contains(*object))
            .cloned()
            .collect();
        gone.iter().flat_map(|object| self.remove(object)).collect()
    }
}

fn object(channel: &PaymentChannel) -> Object {
    (channel.namespace().unwrap_or_default(), channel.name_any())
}

#[cfg(test)]
mod tests;
