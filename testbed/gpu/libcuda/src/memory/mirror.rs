//! Host memory that kernels use: what the host has written goes to the card before a launch, what the kernel has
//! written comes back after it.
//!
//! This is the rule of cards without concurrent managed access: while a kernel runs, the memory is the kernel's.
//! Managed memory always takes part. Page-locked and registered memory takes part if one of the launch's parameters
//! points into it: rings for copies are large, and few kernels read them.

use std::sync::Arc;

use super::{Allocation, Allocations, Kind};
use crate::abi::host;
use crate::device::Device;

/// Bytes that are compared at a time when results go back.
const LINE: usize = 64;

/// Host memory of one launch, with what it held before.
pub struct Mirror {
    parts: Vec<(Arc<Allocation>, Vec<u8>)>,
}

impl Mirror {
    /// Brings the host's memory to the card.
    pub fn begin(allocations: &Allocations, device: &Device, parameters: &[u8]) -> Self {
        let pointers: Vec<u64> = parameters
            .chunks_exact(8)
            .map(|word| {
                word.iter()
                    .rev()
                    .fold(0, |value, byte| value << 8 | u64::from(*byte))
            })
            .collect();
        let concerned = |found: &Allocation| match found.kind {
            Kind::Device | Kind::Pool(..) | Kind::Variable => false,
            Kind::Managed(_) => true,
            Kind::Pinned(..) | Kind::Registered(..) => {
                pointers.iter().any(|pointer| found.covers(*pointer, 1))
            }
        };
        let parts = allocations.on_hosts(concerned).into_iter().filter_map(|found| {
            let mut bytes = vec![0; usize::try_from(found.size).ok()?];
            host::read(found.host()?, &mut bytes);
            device.memory.write(found.address, &bytes).ok()?;
            Some((found, bytes))
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// Brings back what the kernel has changed. What it has not, the host may have written meanwhile.
    pub fn end(self, device: &Device) {
        for (found, before) in self.parts {
            let Some(address) = found.host() else { continue };
            let mut after = vec![0; before.len()];
            if device.memory.read(found.address, &mut after).is_err() {
                continue;
            }
            for (place, (new, old)) in after.chunks(LINE).zip(before.chunks(LINE)).enumerate() {
                if new != old {
                    host::write(address + place * LINE, new);
                }
            }
        }
    }
}
