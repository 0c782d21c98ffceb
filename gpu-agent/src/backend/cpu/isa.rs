//! Instruction sets, found once at start.

/// What the kernels may use; a later variant is a faster one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable code.
    Scalar,
    /// 256-bit integers and floats, fused multiply-add, half-precision conversion.
    Avx2,
    /// 512-bit registers with 8-bit dot products.
    Avx512Vnni,
}

impl Isa {
    /// The best that this processor and its operating system offer.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            match (avx2, avx512) {
                (true, true) => return Self::Avx512Vnni,
                (true, false) => return Self::Avx2,
                (false, _) => {}
            }
        }
        Self::Scalar
    }
}

/// Compiles one body of portable code for every [`Isa`] and picks at run time.
///
/// The body is written so that the compiler vectorises it: independent lanes, fixed-size inner arrays.
macro_rules! for_every_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls into code compiled for a detected instruction set")
        )]
        #[cfg_attr(
            not(target_arch = "x86_64"),
            allow(unsafe_code, reason = "some bodies have a part of memory that threads share out")
        )]
        $vis fn $name(isa: $crate::backend::cpu::Isa, $($arg: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
            fn avx512($($arg: $kind),*) $(-> $result)? { body($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $kind),*) $(-> $result)? { body($($arg),*) }

            match isa {
                // SAFETY: this variant exists only where `Isa::detect` found these features.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::Isa::Avx512Vnni => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(super) use for_every_isa;
