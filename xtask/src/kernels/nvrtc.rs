//! NVIDIA's run-time compiler as a wheel carries it, and how it is called.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::modules::Module;
use crate::cache::{self, Expected};
use crate::pypi::Wheel;

/// The compiler of CUDA 12.0: its PTX 8.0 is read by every driver from 525 on, and it knows `sm_61` to `sm_90`.
const WHEEL: Wheel = Wheel {
    project: "nvidia-cuda-nvrtc-cu12",
    version: "12.0.140",
    sha256: "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071",
    pinned_in: "xtask/src/kernels/nvrtc.rs",
};

/// Libraries in the wheel and their digests, in the order in which they are loaded: the second finds the first by name.
const LIBRARIES: [(&str, &str); 2] = [
    (
        "libnvrtc-builtins.so.12.0",
        "8cb4db2d2806cd3b85e60023f5988811584d7f0fef51d1a4d380faf4e6432c74",
    ),
    (
        "libnvrtc.so.12",
        "f26e5a4f98c9417a96694539096bd8e2fe69bce3b0ee522b62cc4ca8c647c79a",
    ),
];

/// Every operation is rounded by itself: see docs/arithmetic.md.
const OPTIONS: [&str; 6] = [
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--device-as-default-execution-space",
];

/// Calls the compiler: NVRTC has a C interface alone, and unsafe code is for the agent's backends.
const SCRIPT: &str = include_str!("nvrtc.py");

/// The compiler's libraries in the cache, downloaded first when they are missing.
pub(super) fn fetch() -> Result<Vec<PathBuf>> {
    let folder = cache::folder("nvrtc")?.join(WHEEL.version);
    let _lock = cache::lock("nvrtc")?;
    let paths: Vec<PathBuf> = LIBRARIES.iter().map(|(name, _)| folder.join(name)).collect();
    if paths.iter().all(|path| path.is_file()) {
        return Ok(paths);
    }
    let mut wheel = WHEEL.download()?;
    for ((name, sha256), path) in LIBRARIES.iter().zip(&paths) {
        let inside = format!("nvidia/cuda_nvrtc/lib/{name}");
        let mut file = wheel
            .archive
            .by_name(&inside)
            .with_context(|| format!("find {inside} in {}=={}", WHEEL.project, WHEEL.version))?;
        cache::install(path, &mut file, &Expected { sha256, mode: 0o755 })?;
    }
    Ok(paths)
}

#[derive(Serialize)]
struct Request<'a> {
    libraries: &'a [PathBuf],
    headers: &'a BTreeMap<String, String>,
    jobs: Vec<Job<'a>>,
}

#[derive(Serialize)]
struct Job<'a> {
    name: String,
    source: &'a str,
    options: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    ptx: Option<String>,
    log: String,
}

/// The PTX of each module, in their order. `folder` holds the sources and the headers.
pub(super) fn compile(libraries: &[PathBuf], folder: &Path, modules: &[Module]) -> Result<Vec<String>> {
    let headers = texts(folder, "cuh")?;
    let sources = texts(folder, "cu")?;
    // A process of its own for each processor: within one, NVRTC compiles one program at a time.
    let processes = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = Vec::new();
    for part in modules.chunks(modules.len().div_ceil(processes).max(1)) {
        let jobs = part
            .iter()
            .map(|module| job(module, &sources))
            .collect::<Result<_>>()?;
        let request = Request {
            libraries,
            headers: &headers,
            jobs,
        };
        running.push((part, start(&request)?));
    }
    let mut compiled = Vec::new();
    for (part, child) in running {
        for (module, answer) in part.iter().zip(finish(child, part.len())?) {
            let Some(ptx) = answer.ptx else {
                bail!("{} does not compile:\n{}", module.name(), answer.log);
            };
            ensure!(
                answer.log.is_empty(),
                "{} compiles with warnings:\n{}",
                module.name(),
                answer.log
            );
            compiled.push(ptx);
        }
    }
    Ok(compiled)
}

fn job<'a>(module: &Module, sources: &'a BTreeMap<String, String>) -> Result<Job<'a>> {
    let source = sources
        .get(module.source)
        .with_context(|| format!("find the kernels' source {}", module.source))?;
    let mut options: Vec<String> = OPTIONS.map(str::to_owned).to_vec();
    options.push(format!("--gpu-architecture=compute_{}", module.target));
    options.extend(
        module
            .defines
            .iter()
            .map(|define| format!("--define-macro={define}")),
    );
    Ok(Job {
        name: module.source.to_owned(),
        source,
        options,
    })
}

fn start(request: &Request<'_>) -> Result<Child> {
    let mut child = Command::new("python3")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start python3; on Debian: apt-get install python3")?;
    let input = serde_json::to_vec(request).context("write a request to the compiler")?;
    let mut stdin = child.stdin.take().context("open the compiler's input")?;
    stdin
        .write_all(&input)
        .context("hand the kernels to the compiler")?;
    Ok(child)
}

fn finish(child: Child, jobs: usize) -> Result<Vec<Answer>> {
    let output = child.wait_with_output().context("wait for the compiler")?;
    ensure!(
        output.status.success(),
        "the compiler failed with {}; its messages are above",
        output.status
    );
    let answers: Vec<Answer> =
        serde_json::from_slice(&output.stdout).context("read the compiler's answer")?;
    ensure!(
        answers.len() == jobs,
        "the compiler answered {} of {jobs} jobs",
        answers.len()
    );
    Ok(answers)
}

/// Files of the folder with this ending, by name.
fn texts(folder: &Path, ending: &str) -> Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|found| found == ending) {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            texts.insert(name, text);
        }
    }
    Ok(texts)
}
