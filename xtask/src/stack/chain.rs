//! The TON network's process.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{CHAIN, GLOBAL_ID, process, wait};

/// Port of its HTTP server.
const PORT: u16 = 18_081;

/// Starts it unless it runs, and answers its HTTP server's root once it listens. `command` says how a program is run
/// where pods reach `address`.
pub(super) fn start(
    state: &Path,
    address: IpAddr,
    binaries: &Path,
    command: impl Fn(&Path) -> Command,
) -> Result<String> {
    let listen = SocketAddr::new(address, PORT);
    let binary = binaries.join("testbed-chain");
    let mut command = command(&binary);
    command.args([
        "serve",
        "--listen",
        &listen.to_string(),
        "--global-id",
        &GLOBAL_ID.to_string(),
        "--state",
    ]);
    command.arg(state.join("chain"));
    process::start(state, CHAIN, &binary, &mut command)?;
    wait("the chain answers", || Ok(TcpStream::connect(listen).is_ok()))?;
    Ok(format!("http://{listen}"))
}
