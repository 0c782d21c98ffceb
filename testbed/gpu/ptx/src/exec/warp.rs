//! A warp: its registers, its groups, its local memory and its copies under way.

use super::copy::pending::Copies;
use super::group::Groups;
use super::local::Local;
use super::registers::Registers;

/// The state of a warp.
#[derive(Debug)]
pub struct Warp {
    /// Its number in the block.
    pub number: u32,
    /// The lanes it began with.
    pub lanes: u32,
    /// Registers.
    pub registers: Registers,
    /// Groups of lanes.
    pub groups: Groups,
    /// Local memory of all lanes.
    pub local: Local,
    /// Copies by `cp.async`.
    pub copies: Copies,
    /// Steps so far, which is also the time that `%clock` tells.
    pub steps: u64,
    /// Steps since its lanes last went all together.
    pub divided: u64,
}

impl Warp {
    /// A warp without a kernel.
    pub fn new() -> Self {
        Self {
            number: 0,
            lanes: 0,
            registers: Registers::new(),
            groups: Groups::default(),
            local: Local::default(),
            copies: Copies::default(),
            steps: 0,
            divided: 0,
        }
    }
}
