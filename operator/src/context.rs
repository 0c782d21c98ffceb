//! What every controller shares.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, Resource,
    runtime::events::{Recorder, Reporter},
};

use crate::{
    chain::Networks,
    channel::{contracts::Contracts, looks::Looks},
    config::Config,
    dispatch::AgentClient,
    error::Result,
    metrics::Metrics,
    tls::AgentTls,
};

/// What every controller shares.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// Arguments of the process.
    pub config: Config,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Publishes Events.
    pub recorder: Recorder,
    /// TON networks by name.
    pub networks: Arc<Networks>,
    /// Which channel holds each contract.
    pub contracts: Contracts,
    /// What was seen of each channel's contract.
    pub looks: Looks,
    /// Certificates toward agents.
    pub tls: Arc<AgentTls>,
}

impl Context {
    /// Puts together what every controller shares.
    pub fn new(
        client: Client,
        config: Config,
        metrics: Arc<Metrics>,
        networks: Arc<Networks>,
        tls: Arc<AgentTls>,
    ) -> Self {
        let reporter = Reporter {
            controller: "cocoon-operator".into(),
            instance: Some(config.identity.clone()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            config,
            metrics,
            recorder,
            contracts: Contracts::new(networks.clone()),
            looks: Looks::default(),
            networks,
            tls,
        }
    }

    /// The time, which decisions take as an argument.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Objects of the namespace that is watched, or of all.
    pub fn api_all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match &self.config.watch_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// A client of the provider's agent at this address.
    pub fn agent_client(&self, provider: &str, namespace: &str, address: IpAddr) -> Result<AgentClient> {
        let (http, base) = self.tls.client(provider, namespace, address)?;
        Ok(AgentClient::new(http, base))
    }
}
