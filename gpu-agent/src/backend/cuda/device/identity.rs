//! What the driver says of a card beside what computing needs.

use std::ffi::{CStr, c_char};

use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
};
use cudarc::driver::{CudaContext, sys};

use super::{Device, driver_version};

/// Bytes of a place on the bus with its final zero, `0000:01:00.0`; the driver's documentation asks for 13 at least.
const BUS_BYTES: usize = 32;

impl Device {
    /// The newest CUDA that the driver knows, major and minor.
    pub fn driver(&self) -> Option<(i32, i32)> {
        let version = driver_version().ok()?;
        Some((version / 1_000, version % 1_000 / 10))
    }

    /// The card's place on the PCI bus, in small letters, as the operating system writes it.
    pub fn bus(&self) -> Option<String> {
        bus(&self.context)
    }

    /// Bytes a second that the memory's clock and bus allow: two transfers a clock, a byte for eight bits.
    pub fn theoretical_bandwidth(&self) -> Option<f64> {
        let kilohertz = self
            .context
            .attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)
            .ok()?;
        let bits = self
            .context
            .attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)
            .ok()?;
        let bandwidth = f64::from(kilohertz) * 1e3 * 2.0 * f64::from(bits) / 8.0;
        (bandwidth > 0.0).then_some(bandwidth)
    }
}

/// As [`Device::bus`].
pub(super) fn bus(context: &CudaContext) -> Option<String> {
    let mut text: [c_char; BUS_BYTES] = [0; BUS_BYTES];
    let length = i32::try_from(BUS_BYTES).ok()?;
    // SAFETY: the driver writes at most `length` bytes, the last of them zero, into an array that has as many.
    unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), length, context.cu_device()) }
        .result()
        .ok()?;
    // SAFETY: the array was zeros, and the driver ends what it writes with one.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    Some(text.to_str().ok()?.to_ascii_lowercase())
}
