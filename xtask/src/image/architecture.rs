//! The processor architectures that programs and images are made for, and the names that others have for them.

use std::env::consts;

use clap::ValueEnum;

/// A processor architecture, always with Linux and glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64
    Amd64,
    /// `AArch64`
    Arm64,
}

impl Architecture {
    /// As OCI, Go, krew and Debian name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust names it, and QEMU.
    fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// What Rust compiles for.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.processor())
    }

    /// Debian's folder of its libraries below `lib`, which is also how Debian's C compiler for it begins.
    pub(crate) fn libraries(self) -> String {
        format!("{}-linux-gnu", self.processor())
    }

    /// What runs its programs on another processor (QEMU documentation, "User Mode Emulation").
    pub(crate) fn emulator(self) -> String {
        format!("qemu-{}", self.processor())
    }

    /// Whether this machine runs its programs.
    pub(crate) fn is_here(self) -> bool {
        self.processor() == consts::ARCH
    }

    /// The file that pins what images take from Debian, relative to the workspace.
    pub(crate) fn pins(self) -> &'static str {
        match self {
            Self::Amd64 => "images/debian.yaml",
            Self::Arm64 => "images/debian-arm64.yaml",
        }
    }
}
