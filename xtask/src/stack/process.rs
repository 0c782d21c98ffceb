//! Programs that run beside the cluster: started once, found again, and never confused with another's process.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{LOOK_INTERVAL, succeed};
use crate::cache;

/// A program ends within this time after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Which process was started, and from what: a recycled pid has another start time.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    started: u64,
    digest: String,
}

/// Starts the command as `name`, or finds it started from the same program and arguments. What it prints goes to
/// `NAME.log` in `state`.
pub(super) fn start(state: &Path, name: &str, program: &Path, command: &mut Command) -> Result<()> {
    let arguments: Vec<String> = command
        .get_args()
        .map(|argument| argument.display().to_string())
        .collect();
    let digest = hex::encode(Sha256::digest(format!(
        "{} {arguments:?}",
        cache::sha256_file(program)?
    )));
    if let Some(record) = alive(state, name) {
        if record.digest == digest {
            return Ok(());
        }
        stop(state, name)?;
    }
    let path = state.join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let Some(started) = start_time(child.id()) else {
        bail!("{name} ended at once: see {}", path.display());
    };
    let record = Record {
        pid: child.id(),
        started,
        digest,
    };
    fs::write(
        record_path(state, name),
        serde_json::to_vec(&record).context("encode the record")?,
    )
    .with_context(|| format!("write the record of {name}"))
}

/// Ends what [`start`] started as `name`, if it runs.
pub(super) fn stop(state: &Path, name: &str) -> Result<()> {
    let Some(record) = alive(state, name) else {
        return Ok(());
    };
    succeed(Command::new("kill").arg(record.pid.to_string()))?;
    let asked = Instant::now();
    while alive(state, name).is_some() {
        ensure!(
            asked.elapsed() < STOP_LIMIT,
            "{name} (process {}) does not end",
            record.pid
        );
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

fn record_path(state: &Path, name: &str) -> std::path::PathBuf {
    state.join(format!("{name}.json"))
}

fn alive(state: &Path, name: &str) -> Option<Record> {
    let record: Record = serde_json::from_slice(&fs::read(record_path(state, name)).ok()?).ok()?;
    (start_time(record.pid) == Some(record.started)).then_some(record)
}

/// Field 22 of `/proc/PID/stat`, counted behind the name in parentheses, which may hold anything. A process that
/// has ended and was not reaped counts as ended.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
