//! This machine's address as a cluster that is not the testbed's reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// This machine's address toward the cluster: the one from which the API server is reached.
pub(super) fn toward(kubeconfig: &Path) -> Result<IpAddr> {
    let output = Command::new(tools::kubectl()?)
        .args([
            "config",
            "view",
            "--minify",
            "--output",
            "jsonpath={.clusters[0].cluster.server}",
        ])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run kubectl config view")?;
    ensure!(
        output.status.success(),
        "{} names no cluster",
        kubeconfig.display()
    );
    let server = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = host_and_port(&server);
    let target = host
        .to_socket_addrs()
        .with_context(|| format!("resolve {host}"))?
        .next()
        .context("no address")?;
    let local: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((local, 0)).context("open a socket")?;
    socket
        .connect(target)
        .with_context(|| format!("find the way to {target}"))?;
    let address = socket.local_addr().context("read the socket's address")?.ip();
    ensure!(
        !address.is_loopback(),
        "pods cannot reach this machine's loopback address: name one that they reach with --host-address"
    );
    Ok(address)
}

/// Host and port of an `https` URL. An address of IPv6 has colons, and stands in brackets.
fn host_and_port(url: &str) -> String {
    let host = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let has_port = host.rfind(':') > host.rfind(']');
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:443")
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_api_server_is_found_by_its_address_of_either_family_with_and_without_a_port() {
        for (url, wanted) in [
            ("https://10.0.0.1:6443", "10.0.0.1:6443"),
            ("https://10.0.0.1/", "10.0.0.1:443"),
            ("https://[fd00::1]:6443/api", "[fd00::1]:6443"),
            ("https://[fd00::1]", "[fd00::1]:443"),
        ] {
            assert_eq!(host_and_port(url), wanted);
            assert!(wanted.parse::<SocketAddr>().is_ok());
        }
        assert_eq!(host_and_port("https://api.example/clusters/1"), "api.example:443");
    }
}
