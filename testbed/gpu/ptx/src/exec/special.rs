//! Special registers (PTX ISA 10): what a thread can ask about itself and its launch.

use super::block::Core;
use super::mask::lanes;
use super::warp::Warp;
use crate::program::{Register, Special};

impl Core<'_> {
    /// A special register.
    pub fn special(&self, warp: &mut Warp, to: Register, which: Special, mask: u32) {
        let launch = self.machine.launch;
        let [x, y, z] = launch.block;
        let axis = |values: [u32; 3], axis: u8| u64::from(values[usize::from(axis)]);
        let nanoseconds = || u64::try_from(self.machine.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let multiprocessors = u64::from(self.machine.limits.multiprocessors.max(1));
        for lane in lanes(mask) {
            let thread = warp.number * 32 + lane as u32;
            let value = match which {
                Special::Tid(0) => u64::from(thread % x),
                Special::Tid(1) => u64::from(thread / x % y),
                Special::Tid(_) => u64::from(thread / (x * y)),
                Special::Ntid(a) => axis([x, y, z], a),
                Special::Ctaid(a) => axis(self.block, a),
                Special::Nctaid(a) => axis(launch.grid, a),
                Special::Laneid => lane as u64,
                Special::Warpid => u64::from(warp.number),
                Special::Nwarpid => u64::from((x * y * z).div_ceil(32)),
                Special::Smid => self.number % multiprocessors,
                Special::Nsmid => multiprocessors,
                Special::Gridid | Special::Zero => 0,
                Special::One => 1,
                Special::LanemaskEq => 1 << lane,
                Special::LanemaskLe => (2 << lane) - 1,
                Special::LanemaskLt => (1 << lane) - 1,
                Special::LanemaskGe => 0xffff_ffff << lane & 0xffff_ffff,
                Special::LanemaskGt => 0xffff_fffe << lane & 0xffff_ffff,
                Special::Clock => warp.steps,
                Special::ClockHi => warp.steps >> 32,
                Special::Globaltimer | Special::GlobaltimerLo => nanoseconds(),
                Special::GlobaltimerHi => nanoseconds() >> 32,
                Special::DynamicSharedSize => u64::from(launch.shared_bytes),
                Special::TotalSharedSize => u64::from(self.machine.shared_bytes()),
            };
            warp.registers.set_lane(to, lane, value);
        }
    }
}
