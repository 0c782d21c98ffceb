//! Which modules are compiled, of which source, for which cards.
//!
//! A module is compiled for the oldest compute capability that has its instructions. Newer cards take it too: their
//! driver compiles PTX for them, and the text would differ in the target's name and in numbers of registers alone. Only
//! what uses an instruction that older cards lack is compiled again for the cards that have it.

/// One compilation.
#[derive(Debug)]
pub(super) struct Module {
    /// File in the folder of kernels.
    pub(super) source: &'static str,
    /// What the module is called, before its target.
    pub(super) stem: String,
    /// Compute capability, major times ten plus minor.
    pub(super) target: u32,
    /// Macros, as `NAME=VALUE`.
    pub(super) defines: Vec<String>,
}

impl Module {
    /// As in `product-q4_0-dp4a.sm_61`.
    pub(super) fn name(&self) -> String {
        format!("{}.sm_{}", self.stem, self.target)
    }
}

/// The oldest cards that are supported: Pascal, the first with `dp4a`.
const OLDEST: u32 = 61;
/// Weight types, as `weights.cuh` names them.
const FORMATS: [&str; 9] = [
    "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "FIXED",
];
/// Integer instructions, by the value of `DOT`: some cards have one of them at a fraction of the others' rate.
const DOTS: [(&str, u32); 3] = [("dp4a", 4), ("dp2a", 2), ("mad", 1)];
/// Turing's and Ampere's integer tensor cores, which have different shapes.
const TENSOR_TARGETS: [u32; 2] = [75, 80];
/// Sources that are compiled once.
const PLAIN: [&str; 5] = ["attention.cu", "embed.cu", "probe.cu", "rows.cu", "sampling.cu"];

/// All modules.
pub(super) fn all() -> Vec<Module> {
    let mut modules: Vec<Module> = PLAIN
        .into_iter()
        .map(|source| Module {
            source,
            stem: source.trim_end_matches(".cu").to_owned(),
            target: OLDEST,
            defines: Vec::new(),
        })
        .collect();
    modules.extend(TENSOR_TARGETS.map(|target| Module {
        source: "probe-tensor.cu",
        stem: "probe-tensor".to_owned(),
        target,
        defines: Vec::new(),
    }));
    for format in FORMATS {
        let lower = format.to_lowercase();
        modules.extend(DOTS.map(|(name, dot)| Module {
            source: "product.cu",
            stem: format!("product-{lower}-{name}"),
            target: OLDEST,
            defines: vec![format!("FORMAT={format}"), format!("DOT={dot}")],
        }));
        for source in ["few.cu", "tensor.cu"] {
            modules.extend(TENSOR_TARGETS.map(|target| Module {
                source,
                stem: format!("{}-{lower}", source.trim_end_matches(".cu")),
                target,
                defines: vec![format!("FORMAT={format}")],
            }));
        }
    }
    modules
}
