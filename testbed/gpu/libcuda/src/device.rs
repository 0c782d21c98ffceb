//! A card: what it is, its memory, how much of that is taken, and whether it still works.

pub mod attributes;
pub mod clock;
pub mod fate;
pub mod share;

use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use testbed_ptx::{Capability, Limits, Memory};

use crate::config::cards::Card;
use crate::config::{Config, visible};
use crate::error::{Code, Result};
use crate::log;
use clock::Clock;
use fate::Fate;
use share::Share;

/// Where addresses of host memory that kernels can use begin; the cards share what lies below.
pub const HOST_WINDOW: u64 = 0x5000_0000_0000;

/// Allocations are accounted in steps of this many bytes, as the driver's own granularity for small ones is.
pub const GRANULE: u64 = 512;

/// One visible card.
#[derive(Debug)]
pub struct Device {
    /// Its place among the visible cards: the `CUdevice`.
    pub ordinal: i32,
    /// What it is.
    pub card: Card,
    /// Addresses that it gives out.
    pub addresses: Range<u64>,
    /// What lies in its memory, by address.
    pub memory: Memory,
    /// What a launch may ask for.
    pub limits: Limits,
    /// Its primary context.
    pub primary: Mutex<Primary>,
    /// The pool that `cuMemAllocAsync` takes from.
    pub pool: AtomicU64,
    /// The pool that it took from at first.
    pub default_pool: OnceLock<u64>,
    /// How long it would have been at work.
    pub clock: Clock,
    share: Share,
    fate: Fate,
    compute_mode: AtomicI32,
}

/// The primary context of a card: a handle while somebody retains it.
#[derive(Debug, Default)]
pub struct Primary {
    /// How often it was retained and not released.
    pub count: u32,
    /// The context's handle, 0 if it is not active.
    pub handle: u64,
    /// Flags for the next activation.
    pub flags: u32,
}

impl Device {
    /// The card of that place among `config.cards`.
    ///
    /// # Errors
    ///
    /// A sentence, if the runtime folder cannot be used.
    pub fn new(config: &Config, place: usize) -> std::result::Result<Self, String> {
        let card = config.cards[place].clone();
        let dir = config.runtime_dir.join(visible::dashed(card.uuid));
        let share = Share::join(&dir, card.memory).map_err(|problem| {
            format!(
                "cannot share {}'s memory through {}: {problem}",
                card.name,
                dir.display()
            )
        })?;
        let (major, minor) = card.capability;
        let mut limits = Limits::of(Capability { major, minor });
        limits.multiprocessors = card.sms;
        let span = (HOST_WINDOW - testbed_ptx::GLOBAL_BASE) / config.cards.len() as u64;
        let base = testbed_ptx::GLOBAL_BASE + (span * place as u64).next_multiple_of(testbed_ptx::ALIGNMENT);
        Ok(Self {
            ordinal: i32::try_from(place).map_err(|_| "there are too many cards".to_owned())?,
            addresses: base..base + span,
            memory: Memory::within(base..base + span, card.memory),
            limits,
            primary: Mutex::default(),
            pool: AtomicU64::new(0),
            default_pool: OnceLock::new(),
            clock: Clock::default(),
            share,
            fate: Fate::new(),
            compute_mode: AtomicI32::new(0),
            card,
        })
    }

    /// The compute capability.
    pub fn capability(&self) -> Capability {
        Capability {
            major: self.card.capability.0,
            minor: self.card.capability.1,
        }
    }

    /// Whether it still works, and the error that it gives for ever if not.
    pub fn check(&self) -> Result<()> {
        self.fate.check(&self.card)
    }

    /// Counts a launch that has completed.
    pub fn launched(&self) {
        self.fate.launched();
    }

    /// Takes memory from the card; `CUDA_ERROR_OUT_OF_MEMORY` if all processes together would exceed it.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let bytes = bytes
            .checked_next_multiple_of(GRANULE)
            .ok_or(Code::OUT_OF_MEMORY)?;
        match self.share.take(bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Code::OUT_OF_MEMORY),
            Err(problem) => Err(self.unshared(&problem)),
        }
    }

    /// Gives memory back to the card.
    pub fn give(&self, bytes: u64) {
        if let Err(problem) = self.share.give(bytes.next_multiple_of(GRANULE)) {
            self.unshared(&problem);
        }
    }

    /// Bytes that no process holds.
    pub fn free(&self) -> Result<u64> {
        self.share.free().map_err(|problem| self.unshared(&problem))
    }

    fn unshared(&self, problem: &std::io::Error) -> Code {
        log::refuse(
            Code::OPERATING_SYSTEM,
            &format!("cannot account {}'s memory: {problem}", self.card.name),
        )
    }

    /// The primary context's state.
    pub fn primary(&self) -> std::sync::MutexGuard<'_, Primary> {
        self.primary
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a kernel of this card may use the other's memory: cards of data centres can, others cannot.
    pub fn can_access(&self, other: &Self) -> bool {
        self.ordinal != other.ordinal && [self, other].iter().all(|card| card.card.preset == "h100")
    }

    /// `CU_COMPUTEMODE_DEFAULT`, unless an administrator changes it, which nobody can here.
    pub fn compute_mode(&self) -> i32 {
        self.compute_mode.load(Ordering::Relaxed)
    }
}
