//! cudarc's own tests of its `driver` module, from its unmodified source, against this library.
//!
//! They are the tests of somebody who had a card. Those that do not apply are named, each with its reason; all others
//! must pass, those that cudarc ignores by default included.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::machine::Machine;

/// Tests that cannot pass here.
const NOT_HERE: &[(&str, &str)] = &[
    (
        "driver::safe::core::tests::test_default_pinned_host_reads_are_faster_than_write_combined",
        WRITE_COMBINED,
    ),
    ("driver::safe::core::tests::test_pinned_copy_is_faster", SPEED),
    ("driver::safe::launch::tests::test_device_side_assert", NVRTC),
    ("driver::safe::launch::tests::test_large_launches", NVRTC),
    ("driver::safe::launch::tests::test_launch_arrays", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_16bit", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_32bit", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_64bit", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_8bit", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_floats", NVRTC),
    ("driver::safe::launch::tests::test_launch_with_half", NVRTC),
    (
        "driver::safe::launch::tests::test_launch_with_mut_and_ref_cudarc",
        NVRTC,
    ),
    ("driver::safe::launch::tests::test_launch_with_views", NVRTC),
    (
        "driver::safe::launch::tests::test_multi_stream_concurrent_reads",
        NVRTC,
    ),
    (
        "driver::safe::launch::tests::test_multi_stream_writes_block",
        NVRTC,
    ),
    ("driver::safe::launch::tests::test_par_launch", NVRTC),
    (
        "driver::safe::unified_memory::tests::test_unified_memory_global",
        NVRTC,
    ),
    (
        "driver::safe::unified_memory::tests::test_unified_memory_host",
        NVRTC,
    ),
    (
        "driver::safe::unified_memory::tests::test_unified_memory_single_stream",
        NVRTC,
    ),
];

const NVRTC: &str = "it compiles CUDA C++ with NVRTC, a library beyond the driver";
const SPEED: &str = "it compares the time of a copy from page-locked memory with that of one from other memory, which are equal here";
const WRITE_COMBINED: &str =
    "it wants reads of write-combined memory to be slow, which is a property of the host's hardware";

/// cudarc's features that this project uses.
const FEATURES: &str = "std,driver,nvrtc,f16,dynamic-loading,cuda-12020";

#[test]
fn tests_of_cudarc_that_need_no_library_beyond_the_driver_pass() {
    let machine = Machine::new("").cards("h100*2");
    let executable = build(&copy_of(&source()));
    let listed = text(&run(
        Command::new(&executable).args(["--list", "--format", "terse", "driver::"])
    ));
    let all: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    for (name, reason) in NOT_HERE {
        assert!(
            all.contains(name),
            "cudarc has no test {name}, which is left out since {reason}"
        );
    }
    let wanted: Vec<&str> = all
        .iter()
        .copied()
        .filter(|name| NOT_HERE.iter().all(|(other, _)| other != name))
        .collect();
    assert!(
        wanted.len() >= 29,
        "cudarc has only {} tests that apply",
        wanted.len()
    );

    let mut command = machine.around(Command::new(&executable));
    // One after another: one of them watches how much memory is free.
    let said = text(&run(command
        .args(["--exact", "--include-ignored", "--test-threads=1"])
        .args(&wanted)));
    assert!(
        said.contains(&format!("{} passed; 0 failed; 0 ignored", wanted.len())),
        "{said}"
    );
}

/// The folder of cudarc's source in cargo's registry.
fn source() -> PathBuf {
    let mut command = Command::new(cargo());
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--format-version", "1"]);
    let output = command.output().expect("cargo");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let cudarc = packages
        .iter()
        .find(|package| package["name"] == "cudarc")
        .expect("a dependency");
    let manifest = Path::new(cudarc["manifest_path"].as_str().expect("a path"));
    manifest.parent().expect("a folder").to_owned()
}

/// A copy where it may be built, the same one every time so that it is built once.
fn copy_of(source: &Path) -> PathBuf {
    let name = source.file_name().expect("a name and a version");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if copy.join("complete").exists() {
        return copy;
    }
    let _ = std::fs::remove_dir_all(&copy);
    copy_folder(source, &copy);
    // Without this, cargo takes the folder for a forgotten member of the workspace around it.
    let manifest = std::fs::read_to_string(copy.join("Cargo.toml")).expect("a manifest");
    std::fs::write(copy.join("Cargo.toml"), manifest + "\n[workspace]\n").expect("written");
    std::fs::write(copy.join("complete"), "").expect("written");
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            let bytes = std::fs::read(entry.path()).expect("a file");
            std::fs::write(target, bytes).expect("written");
        }
    }
}

/// Builds cudarc's tests and gives their executable.
fn build(folder: &Path) -> PathBuf {
    let mut command = Command::new(cargo());
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .args([
            "test",
            "--lib",
            "--no-run",
            "--no-default-features",
            "--features",
            FEATURES,
        ])
        .args(["--message-format", "json"]);
    let output = command.output().expect("cargo");
    assert!(
        output.status.success(),
        "cudarc's tests do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next_back().expect("the executable of cudarc's tests")
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("cudarc's tests");
    let said = text(&output) + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
