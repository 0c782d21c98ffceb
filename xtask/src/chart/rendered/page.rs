//! The operator's web page, as the chart serves it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Rendered;

impl Rendered {
    /// The page follows its switch, listens on the pod's loopback alone, and no Service or policy leads to it.
    pub(in crate::chart) fn page_follows(&self, values: &Value) -> Result<()> {
        let container = self.operator_container()?;
        let items = |list: &str| container[list].as_array().into_iter().flatten();
        let address = items("env")
            .find(|variable| variable["name"] == "COCOON_PAGE_ADDRESS")
            .and_then(|variable| variable["value"].as_str());
        let port = items("ports").find(|port| port["name"] == "page");
        if values["webPage"]["enabled"] == false {
            ensure!(address.is_none() && port.is_none(), "the page is off and served");
            return Ok(());
        }
        let address: SocketAddr = address
            .context("find the address of the page")?
            .parse()
            .context("read the address of the page")?;
        ensure!(address.ip().is_loopback(), "the page is served at {address}");
        let number = port
            .map(|port| &port["containerPort"])
            .context("find the port of the page")?;
        ensure!(
            *number == address.port(),
            "the pod says {number}, and the page is at {address}"
        );
        for kind in ["Service", "NetworkPolicy", "ServiceMonitor"] {
            for object in self.of_kind(kind) {
                let text = object["spec"].to_string();
                ensure!(
                    !text.contains(&address.port().to_string()) && !text.contains("\"page\""),
                    "a {kind} leads to the page: {text}"
                );
            }
        }
        Ok(())
    }
}
