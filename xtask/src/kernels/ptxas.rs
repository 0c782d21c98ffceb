//! NVIDIA's assembler over the committed PTX, as the driver's compiler works at load: registers and spills of every
//! kernel on every architecture.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::COMPILED;
use super::modules::{self, Module};
use crate::cache::{self, Expected};
use crate::pypi::Wheel;
use crate::workspace;

/// The assembler of CUDA 12.0, as old as the oldest driver's compiler that is supported.
const WHEEL: Wheel = Wheel {
    project: "nvidia-cuda-nvcc-cu12",
    version: "12.0.140",
    sha256: "958d54df87d0c0b7207e7fed403d6eeda0890a01cc44cfeaccf87c7f90e9b165",
    pinned_in: "xtask/src/kernels/ptxas.rs",
};
/// The program in the wheel, and its digest.
const PROGRAM: &str = "nvidia/cuda_nvcc/bin/ptxas";
const PROGRAM_SHA256: &str = "332c1b822fcab8d86db02236973deac3661cd4b122e0e54158ae38fd7f6d1def";

/// Architectures of cards that are served: Pascal, Turing, Ampere of the data centre and of others, Ada, Hopper.
const ARCHITECTURES: [u32; 6] = [61, 75, 80, 86, 89, 90];
/// Registers of a multiprocessor, and the steps in which a warp gets them ("CUDA C++ Programming Guide", technical
/// specifications).
const REGISTERS: u32 = 65_536;
const REGISTER_STEP: u32 = 256;

/// What the assembler says of one kernel on one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assembled {
    /// The module.
    pub(crate) module: String,
    /// The kernel.
    pub(crate) kernel: String,
    /// Compute capability, major times ten plus minor.
    pub(crate) architecture: u32,
    /// Registers of a thread.
    pub(crate) registers: u32,
    /// Bytes that a thread spills to memory, stored and loaded.
    pub(crate) spilled: u32,
    /// Bytes of static shared memory.
    pub(crate) shared: u32,
}

/// What a multiprocessor of an architecture has ("CUDA C++ Programming Guide", technical specifications).
struct Multiprocessor {
    warps: u32,
    blocks: u32,
    shared: u32,
    /// Shared memory that the system takes of each block.
    reserved: u32,
}

impl Multiprocessor {
    const fn of(architecture: u32) -> Self {
        let (warps, blocks, kib) = match architecture {
            75 => (32, 16, 64),
            80 => (64, 32, 164),
            86 => (48, 16, 100),
            89 => (48, 24, 100),
            90 => (64, 32, 228),
            _ => (64, 32, 96),
        };
        Self {
            warps,
            blocks,
            shared: kib * 1024,
            reserved: if architecture >= 80 { 1024 } else { 0 },
        }
    }
}

impl Assembled {
    /// Warps that a multiprocessor holds, and the most it could, when blocks have so many threads and bytes of dynamic
    /// shared memory.
    pub(crate) fn occupancy(&self, threads: u32, dynamic_shared: u32) -> (u32, u32) {
        let of = Multiprocessor::of(self.architecture);
        let warps = threads.div_ceil(32).max(1);
        let each = (self.registers * 32)
            .next_multiple_of(REGISTER_STEP)
            .max(REGISTER_STEP);
        // Each of the four schedulers has a quarter of the registers, and a block's warps go to them in turn.
        let by_registers = REGISTERS / 4 / each * 4 / warps;
        let shared = self.shared + dynamic_shared + of.reserved;
        let by_shared = of.shared.checked_div(shared).unwrap_or(of.blocks);
        let blocks = by_registers.min(by_shared).min(of.warps / warps).min(of.blocks);
        (blocks * warps, of.warps)
    }
}

/// Assembles every committed module for every architecture that takes it.
///
/// # Errors
/// The assembler refuses a module. [`crate::pypi::Unreachable`] is in the chain where it could not be fetched.
pub(crate) fn assemble() -> Result<Vec<Assembled>> {
    let program = fetch()?;
    let folder = workspace::root().join(COMPILED);
    let modules = modules::all();
    let jobs: Vec<(&Module, u32)> = modules
        .iter()
        .flat_map(|module| {
            let takes = architectures(module, &modules);
            takes.into_iter().map(move |architecture| (module, architecture))
        })
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((module, architecture)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = assemble_one(&program, &folder, module, *architecture);
                    results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(result);
                }
            });
        }
    });
    let results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut all: Vec<Assembled> = results.into_iter().collect::<Result<Vec<_>>>()?.concat();
    all.sort_by(|a, b| (&a.module, &a.kernel, a.architecture).cmp(&(&b.module, &b.kernel, b.architecture)));
    Ok(all)
}

/// Refuses spills: registers that lie in memory cost traffic in the innermost loops.
pub(crate) fn gate(assembled: &[Assembled]) -> Result<()> {
    let spilled: Vec<String> = assembled
        .iter()
        .filter(|of| of.spilled > 0)
        .map(|of| {
            format!(
                "  {} of {} spills {} bytes on sm_{}, with {} registers",
                of.kernel, of.module, of.spilled, of.architecture, of.registers
            )
        })
        .collect();
    ensure!(
        spilled.is_empty(),
        "kernels spill registers to memory:\n{}",
        spilled.join("\n")
    );
    Ok(())
}

/// Architectures that take a module: those from its target on, up to a newer module of the same stem.
fn architectures(module: &Module, all: &[Module]) -> Vec<u32> {
    let newer = all
        .iter()
        .filter(|other| other.stem == module.stem && other.target > module.target)
        .map(|other| other.target)
        .min()
        .unwrap_or(u32::MAX);
    ARCHITECTURES
        .into_iter()
        .filter(|architecture| (module.target..newer).contains(architecture))
        .collect()
}

fn fetch() -> Result<PathBuf> {
    let path = cache::folder("ptxas")?.join(WHEEL.version).join("ptxas");
    let _lock = cache::lock("ptxas")?;
    if path.is_file() {
        return Ok(path);
    }
    let mut wheel = WHEEL.download()?;
    let mut file = wheel
        .archive
        .by_name(PROGRAM)
        .with_context(|| format!("find {PROGRAM} in {}=={}", WHEEL.project, WHEEL.version))?;
    let expected = Expected {
        sha256: PROGRAM_SHA256,
        mode: 0o755,
    };
    cache::install(&path, &mut file, &expected)?;
    Ok(path)
}

fn assemble_one(program: &Path, folder: &Path, module: &Module, architecture: u32) -> Result<Vec<Assembled>> {
    let name = module.name();
    let output = Command::new(program)
        .arg("--verbose")
        .arg(format!("--gpu-name=sm_{architecture}"))
        .arg(folder.join(format!("{name}.ptx")))
        .args(["--output-file", "/dev/null"])
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} is refused for sm_{architecture}:\n{said}"
    );
    read(&name, architecture, &said)
}

/// What the assembler said, kernel by kernel.
fn read(module: &str, architecture: u32, said: &str) -> Result<Vec<Assembled>> {
    let mut all: Vec<Assembled> = Vec::new();
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            all.push(Assembled {
                module: module.to_owned(),
                kernel,
                architecture,
                registers: 0,
                spilled: 0,
                shared: 0,
            });
        }
        let Some(last) = all.last_mut() else { continue };
        for part in line.split(',') {
            let number = |before: &str| -> Option<u32> {
                let words = part.split(before).next()?;
                part.contains(before)
                    .then(|| words.split_whitespace().last()?.parse().ok())
                    .flatten()
            };
            last.spilled += number(" bytes spill").unwrap_or(0);
            last.registers = number(" registers").unwrap_or(last.registers);
            last.shared = number(" bytes smem").unwrap_or(last.shared);
        }
    }
    if all.is_empty() || all.iter().any(|of| of.registers == 0) {
        bail!("the assembler's words about {module} are not understood:\n{said}");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'product_8' for 'sm_61'
ptxas info    : Function properties for product_8
    16 bytes stack frame, 36 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, 544 bytes cmem[0], 36 bytes cmem[2]
ptxas info    : Compiling entry function 'tensor' for 'sm_80'
ptxas info    : Function properties for tensor
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, 21504 bytes smem, 576 bytes cmem[0]
";

    #[test]
    fn the_assembler_is_understood_and_a_spill_is_named() {
        let all = read("product-q4_k-dp4a.sm_61", 61, SAID).unwrap();
        let figures: Vec<_> = all
            .iter()
            .map(|of| (of.registers, of.spilled, of.shared))
            .collect();
        assert_eq!(figures, [(128, 48, 0), (40, 0, 21_504)]);
        let error = gate(&all).unwrap_err().to_string();
        assert!(
            error.contains("product_8 of product-q4_k-dp4a.sm_61 spills 48 bytes on sm_61"),
            "{error}"
        );
        assert!(gate(&all[1..]).is_ok());
        assert!(read("x", 61, "ptxas fatal : nothing").is_err());
    }

    #[test]
    fn registers_shared_memory_and_blocks_bound_the_warps_of_a_multiprocessor() {
        let warps = |architecture, registers, threads, shared| {
            let mut of = read("x", 61, SAID).unwrap().remove(0);
            (of.architecture, of.registers, of.shared) = (architecture, registers, 0);
            of.occupancy(threads, shared)
        };
        // By registers: four blocks of four warps.
        assert_eq!(warps(61, 128, 128, 0), (16, 64));
        // By shared memory, of which a block of the newer ones loses a KiB.
        assert_eq!(warps(75, 32, 64, 20 * 1024), (6, 32));
        assert_eq!(warps(86, 32, 64, 24 * 1024), (8, 48));
        // By blocks, and by warps.
        assert_eq!(warps(86, 16, 32, 0), (16, 48));
        assert_eq!(warps(90, 16, 256, 0), (64, 64));
        // Twenty warps at 40 registers: two blocks of 1,280 registers a warp.
        assert_eq!(warps(80, 40, 640, 0), (40, 64));
    }

    #[test]
    fn every_architecture_takes_the_newest_module_that_is_not_newer_than_it() {
        let all = modules::all();
        let of = |name: &str| {
            let module = all.iter().find(|module| module.name() == name).unwrap();
            architectures(module, &all)
        };
        assert_eq!(of("tensor-q4_0.sm_75"), [75]);
        assert_eq!(of("tensor-q4_0.sm_80"), [80, 86, 89, 90]);
        assert_eq!(of("rows.sm_61"), ARCHITECTURES);
    }
}
