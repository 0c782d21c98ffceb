//! What a launch did, counted.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Declares the classes of instructions, and the counters by class, in one order.
macro_rules! classes {
    ($($name:ident $field:ident $doc:literal;)*) => {
        /// What an instruction counts as: the rows of the throughput table in NVIDIA's "CUDA C++ Programming Guide".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Class { $( #[doc = $doc] $name, )* }

        /// Warp-wide instructions by class.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Classes { $( #[doc = $doc] pub $field: u64, )* }

        impl Classes {
            pub(crate) fn of(counts: &[u64; Class::COUNT]) -> Self {
                Self { $( $field: counts[Class::$name as usize], )* }
            }

            /// The count of a class.
            pub fn get(&self, class: Class) -> u64 {
                match class { $( Class::$name => self.$field, )* }
            }
        }

        impl AddAssign for Classes {
            fn add_assign(&mut self, other: Self) {
                $( self.$field += other.$field; )*
            }
        }

        impl Class {
            /// All classes.
            pub const ALL: [Self; Self::COUNT] = [$( Self::$name ),*];
            /// How many there are.
            pub const COUNT: usize = [$( stringify!($name) ),*].len();
        }
    };
}

classes! {
    Integer integer "32-bit integer sums, comparisons, extremes and logic.";
    Multiply multiply "32-bit integer products.";
    Dot dot "`dp4a`.";
    HalfDot half_dot "`dp2a`.";
    Shift shift "Shifts, bit fields and permutations of bytes.";
    Bits bits "Population counts, leading zeros, reversals and sums of absolute differences.";
    Convert convert "Conversions between types.";
    Single single "Single-precision sums and products.";
    Fused fused "Single-precision fused multiply-adds.";
    Half half "Half-precision sums and products.";
    HalfFused half_fused "Half-precision fused multiply-adds.";
    Double double "Double precision.";
    Special special "Approximate reciprocals, roots, exponentials, logarithms and sines.";
    Divide divide "Divisions and roots that a compiler turns into many instructions.";
    Move moves "Moves, selections and packing.";
    Global global "Requests to global memory.";
    Shared shared "Requests to shared memory.";
    Local local "Requests to local memory.";
    Constant constant "Requests to constant and parameter memory.";
    Atomic atomic "Atomic operations.";
    Warp warp "Shuffles, votes, matches and reductions of a warp.";
    Barrier barrier "Barriers and fences.";
    Control control "Branches, calls and exits.";
    Tensor tensor "Matrix products of a warp.";
    Other other "Everything else.";
    Hidden hidden "Steps that this machine adds to instructions; they are not counted as instructions.";
}

/// Requests to memory in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Warp-wide instructions that asked.
    pub requests: u64,
    /// 32-byte sectors that they touched.
    pub sectors: u64,
    /// Bytes that the lanes used.
    pub bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.bytes += other.bytes;
    }
}

/// Requests to shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedTraffic {
    /// Warp-wide instructions that asked.
    pub requests: u64,
    /// Passes over the banks that they took.
    pub wavefronts: u64,
    /// Passes beyond the fewest that the width of the access allows: bank conflicts.
    pub conflicts: u64,
}

impl AddAssign for SharedTraffic {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.wavefronts += other.wavefronts;
        self.conflicts += other.conflicts;
    }
}

/// Figures of one launch. Instructions are warp-wide: one for up to 32 threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Blocks.
    pub blocks: u64,
    /// Warps.
    pub warps: u64,
    /// Warp-wide instructions.
    pub instructions: u64,
    /// Lanes that took part in them, predicates and divergence taken off.
    pub lanes: u64,
    /// Instructions by class.
    pub classes: Classes,
    /// Branches at which lanes of a warp parted.
    pub divergent_branches: u64,
    /// Loads from global memory.
    pub global_loads: Traffic,
    /// Stores to global memory.
    pub global_stores: Traffic,
    /// Loads of what [`crate::Launch::watched`] names, among those above. Bytes that several lanes of a request read
    /// count once.
    pub watched_loads: Traffic,
    /// Shared memory.
    pub shared: SharedTraffic,
    /// Arrivals of warps at barriers of their block.
    pub barriers: u64,
    /// Lanes' atomic operations.
    pub atomics: u64,
}

impl AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.warps += other.warps;
        self.instructions += other.instructions;
        self.lanes += other.lanes;
        self.classes += other.classes;
        self.divergent_branches += other.divergent_branches;
        self.global_loads += other.global_loads;
        self.global_stores += other.global_stores;
        self.watched_loads += other.watched_loads;
        self.shared += other.shared;
        self.barriers += other.barriers;
        self.atomics += other.atomics;
    }
}
