//! The agent starts and computes on a processor without AVX, as old hosts of mining rigs have: the program is for
//! baseline x86-64, and looks before it uses more.
#![cfg(target_arch = "x86_64")]

#[path = "support/skip.rs"]
mod skip;
#[path = "support/tiny.rs"]
mod tiny;

use std::process::{Command, Output};

/// Emulates another processor for one process (QEMU documentation, "User Mode Emulation"): an instruction that this one
/// lacks ends the process.
const EMULATOR: &str = "qemu-x86_64";
/// Intel's of 2008: SSE4.2, and no AVX.
const PROCESSOR: &str = "Nehalem";

/// Runs the agent on the old processor; nothing without an emulator.
///
/// # Panics
/// There is no emulator, and continuous integration, which installs one, runs this.
fn on_old_processor(test: &str, arguments: &[&str]) -> Option<Output> {
    let run = Command::new(EMULATOR)
        .args(["-cpu", PROCESSOR, env!("CARGO_BIN_EXE_gpu-agent")])
        .args(arguments)
        .env("CUDA_VISIBLE_DEVICES", "")
        .output();
    match run {
        Ok(output) => Some(output),
        Err(error) => {
            let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!is_ci, "{EMULATOR}: {error}; install Debian's qemu-user");
            skip::skip(
                test,
                &format!("{EMULATOR} cannot be run ({error}); install Debian's qemu-user"),
            );
            None
        }
    }
}

#[test]
fn nothing_before_main_needs_avx() {
    let Some(output) = on_old_processor("nothing_before_main_needs_avx", &["--version"]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.starts_with("gpu-agent "),
        "{output:?}"
    );
}

#[test]
fn looking_for_cards_needs_no_avx() {
    let Some(output) = on_old_processor("looking_for_cards_needs_no_avx", &["info"]) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // Without a driver it is missing; with one, no card is visible.
    assert!(
        said.contains("no NVIDIA driver: libcuda.so.1 not found") || said.contains("there is no GPU 0"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(69), "{said}");
}

#[test]
fn a_model_is_loaded_and_computed_without_avx() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = tiny::model(&folder, 0);
    let path = file.path().to_str().expect("a plain path");
    let arguments = [
        "bench",
        "--prefill",
        "4",
        "--sequences",
        "1",
        "--rounds",
        "1",
        "--threads",
        "1",
    ];
    let Some(output) = on_old_processor(
        "a_model_is_loaded_and_computed_without_avx",
        &[&arguments[..], &["--model", path]].concat(),
    ) else {
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let machine = figures["machine"].as_str().expect("a text");
    assert!(!machine.to_lowercase().contains("avx"), "{machine}");
    assert!(
        figures["decodeTokensPerSecond"]["1"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
}
