//! What `cuDeviceGetAttribute` answers. Numbers are those of `CUdevice_attribute`.
//!
//! Limits that depend on the architecture follow the CUDA C++ Programming Guide, "Compute Capabilities". What a card
//! has and this library has not (textures, virtual memory management, clusters, cooperation over several cards, memory
//! that host and card use at one time) is answered with 0, so that programs take their other path.

use super::Device;
use crate::config::presets::{SHARED_PER_BLOCK, limits};
use crate::error::{Code, Result};

/// The last attribute that the documentation of 12.2 knows.
const LAST: i32 = 134;

impl Device {
    /// The value of an attribute; `CUDA_ERROR_INVALID_VALUE` for a number that is none.
    pub fn attribute(&self, attribute: i32) -> Result<i32> {
        if !(1..=LAST).contains(&attribute) {
            return Err(Code::INVALID_VALUE);
        }
        let value = self
            .launch_attribute(attribute)
            .or_else(|| self.card_attribute(attribute))
            .unwrap_or(0);
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }

    /// Limits of launches and blocks.
    fn launch_attribute(&self, attribute: i32) -> Option<u64> {
        let of_capability = limits(self.card.capability);
        let most = &self.limits;
        Some(match attribute {
            1 => most.threads.into(),
            2..=4 => most.block[index(attribute, 2)].into(),
            5..=7 => most.grid[index(attribute, 5)].into(),
            8 => SHARED_PER_BLOCK.into(),
            9 | 12 | 82 => 65_536,
            10 => 32,
            11 => 0x7fff_ffff,
            39 => of_capability.threads_per_sm.into(),
            81 => of_capability.shared_per_sm.into(),
            97 => of_capability.shared_opt_in.into(),
            106 => of_capability.blocks_per_sm.into(),
            111 => of_capability.shared_reserved.into(),
            _ => return None,
        })
    }

    /// What the card is and can.
    fn card_attribute(&self, attribute: i32) -> Option<u64> {
        let card = &self.card;
        let ampere = card.capability.0 >= 8;
        Some(match attribute {
            13 => u64::from(card.clock_mhz) * 1_000,
            14 => 512, // texture alignment
            16 => card.sms.into(),
            20 => self.compute_mode().try_into().unwrap_or(0),
            32 => card.ecc.into(),
            33 => card.bus.into(),
            36 => u64::from(card.memory_mhz) * 1_000,
            37 => card.bus_bits.into(),
            38 => u64::from(card.l2_kib) * 1_024,
            40 => 2, // copy engines
            75 => card.capability.0.into(),
            76 => card.capability.1.into(),
            87 => {
                if card.preset == "h100" || card.preset == "cmp-170hx" {
                    2
                } else {
                    32
                }
            }
            108 if ampere => u64::from(card.l2_kib) * 1_024 * 3 / 4,
            109 if ampere => 128 << 20, // access policy window
            // Overlap of copies, mapped host memory, concurrent kernels, one address space, stream priorities, caches,
            // managed memory, preemption, cooperative launch, registered host memory, memory pools, one domain of
            // memory synchronisation.
            15 | 19 | 31 | 41 | 78 | 79 | 80 | 83 | 90 | 95 | 99 | 115 | 126 => 1,
            _ => return None,
        })
    }
}

fn index(attribute: i32, first: i32) -> usize {
    usize::try_from(attribute - first).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::device::Device;
    use crate::error::Code;

    fn device(cards: &str) -> (tempfile::TempDir, Device) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().to_str().expect("a plain path").to_owned();
        let config = Config::read(|name| match name {
            "TESTBED_CUDA_DEVICES" => Some(cards.to_owned()),
            "TESTBED_CUDA_RUNTIME_DIR" => Some(path.clone()),
            _ => None,
        });
        let device = Device::new(&config.expect("valid"), 0).expect("a device");
        (dir, device)
    }

    #[test]
    fn a_3090_answers_as_one() {
        let (_dir, device) = device("rtx-3090");
        let expected = [
            (75, 8),
            (76, 6),
            (16, 82),
            (10, 32),
            (8, 49_152),
            (97, 101_376),
            (81, 102_400),
            (39, 1_536),
            (106, 16),
        ];
        for (attribute, value) in expected.into_iter().chain([
            (13, 1_695_000),
            (36, 9_751_000),
            (37, 384),
            (115, 1),
            (32, 0),
            (18, 0),
        ]) {
            assert_eq!(device.attribute(attribute), Ok(value), "attribute {attribute}");
        }
    }

    #[test]
    fn a_number_that_is_no_attribute_is_refused() {
        let (_dir, device) = device("p104-100");
        for attribute in [i32::MIN, -1, 0, 135, i32::MAX] {
            assert_eq!(device.attribute(attribute), Err(Code::INVALID_VALUE));
        }
        for attribute in 1..=134 {
            assert!(device.attribute(attribute).is_ok());
        }
    }
}
