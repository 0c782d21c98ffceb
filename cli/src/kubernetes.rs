//! The cluster: as kubectl would find it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use cocoon_api::{crd::ProviderReference, names::is_object_name};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

/// Who wrote a field, in the objects' managed fields.
pub const FIELD_MANAGER: &str = "kubectl-cocoon";

/// Which cluster and namespace.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Path of the kubeconfig; otherwise KUBECONFIG, `~/.kube/config` or the pod's service account.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Namespace; otherwise that of the context.
    #[arg(long, short, global = true, value_name = "NAME")]
    namespace: Option<String>,
}

/// Says what was asked of the API server, and why it refused in the server's own words.
pub trait Asked<T> {
    /// `attempt` completes "could not …".
    fn asked(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Asked<T> for kube::Result<T> {
    fn asked(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| match error {
            // Its Display repeats the whole status.
            kube::Error::Api(status) => anyhow::anyhow!("could not {}: {}", attempt(), status.message),
            other => anyhow::Error::from(other).context(format!("could not {}", attempt())),
        })
    }
}

/// A cluster and a namespace in it.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
}

impl Arguments {
    /// The namespace, where it was given.
    pub fn named_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Reads the kubeconfig. Opens no connection yet.
    pub async fn connect(self) -> Result<Cluster> {
        let options = KubeConfigOptions {
            context: self.context,
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("could not read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None if options.context.is_some() => Config::from_kubeconfig(&options).await,
            None => return Self::infer(self.namespace).await,
        };
        Cluster::new(config.context("could not use the kubeconfig")?, self.namespace)
    }

    async fn infer(namespace: Option<String>) -> Result<Cluster> {
        let config = Config::infer()
            .await
            .context("found no cluster: set KUBECONFIG or give --kubeconfig FILE")?;
        Cluster::new(config, namespace)
    }
}

impl Cluster {
    fn new(config: Config, namespace: Option<String>) -> Result<Self> {
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("could not set up the connection to the cluster")?;
        Ok(Self { client, namespace })
    }

    /// Objects of a kind in another namespace.
    pub fn api_in<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// A provider as a person names it: `NAME` in the namespace of the command, or `NAMESPACE/NAME`.
pub fn provider(text: &str) -> Result<ProviderReference, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    let parts = namespace.into_iter().chain([name]);
    if parts.clone().all(is_object_name) && namespace.is_none_or(|namespace| !namespace.contains('.')) {
        Ok(ProviderReference {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        })
    } else {
        Err("must be NAME or NAMESPACE/NAME".to_owned())
    }
}

/// All objects of a kind, page by page. `params` has the size of a page.
pub async fn list<K>(api: &Api<K>, mut params: ListParams, what: &str) -> Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut items = Vec::new();
    loop {
        let page = api.list(&params).await.asked(|| format!("list {what}"))?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(items),
        }
    }
}
