//! The TON network as a process of this machine, for a cluster that is not the testbed's.

use std::fs::{self, File};
use std::net::{IpAddr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{CHAIN_PORT, GLOBAL_ID, succeed, wait_for_chain};
use crate::tools;

/// Which process was started: a recycled pid has another start time.
#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    started: u64,
    listen: String,
}

/// Starts the chain on this address, or finds it started there.
pub(super) fn start(state: &Path, address: IpAddr, binaries: &Path) -> Result<String> {
    let listen = std::net::SocketAddr::new(address, CHAIN_PORT).to_string();
    let root = format!("http://{listen}");
    if let Some(record) = alive(state) {
        if record.listen == listen {
            return Ok(root);
        }
        stop(state)?;
    }
    let log = File::create(state.join("chain.log")).context("create the chain's log")?;
    let child = Command::new(binaries.join("testbed-chain"))
        .args(["serve", "--listen", &listen, "--global-id", &GLOBAL_ID.to_string(), "--state"])
        .arg(state.join("chain"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share the chain's log")?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the chain")?;
    let started = start_time(child.id()).context("the chain ended at once; its log is in the state folder")?;
    let record = Record { pid: child.id(), started, listen };
    fs::write(state.join("chain.json"), serde_json::to_vec(&record).context("encode the record")?)
        .context("write the record of the chain")?;
    wait_for_chain(&root)?;
    Ok(root)
}

/// Ends the chain that [`start`] started, if it runs.
pub(super) fn stop(state: &Path) -> Result<()> {
    match alive(state) {
        Some(record) => succeed(Command::new("kill").arg(record.pid.to_string())),
        None => Ok(()),
    }
}

fn alive(state: &Path) -> Option<Record> {
    let record: Record = serde_json::from_slice(&fs::read(state.join("chain.json")).ok()?).ok()?;
    (start_time(record.pid) == Some(record.started)).then_some(record)
}

/// Field 22 of `/proc/PID/stat`, counted behind the name in parentheses, which may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// This machine's address toward the cluster: the one from which the API server is reached.
pub(super) fn local_address(kubeconfig: &Path) -> Result<IpAddr> {
    let output = Command::new(tools::kubectl()?)
        .args(["config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run kubectl config view")?;
    ensure!(output.status.success(), "{} names no cluster", kubeconfig.display());
    let server = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = server.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:443") };
    let target = host.to_socket_addrs().with_context(|| format!("resolve {host}"))?.next().context("no address")?;
    let local: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).context("open a socket")?;
    socket.connect(target).with_context(|| format!("find the way to {target}"))?;
    let address = socket.local_addr().context("read the socket's address")?.ip();
    ensure!(
        !address.is_loopback(),
        "pods cannot reach this machine's loopback address: name one that they reach with --host-address"
    );
    Ok(address)
}
