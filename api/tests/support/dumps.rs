//! What a program leaves when it is killed where core dumps are allowed. Tests of each program include this file.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A program that has not started within this time, on two busy cores, never will.
const START_LIMIT: Duration = Duration::from_mins(2);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);
/// Number of the signal.
const SIGABRT: i32 = 6;

/// Starts the program where dumps are as large as this machine lets them be, kills it as `abort` does once it has
/// begun, and holds that the kernel wrote none. `variables` are put into its environment.
///
/// # Panics
/// Where it wrote one, and on a machine that dumps nothing at all, since nothing could be told there.
pub fn leaves_no_core_dump(program: &str, arguments: &[&str], variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let control = allowing_dumps("sh", folder.path())
        .args(["-c", "kill -ABRT $$"])
        .status()
        .unwrap();
    assert!(
        control.core_dumped(),
        "this machine dumps nothing ({control}), so that nothing can be told: see `ulimit -Hc` and /proc/sys/kernel/core_pattern"
    );
    let before = files(folder.path());

    let mut child = allowing_dumps(program, folder.path())
        .args(arguments)
        .envs(variables.iter().copied())
        .spawn()
        .unwrap();
    let has_begun = waits_for_the_limit(&mut child);
    let status = abort(&mut child);
    assert!(
        has_begun,
        "{program} lets itself be dumped: it ended with {status}"
    );
    assert_eq!(status.signal(), Some(SIGABRT), "{program} ended with {status}");
    assert!(!status.core_dumped(), "{program} was dumped");
    assert_eq!(files(folder.path()), before, "{program} left a file");
}

/// The program with the limit of dumps raised as far as it goes.
fn allowing_dumps(program: &str, folder: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -c "$(ulimit -H -c)" && exec "$0" "$@""#, program])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Waits until the process has set its limit of dumps to nothing, both of them; answers whether it did before it ended.
fn waits_for_the_limit(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < START_LIMIT && child.try_wait().unwrap().is_none() {
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap_or_default();
        let core = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"));
        let words: Vec<&str> = core.unwrap_or_default().split_whitespace().collect();
        if words.starts_with(&["0", "0"]) {
            return true;
        }
        sleep(INTERVAL);
    }
    false
}

fn abort(child: &mut Child) -> ExitStatus {
    let sent = Command::new("kill")
        .args(["-ABRT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success() || child.try_wait().unwrap().is_some());
    child.wait().unwrap()
}

fn files(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}
