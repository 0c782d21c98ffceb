//! The kernels' PTX, which `cargo xtask kernels` compiled.

use super::launch::MOST_WARPS;
use super::layout::Format;

/// Every module with its name.
macro_rules! modules {
    ($($name:literal)*) => {
        &[$( ($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/ptx/", $name, ".ptx"))) ),*]
    };
}

const MODULES: &[(&str, &str)] = modules! {
    "attention.sm_61"
    "embed.sm_61"
    "few-fixed.sm_75"
    "few-fixed.sm_80"
    "few-q4_0.sm_75"
    "few-q4_0.sm_80"
    "few-q4_1.sm_75"
    "few-q4_1.sm_80"
    "few-q4_k.sm_75"
    "few-q4_k.sm_80"
    "few-q5_0.sm_75"
    "few-q5_0.sm_80"
    "few-q5_1.sm_75"
    "few-q5_1.sm_80"
    "few-q5_k.sm_75"
    "few-q5_k.sm_80"
    "few-q6_k.sm_75"
    "few-q6_k.sm_80"
    "few-q8_0.sm_75"
    "few-q8_0.sm_80"
    "probe-tensor.sm_75"
    "probe-tensor.sm_80"
    "probe.sm_61"
    "product-fixed-dp2a.sm_61"
    "product-fixed-dp4a.sm_61"
    "product-fixed-mad.sm_61"
    "product-q4_0-dp2a.sm_61"
    "product-q4_0-dp4a.sm_61"
    "product-q4_0-mad.sm_61"
    "product-q4_1-dp2a.sm_61"
    "product-q4_1-dp4a.sm_61"
    "product-q4_1-mad.sm_61"
    "product-q4_k-dp2a.sm_61"
    "product-q4_k-dp4a.sm_61"
    "product-q4_k-mad.sm_61"
    "product-q5_0-dp2a.sm_61"
    "product-q5_0-dp4a.sm_61"
    "product-q5_0-mad.sm_61"
    "product-q5_1-dp2a.sm_61"
    "product-q5_1-dp4a.sm_61"
    "product-q5_1-mad.sm_61"
    "product-q5_k-dp2a.sm_61"
    "product-q5_k-dp4a.sm_61"
    "product-q5_k-mad.sm_61"
    "product-q6_k-dp2a.sm_61"
    "product-q6_k-dp4a.sm_61"
    "product-q6_k-mad.sm_61"
    "product-q8_0-dp2a.sm_61"
    "product-q8_0-dp4a.sm_61"
    "product-q8_0-mad.sm_61"
    "rows.sm_61"
    "sampling.sm_61"
    "tensor-fixed.sm_75"
    "tensor-fixed.sm_80"
    "tensor-q4_0.sm_75"
    "tensor-q4_0.sm_80"
    "tensor-q4_1.sm_75"
    "tensor-q4_1.sm_80"
    "tensor-q4_k.sm_75"
    "tensor-q4_k.sm_80"
    "tensor-q5_0.sm_75"
    "tensor-q5_0.sm_80"
    "tensor-q5_1.sm_75"
    "tensor-q5_1.sm_80"
    "tensor-q5_k.sm_75"
    "tensor-q5_k.sm_80"
    "tensor-q6_k.sm_75"
    "tensor-q6_k.sm_80"
    "tensor-q8_0.sm_75"
    "tensor-q8_0.sm_80"
};

/// Attention and the cache.
pub const ATTENTION: &str = "attention.sm_61";
/// Rows of embeddings.
pub const EMBED: &str = "embed.sm_61";
/// Rates of instructions.
pub const PROBE: &str = "probe.sm_61";
/// Norms and quantisation.
pub const ROWS: &str = "rows.sm_61";
/// The choice of tokens.
pub const SAMPLING: &str = "sampling.sm_61";

/// The text of a module.
pub fn text(name: &str) -> Option<&'static str> {
    MODULES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The kernel that embeds from a table of a format.
pub const fn embed_kernel(format: Format) -> &'static str {
    match format {
        Format::Q4_0 => "embed_Q4_0",
        Format::Q4_1 => "embed_Q4_1",
        Format::Q5_0 => "embed_Q5_0",
        Format::Q5_1 => "embed_Q5_1",
        Format::Q8_0 => "embed_Q8_0",
        Format::Q4_K => "embed_Q4_K",
        Format::Q5_K => "embed_Q5_K",
        Format::Q6_K => "embed_Q6_K",
        Format::Fixed => "embed_FIXED",
    }
}

/// What computes integer dot products outside of tensor cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    /// Four products an instruction.
    Dp4a,
    /// Two products an instruction.
    Dp2a,
    /// One product, and a sum.
    Mad,
}

impl Dot {
    /// All of them, the one that is fastest on a card that nobody slowed down first.
    pub const ALL: [Self; 3] = [Self::Dp4a, Self::Dp2a, Self::Mad];

    /// Whether its modules have a kernel for each batch, not only for 1 and 4.
    pub const fn has_all_batches(self) -> bool {
        matches!(self, Self::Dp4a)
    }

    /// The most warps of a block of its modules' kernels.
    pub const fn most_warps(self) -> usize {
        match self {
            Self::Dp4a => MOST_WARPS,
            Self::Dp2a => 12,
            Self::Mad => 8,
        }
    }

    /// The module of products with weights of a format.
    pub fn module(self, format: Format) -> String {
        let dot = match self {
            Self::Dp4a => "dp4a",
            Self::Dp2a => "dp2a",
            Self::Mad => "mad",
        };
        format!("product-{}-{dot}.sm_61", format.name())
    }
}

/// Integer tensor cores, by their shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tensor {
    /// Turing's, 8 × 8 × 16.
    Turing,
    /// Ampere's and newer ones, 16 × 8 × 32.
    Ampere,
}

impl Tensor {
    /// Those of a compute capability.
    pub fn of(capability: (i32, i32)) -> Option<Self> {
        match capability {
            (7, 5) => Some(Self::Turing),
            (8.., _) => Some(Self::Ampere),
            _ => None,
        }
    }

    /// The module that measures their rate.
    pub const fn probe(self) -> &'static str {
        match self {
            Self::Turing => "probe-tensor.sm_75",
            Self::Ampere => "probe-tensor.sm_80",
        }
    }

    /// The module of products of many rows with weights of a format.
    pub fn module(self, format: Format) -> String {
        format!("tensor-{}.sm_{}", format.name(), self.target())
    }

    /// The module of products of a few rows.
    pub fn few(self, format: Format) -> String {
        format!("few-{}.sm_{}", format.name(), self.target())
    }

    const fn target(self) -> u32 {
        match self {
            Self::Turing => 75,
            Self::Ampere => 80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compiled_module_is_in_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/ptx");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let known: Vec<String> = MODULES.iter().map(|(name, _)| format!("{name}.ptx")).collect();
        assert_eq!(files, known);
    }

    #[test]
    fn every_format_has_a_module_for_every_unit() {
        for format in Format::ALL {
            for dot in [Dot::Dp4a, Dot::Dp2a, Dot::Mad] {
                assert!(text(&dot.module(format)).is_some(), "{format:?} {dot:?}");
            }
            for tensor in [Tensor::Turing, Tensor::Ampere] {
                assert!(text(&tensor.module(format)).is_some(), "{format:?} {tensor:?}");
                assert!(text(&tensor.few(format)).is_some(), "{format:?} {tensor:?}");
            }
        }
    }
}
