//! Configuration: arguments and environment of the operator's process.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use cocoon_core::inventory::quantity::{self, QuantityError};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::scope::Scope;

/// Reconciles Cocoon resources, dispatches jobs to GPU agents and settles usage in TON.
#[derive(Debug, Clone, Parser)]
#[command(name = "cocoon-operator", version)]
pub struct Config {
    /// Namespace that holds the operator's lease and its certificate authority.
    #[arg(long, env = "POD_NAMESPACE", default_value = "cocoon-system")]
    pub namespace: String,
    /// Name of this process in the lease.
    #[arg(long, env = "POD_NAME", default_value = "cocoon-operator")]
    pub identity: String,
    /// Reconcile objects of these namespaces only: farms' and payers'. Repeated, or separated by commas.
    #[arg(long, env = "COCOON_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// YAML file that names the TON networks: `{networks: [{name, globalId, endpoints: [URL or {url, apiKeyFile}]}]}`.
    #[arg(long, env = "COCOON_NETWORKS")]
    pub networks: PathBuf,
    /// Image of the GPU agent.
    #[arg(long, env = "COCOON_AGENT_IMAGE")]
    pub agent_image: String,
    /// Pull policy of the agent's image.
    #[arg(long, env = "COCOON_AGENT_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub agent_image_pull_policy: String,
    /// Secrets with credentials for the agent's image, by name, in the namespace of each provider.
    #[arg(long, env = "COCOON_AGENT_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub agent_image_pull_secrets: Vec<String>,
    /// Folder of each node for models that offers name by URL.
    #[arg(
        long,
        env = "COCOON_MODEL_CACHE_PATH",
        default_value = "/var/lib/cocoon/models"
    )]
    pub model_cache_path: String,
    /// Bytes that these models may take of a node's disk, as a Kubernetes quantity.
    #[arg(long, env = "COCOON_MODEL_CACHE_SIZE", default_value = "200Gi", value_parser = bytes)]
    pub model_cache_bytes: u64,
    /// Where `/healthz`, `/readyz` and `/metrics` are served. `[::]` is every address of both families, and of IPv4
    /// alone where the kernel knows no IPv6.
    #[arg(long, env = "COCOON_HEALTH_ADDRESS", default_value = "[::]:8080")]
    pub health_address: SocketAddr,
    /// Where the page is served, an address of loopback: it has no accounts, and `kubectl cocoon dashboard` reaches it
    /// there. Absent: nowhere.
    #[arg(long, env = "COCOON_PAGE_ADDRESS", value_parser = loopback)]
    pub page_address: Option<SocketAddr>,
    /// Log lines as JSON.
    #[arg(long, env = "COCOON_LOG_JSON")]
    pub log_json: bool,
}

fn bytes(text: &str) -> Result<u64, QuantityError> {
    quantity::parse(&Quantity(text.to_owned()))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "must be an address and a port".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("must be an address of loopback: whoever reaches the page may read it".to_owned())
    }
}

impl Config {
    /// The namespaces that it acts in.
    pub fn scope(&self) -> Scope<'_> {
        Scope(&self.watch_namespaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_served_on_loopback_or_nowhere() {
        let config = |address: &str| {
            let words = [
                "cocoon-operator",
                "--networks=n",
                "--agent-image=i",
                "--page-address",
                address,
            ];
            Config::try_parse_from(words)
        };
        for address in ["127.0.0.1:8088", "[::1]:8088"] {
            assert_eq!(config(address).unwrap().page_address, address.parse().ok());
        }
        for address in [
            "0.0.0.0:8088",
            "[::]:8088",
            "10.0.0.1:8088",
            "8088",
            "localhost:8088",
        ] {
            let error = config(address).unwrap_err().to_string();
            assert!(error.contains("must be an address"), "{error}");
        }
    }
}
