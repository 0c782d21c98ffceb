//! What the driver says of a card beside what computing needs.

use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE,
};

use super::{Device, driver_version};

impl Device {
    /// The newest CUDA that the driver knows, major and minor.
    pub fn driver(&self) -> Option<(i32, i32)> {
        let version = driver_version().ok()?;
        Some((version / 1_000, version % 1_000 / 10))
    }

    /// The card's place on the PCI bus, in small letters, as the operating system writes it.
    pub fn bus(&self) -> Option<String> {
        super::bus(&self.context)
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
