//! How many blocks of a kernel a multiprocessor holds, by the rules of the CUDA C++ Programming Guide and the occupancy
//! calculator: threads in whole warps, registers in steps of 256 a warp, shared memory with what the driver reserves.

use crate::config::presets::limits;
use crate::module::Function;

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65_536;
/// Registers of a warp come in steps of this many.
const REGISTER_STEP: u32 = 256;
/// Shared memory comes in steps of this many bytes.
const SHARED_STEP: u32 = 128;

/// Blocks that one multiprocessor holds at once.
pub fn blocks(function: &Function, threads: u32, dynamic_shared: u32) -> u32 {
    if threads == 0 || threads > function.max_threads() {
        return 0;
    }
    let of_card = limits(function.module.device.card.capability);
    let warps = threads.div_ceil(32);
    let by_threads = of_card.threads_per_sm / 32 / warps;
    let registers = (function.registers() * 32).next_multiple_of(REGISTER_STEP) * warps;
    // Registers are counted as the PTX text names them, so a kernel that a compiler would fit is never called too
    // large.
    let by_registers = (REGISTERS / registers.max(1)).max(1);
    let shared = function
        .kernel()
        .shared_bytes()
        .saturating_add(dynamic_shared)
        .saturating_add(of_card.shared_reserved);
    let by_shared = match shared.checked_next_multiple_of(SHARED_STEP) {
        Some(0) => u32::MAX,
        Some(bytes) => of_card.shared_per_sm / bytes,
        None => 0,
    };
    of_card
        .blocks_per_sm
        .min(by_threads)
        .min(by_registers)
        .min(by_shared)
}

/// The block, in whole warps up to `limit`, that fills a multiprocessor best, and the blocks that then fill the card.
/// `shared` gives the dynamic shared memory of a block of that many threads.
pub fn suggest(function: &Function, limit: u32, mut shared: impl FnMut(u32) -> u32) -> (u32, u32) {
    let most = if limit == 0 {
        function.max_threads()
    } else {
        limit.min(function.max_threads())
    };
    let mut best = (0, 0, 0);
    for threads in (1..=most / 32)
        .rev()
        .map(|warps| warps * 32)
        .chain((most < 32).then_some(most))
    {
        let blocks = blocks(function, threads, shared(threads));
        if blocks * threads > best.0 {
            best = (blocks * threads, threads, blocks);
        }
    }
    (best.2 * function.module.device.card.sms, best.1)
}

/// Dynamic shared memory that a block may have so that `blocks` of them fit on a multiprocessor.
pub fn available_shared(function: &Function, blocks: u32) -> u32 {
    let of_card = limits(function.module.device.card.capability);
    let fixed = function.kernel().shared_bytes() + of_card.shared_reserved;
    let each = of_card.shared_per_sm / blocks.max(1) / SHARED_STEP * SHARED_STEP;
    let most = of_card
        .shared_opt_in
        .saturating_sub(function.kernel().shared_bytes());
    each.saturating_sub(fixed).min(most)
}
