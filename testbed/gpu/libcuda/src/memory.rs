//! What is allocated, on cards and on the host, and who it belongs to.
//!
//! Addresses are unified: one map holds all that this process allocated, and an address says where its bytes lie. Page-
//! locked and managed memory lies at one address for host and cards; registered memory has a second one for the cards.

pub mod copy;
pub mod mirror;
pub mod pool;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::abi::host::HostBlock;
use crate::device::Device;
use crate::error::{Code, Result};
use crate::log;
use copy::Place;
use pool::Pool;

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    /// Where it begins for the cards.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// The context that made it.
    pub context: u64,
    /// The card of that context.
    pub device: Arc<Device>,
    /// A number that no other allocation of this process has.
    pub id: u64,
    /// Where its bytes lie.
    pub kind: Kind,
}

/// Where an allocation's bytes lie.
#[derive(Debug)]
pub enum Kind {
    /// In the card's memory.
    Device,
    /// In the card's memory, taken from this pool, which has this handle.
    Pool(Arc<Pool>, u64),
    /// In the card's memory, a variable of a module: it goes with the module.
    Variable,
    /// On the host, for both sides to use.
    Managed(HostBlock),
    /// On the host, page-locked, with the flags of `cuMemHostAlloc`.
    Pinned(HostBlock, u32),
    /// On the host at this address, registered with the flags of `cuMemHostRegister`.
    Registered(usize, u32),
}

impl Allocation {
    /// Where its bytes lie on the host, if they do.
    pub fn host(&self) -> Option<usize> {
        match &self.kind {
            Kind::Device | Kind::Pool(..) | Kind::Variable => None,
            Kind::Managed(block) | Kind::Pinned(block, _) => Some(block.address()),
            Kind::Registered(address, _) => Some(*address),
        }
    }

    /// Whether `bytes` bytes from an address lie within it.
    fn covers(&self, address: u64, bytes: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|offset| offset <= self.size && bytes <= self.size - offset)
    }
}

/// All allocations of the process, by address.
#[derive(Debug)]
pub struct Allocations {
    /// The cards of the process, all of which reach the host's memory.
    devices: Vec<Arc<Device>>,
    live: RwLock<BTreeMap<u64, Arc<Allocation>>>,
    /// Those of `live` that lie on the host, which every launch looks through.
    hosts: RwLock<Vec<Arc<Allocation>>>,
    ids: AtomicU64,
    /// Where the next alias of registered memory begins.
    aliases: AtomicU64,
}

/// Where aliases of registered memory begin: above everything that is allocated, below the windows of PTX.
const ALIASES: u64 = 0x6800_0000_0000;

impl Allocations {
    /// Nothing is allocated on these cards or for them.
    pub fn new(devices: Vec<Arc<Device>>) -> Self {
        Self {
            devices,
            live: RwLock::default(),
            hosts: RwLock::default(),
            ids: AtomicU64::new(0),
            aliases: AtomicU64::new(0),
        }
    }

    /// Allocates on a card, from a pool if one is named.
    pub fn on_device(
        &self,
        context: u64,
        device: &Arc<Device>,
        size: u64,
        kind: Kind,
    ) -> Result<Arc<Allocation>> {
        if size == 0 {
            return Err(Code::INVALID_VALUE);
        }
        device.take(size)?;
        let Ok(address) = device.memory.allocate(size) else {
            device.give(size);
            return Err(Code::OUT_OF_MEMORY);
        };
        Ok(self.add(address, size, context, device, kind))
    }

    /// Makes host memory reachable for all cards.
    pub fn on_host(
        &self,
        context: u64,
        device: &Arc<Device>,
        size: u64,
        kind: Kind,
    ) -> Result<Arc<Allocation>> {
        let address = match &kind {
            Kind::Managed(block) | Kind::Pinned(block, _) => block.address() as u64,
            _ => {
                ALIASES
                    + self
                        .aliases
                        .fetch_add(size.next_multiple_of(1 << 20) + (1 << 20), Ordering::Relaxed)
            }
        };
        for card in &self.devices {
            if !card.memory.map(address, size) {
                return Err(Code::OUT_OF_MEMORY);
            }
        }
        Ok(self.add(address, size, context, device, kind))
    }

    /// Notes an allocation that exists in the card's memory already.
    pub fn add(
        &self,
        address: u64,
        size: u64,
        context: u64,
        device: &Arc<Device>,
        kind: Kind,
    ) -> Arc<Allocation> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let made = Arc::new(Allocation {
            address,
            size,
            context,
            device: Arc::clone(device),
            id,
            kind,
        });
        self.write().insert(address, Arc::clone(&made));
        if made.host().is_some() {
            let mut hosts = self
                .hosts
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            hosts.push(Arc::clone(&made));
        }
        made
    }

    /// The allocation that an address lies in, which may be a host address.
    pub fn holder(&self, address: u64) -> Option<Arc<Allocation>> {
        let live = self.read();
        if let Some((_, found)) = live.range(..=address).next_back()
            && found.covers(address, 1)
        {
            return Some(Arc::clone(found));
        }
        drop(live);
        let registered = |found: &Allocation| match found.kind {
            Kind::Registered(host, _) => address
                .checked_sub(host as u64)
                .is_some_and(|offset| offset < found.size),
            _ => false,
        };
        self.on_hosts(registered).pop()
    }

    /// Where `bytes` bytes from a device address lie. `what` says what they are wanted for.
    pub fn place(&self, address: u64, bytes: u64, what: &str) -> Result<Place> {
        let holder = self
            .read()
            .range(..=address)
            .next_back()
            .map(|(_, found)| Arc::clone(found));
        if let Some(found) = holder.filter(|found| found.covers(address, bytes)) {
            return Ok(match found.host() {
                None => Place::Device(Arc::clone(&found.device), address),
                Some(host) => Place::Host(host + usize::try_from(address - found.address).unwrap_or(0)),
            });
        }
        Err(log::refuse(
            Code::INVALID_VALUE,
            &format!("{what}: {}", self.astray(address, bytes)),
        ))
    }

    /// What is wrong with a range that no allocation holds.
    fn astray(&self, address: u64, bytes: u64) -> String {
        if let Some(found) = self.holder(address) {
            let (start, size) = (found.address, found.size);
            return format!(
                "{bytes} bytes at {address:#x} reach beyond the {size} bytes allocated at {start:#x}"
            );
        }
        match self
            .devices
            .iter()
            .find_map(|card| card.memory.is_written(address, 1).err().filter(is_freed))
        {
            Some(_) => format!("{bytes} bytes at {address:#x} lie in memory that was freed"),
            None => format!("{bytes} bytes at {address:#x} are not device memory of this process"),
        }
    }

    /// Takes the allocation of that address back, if its kind is a wanted one.
    pub fn release(&self, address: u64, wanted: fn(&Kind) -> bool, what: &str) -> Result<()> {
        let found = {
            let mut live = self.write();
            match live.get(&address) {
                Some(found) if wanted(&found.kind) => live.remove(&address),
                _ => None,
            }
        };
        let Some(found) = found else {
            let astray = self.astray(address, 1);
            return Err(log::refuse(
                Code::INVALID_VALUE,
                &format!("{what}: not the start of an allocation: {astray}"),
            ));
        };
        self.dispose(&found);
        Ok(())
    }

    /// Takes back all that a context allocated.
    pub fn release_context(&self, context: u64) {
        let gone: Vec<_> = self
            .write()
            .extract_if(.., |_, found| found.context == context)
            .collect();
        for (_, found) in gone {
            self.dispose(&found);
        }
    }

    /// Gives an allocation's bytes back to where they came from.
    fn dispose(&self, gone: &Allocation) {
        if gone.host().is_some() {
            let mut hosts = self
                .hosts
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            hosts.retain(|found| found.id != gone.id);
            drop(hosts);
            for card in &self.devices {
                card.memory.unmap(gone.address);
            }
            return;
        }
        for card in self
            .devices
            .iter()
            .filter(|card| card.ordinal != gone.device.ordinal)
        {
            card.memory.unmap(gone.address);
        }
        if let Err(problem) = gone.device.memory.free(gone.address) {
            log::say(&format!(
                "memory at {:#x} was not there to be freed: {problem}",
                gone.address
            ));
        }
        gone.device.give(gone.size);
        if let Kind::Pool(pool, _) = &gone.kind {
            pool.gave(gone.size);
        }
    }

    /// The allocations on the host that a condition holds for.
    pub fn on_hosts(&self, mut wanted: impl FnMut(&Allocation) -> bool) -> Vec<Arc<Allocation>> {
        let hosts = self
            .hosts
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        hosts.iter().filter(|found| wanted(found)).cloned().collect()
    }

    /// The allocations that a condition holds for.
    pub fn all(&self, mut wanted: impl FnMut(&Allocation) -> bool) -> Vec<Arc<Allocation>> {
        self.read()
            .values()
            .filter(|found| wanted(found))
            .cloned()
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Allocation>>> {
        self.live
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Arc<Allocation>>> {
        self.live
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn is_freed(problem: &testbed_ptx::AccessError) -> bool {
    matches!(problem, testbed_ptx::AccessError::Freed { .. })
}
