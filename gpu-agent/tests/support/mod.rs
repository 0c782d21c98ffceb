//! Where tests find the model and the golden file.

#![allow(dead_code, reason = "every test binary uses another part of this module")]

use std::{num::NonZeroUsize, path::PathBuf};

use gpu_agent::{
    backend::{
        Backend, Batch, Budget, DeviceError, DeviceFault, ForwardError, Limits, Logits, SampleSpec, Sampled,
        cpu::{CpuOps, Precision},
    },
    evaluate::Golden,
    model::{
        architectures,
        decoder::{Decoder, Loaded},
    },
    weights::file::ModelFile,
};

const GOLDEN: &[u8] = include_bytes!("../../../goldens/smollm2-135m-instruct-q4_1.json");

/// Recorded reference outputs of the test model.
pub fn golden() -> Golden {
    Golden::parse(GOLDEN).expect("the golden file is valid")
}

/// The test model's file, in `$COCOON_MODEL_DIR` or the cache.
pub fn model_path() -> PathBuf {
    let golden = golden();
    let cache = || {
        let base = std::env::var_os("COCOON_CACHE").map_or_else(
            || {
                let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
                let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
                xdg.unwrap_or_else(home).join("cocoon")
            },
            PathBuf::from,
        );
        base.join("models").join(format!("{}.gguf", golden.file_sha256))
    };
    let path = match std::env::var_os("COCOON_MODEL_DIR") {
        Some(folder) => PathBuf::from(folder).join(format!("{}.gguf", golden.model)),
        None => cache(),
    };
    assert!(
        path.is_file(),
        "the test model is not at {}; fetch it with `cargo xtask model`",
        path.display()
    );
    path
}

/// The test model's file, opened and verified.
pub fn model_file() -> ModelFile {
    ModelFile::open(&model_path(), Some(golden().sha256().expect("a digest"))).expect("the model is intact")
}

/// The test model on the CPU, for `sequences` sequences of `context` tokens.
pub fn backend(file: &ModelFile, precision: Precision, context: usize, sequences: usize) -> Decoder<CpuOps> {
    let spec = architectures::read(file).expect("a supported architecture");
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let ops = CpuOps::new(precision, threads).expect("threads start");
    let loaded = Loaded::load(file, spec, ops).expect("the model loads");
    let budget = Budget {
        bytes: u64::MAX,
        rows: 256,
        outputs: 256,
        context,
        cache_tokens: context.next_multiple_of(16) * sequences,
    };
    let decoder = loaded.reserve(budget).expect("memory for a cache");
    assert!(decoder.limits().cache_tokens() >= context * sequences);
    decoder
}

/// A device that is lost after some steps.
pub struct Lost<B> {
    pub inner: B,
    pub steps_left: usize,
}

impl<B: Backend> Backend for Lost<B> {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn step(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<&Sampled, ForwardError> {
        if self.steps_left == 0 {
            return Err(ForwardError::Device(DeviceError {
                fault: DeviceFault::Lost,
                what: "a launch".to_owned(),
            }));
        }
        self.steps_left -= 1;
        self.inner.step(batch, specs)
    }

    fn logits(&mut self, batch: &Batch) -> Result<Logits<'_>, ForwardError> {
        self.inner.logits(batch)
    }
}
