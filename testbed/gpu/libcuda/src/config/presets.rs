//! Cards with their published figures: NVIDIA's product pages and the CUDA C++ Programming Guide, "Compute
//! Capabilities", for limits that follow from the architecture.

/// What a preset fixes; everything can be overridden in `TESTBED_CUDA_DEVICES`.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What people write.
    pub key: &'static str,
    /// What `cuDeviceGetName` gives.
    pub name: &'static str,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sms: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Boost clock of the multiprocessors in MHz.
    pub clock_mhz: u32,
    /// Memory clock in MHz, as the driver reports it (half the data rate of GDDR6X and of HBM).
    pub memory_mhz: u32,
    /// Width of the memory bus in bits.
    pub bus_bits: u32,
    /// Second-level cache in KiB.
    pub l2_kib: u32,
    /// Generation and lanes of its PCI Express link.
    pub pcie: (u32, u32),
    /// Whether error correction is on.
    pub ecc: bool,
}

/// Limits of a compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Resident threads of one multiprocessor.
    pub threads_per_sm: u32,
    /// Resident blocks of one multiprocessor.
    pub blocks_per_sm: u32,
    /// Shared memory of one multiprocessor in bytes.
    pub shared_per_sm: u32,
    /// Shared memory that one block can opt in to, in bytes.
    pub shared_opt_in: u32,
    /// What the driver keeps of a block's shared memory, in bytes.
    pub shared_reserved: u32,
}

/// Shared memory that every block can have without opting in, in bytes.
pub const SHARED_PER_BLOCK: u32 = 48 * 1024;

/// The cards that have a name here.
pub const PRESETS: &[Preset] = &[
    Preset {
        key: "rtx-3090",
        name: "NVIDIA GeForce RTX 3090",
        capability: (8, 6),
        sms: 82,
        memory_mib: 24_576,
        clock_mhz: 1_695,
        memory_mhz: 9_751,
        bus_bits: 384,
        l2_kib: 6_144,
        pcie: (4, 16),
        ecc: false,
    },
    Preset {
        key: "rtx-4090",
        name: "NVIDIA GeForce RTX 4090",
        capability: (8, 9),
        sms: 128,
        memory_mib: 24_576,
        clock_mhz: 2_520,
        memory_mhz: 10_501,
        bus_bits: 384,
        l2_kib: 73_728,
        pcie: (4, 16),
        ecc: false,
    },
    Preset {
        key: "h100",
        name: "NVIDIA H100 80GB HBM3",
        capability: (9, 0),
        sms: 132,
        memory_mib: 81_920,
        clock_mhz: 1_980,
        memory_mhz: 2_619,
        bus_bits: 5_120,
        l2_kib: 51_200,
        pcie: (5, 16),
        ecc: true,
    },
    Preset {
        key: "cmp-50hx",
        name: "NVIDIA CMP 50HX",
        capability: (7, 5),
        sms: 56,
        memory_mib: 10_240,
        clock_mhz: 1_545,
        memory_mhz: 7_001,
        bus_bits: 320,
        l2_kib: 5_120,
        pcie: (1, 4),
        ecc: false,
    },
    Preset {
        key: "cmp-90hx",
        name: "NVIDIA CMP 90HX",
        capability: (8, 6),
        sms: 50,
        memory_mib: 10_240,
        clock_mhz: 1_710,
        memory_mhz: 9_501,
        bus_bits: 320,
        l2_kib: 5_120,
        pcie: (1, 4),
        ecc: false,
    },
    Preset {
        key: "cmp-170hx",
        name: "NVIDIA CMP 170HX",
        capability: (8, 0),
        sms: 70,
        memory_mib: 8_192,
        clock_mhz: 1_410,
        memory_mhz: 1_458,
        bus_bits: 4_096,
        l2_kib: 8_192,
        pcie: (1, 4),
        ecc: false,
    },
    Preset {
        key: "p104-100",
        name: "NVIDIA P104-100",
        capability: (6, 1),
        sms: 15,
        memory_mib: 4_096,
        clock_mhz: 1_733,
        memory_mhz: 5_005,
        bus_bits: 256,
        l2_kib: 2_048,
        pcie: (1, 4),
        ecc: false,
    },
];

/// The preset of that key.
pub fn find(key: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.key.eq_ignore_ascii_case(key))
}

/// Limits of a capability; a minor one that the guide does not list has those of its generation.
pub fn limits((major, minor): (u32, u32)) -> Limits {
    let (threads_per_sm, blocks_per_sm, kib_per_sm, kib_opt_in, shared_reserved) = match (major, minor) {
        (..=6, _) => (2_048, 32, if minor == 0 { 64 } else { 96 }, 48, 0),
        (7, 5) => (1_024, 16, 64, 64, 0),
        (7, _) => (2_048, 32, 96, 96, 0),
        (8, 0) => (2_048, 32, 164, 163, 1_024),
        (8, 9) => (1_536, 24, 100, 99, 1_024),
        (8, _) => (1_536, 16, 100, 99, 1_024),
        (9 | 10, _) => (2_048, 32, 228, 227, 1_024),
        _ => (1_536, 24, 100, 99, 1_024),
    };
    Limits {
        threads_per_sm,
        blocks_per_sm,
        shared_per_sm: kib_per_sm * 1024,
        shared_opt_in: kib_opt_in * 1024,
        shared_reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::{PRESETS, find, limits};

    #[test]
    fn every_preset_is_found_by_its_key() {
        for preset in PRESETS {
            assert_eq!(find(&preset.key.to_uppercase()).expect("named").name, preset.name);
        }
    }

    #[test]
    fn limits_are_those_of_the_programming_guide() {
        assert_eq!(
            (limits((8, 6)).threads_per_sm, limits((8, 6)).shared_opt_in),
            (1_536, 101_376)
        );
        assert_eq!(
            (limits((9, 0)).threads_per_sm, limits((9, 0)).shared_opt_in),
            (2_048, 232_448)
        );
        assert_eq!(
            (limits((6, 1)).shared_per_sm, limits((6, 1)).shared_opt_in),
            (98_304, 49_152)
        );
        assert_eq!(
            (limits((7, 5)).threads_per_sm, limits((7, 5)).blocks_per_sm),
            (1_024, 16)
        );
    }
}
