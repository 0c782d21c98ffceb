//! Access of one card's kernels to another card's memory.

use std::sync::Arc;

use super::guard::{Out, export};
use crate::context::Context;
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::memory::Allocation;

/// Lets the cards of contexts that are peers of the allocation's context use it.
pub fn lend(driver: &Driver, made: &Allocation) {
    for borrower in driver
        .contexts
        .all(|context| context.peers().contains(&made.context))
    {
        made.device.memory.lend(&borrower.device().memory, made.address);
    }
}

fn on_card(driver: &Driver, context: u64) -> Vec<Arc<Allocation>> {
    driver
        .allocations
        .all(|found| found.context == context && found.host().is_none())
}

fn peer(driver: &Driver, own: &Context, handle: u64, flags: u32) -> Result<Arc<Context>> {
    let peer = driver.context(handle)?;
    if flags != 0 {
        return Err(Code::INVALID_VALUE);
    }
    if peer.handle == own.handle {
        return Err(Code::INVALID_CONTEXT);
    }
    Ok(peer)
}

export! {
    enter cuDeviceCanAccessPeer(can: Out<i32>, device: i32, peer: i32) |driver| {
        can.wanted()?;
        can.set(i32::from(driver.device(device)?.can_access(driver.device(peer)?)))
    }

    enter cuCtxEnablePeerAccess(handle: u64, flags: u32) |driver| {
        let own = driver.current()?;
        let peer = peer(driver, &own, handle, flags)?;
        if !own.device().can_access(peer.device()) {
            return Err(Code::PEER_ACCESS_UNSUPPORTED);
        }
        let mut peers = own.peers();
        if peers.contains(&handle) {
            return Err(Code::PEER_ACCESS_ALREADY_ENABLED);
        }
        peers.push(handle);
        drop(peers);
        for found in on_card(driver, handle) {
            found.device.memory.lend(&own.device().memory, found.address);
        }
        Ok(())
    }

    enter cuCtxDisablePeerAccess(handle: u64) |driver| {
        let own = driver.current()?;
        peer(driver, &own, handle, 0)?;
        let mut peers = own.peers();
        let place = peers.iter().position(|peer| *peer == handle).ok_or(Code::PEER_ACCESS_NOT_ENABLED)?;
        peers.swap_remove(place);
        drop(peers);
        for found in on_card(driver, handle) {
            own.device().memory.unmap(found.address);
        }
        Ok(())
    }
}
