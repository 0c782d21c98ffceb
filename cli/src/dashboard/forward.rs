//! Connections of this machine to the operator's pod, each through the API server.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
};

use super::operator::Operator;
use crate::kubernetes::Asked as _;

/// Connections at once, as many as the page takes; a browser opens six.
const MAX_CONNECTIONS: usize = 16;
/// Pause after a failed accept, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The way to the page.
pub struct Forward {
    client: Client,
    namespace: String,
    /// It changes when another operator takes over.
    operator: Mutex<Operator>,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator in namespace {}", self.namespace)
    }
}

impl Forward {
    /// Finds the operator, and that its page answers.
    pub async fn to(client: Client, namespace: String) -> Result<Arc<Self>> {
        let operator = Operator::find(&client, &namespace).await?;
        let forward = Self {
            client,
            namespace,
            operator: Mutex::new(operator.clone()),
        };
        // Who may not forward ports hears it now, and not from a browser.
        forward.connect(&operator).await?.abort();
        Ok(Arc::new(forward))
    }

    /// Takes connections for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(place) = places.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let forward = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = forward.bring(stream).await {
                            eprintln!("error: {error:#}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    eprintln!("error: could not accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Brings one connection to the page and back. Where the pod is gone, its successor is looked for once.
    async fn bring(&self, stream: TcpStream) -> Result<()> {
        let operator = self.operator.lock().await.clone();
        let mut forwarder = match self.connect(&operator).await {
            Ok(forwarder) => forwarder,
            Err(_) => self.reconnect().await?,
        };
        let port = self.operator.lock().await.port;
        let page = forwarder
            .take_stream(port)
            .context("the port was forwarded without a stream")?;
        let failure = forwarder
            .take_error(port)
            .context("the port was forwarded without a word on failures")?;
        let (mut from_browser, mut to_browser) = tokio::io::split(stream);
        let (mut from_page, mut to_page) = tokio::io::split(page);
        // Whichever side goes away first, a connection of HTTP is over with it. A browser that goes in the middle is no
        // failure.
        tokio::select! {
            _ = tokio::io::copy(&mut from_page, &mut to_browser) => {}
            _ = tokio::io::copy(&mut from_browser, &mut to_page) => {}
        }
        forwarder.abort();
        match failure.await {
            Some(words) => Err(anyhow!("the operator's page does not answer: {}", words.trim())),
            None => Ok(()),
        }
    }

    async fn reconnect(&self) -> Result<kube::api::Portforwarder> {
        let found = Operator::find(&self.client, &self.namespace).await?;
        let forwarder = self.connect(&found).await?;
        *self.operator.lock().await = found;
        Ok(forwarder)
    }

    async fn connect(&self, operator: &Operator) -> Result<kube::api::Portforwarder> {
        let Operator { pod, port } = operator;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let forwarded = pods.portforward(pod, &[*port]).await;
        forwarded.asked(|| format!("forward a port to pod {pod} of namespace {}", self.namespace))
    }
}
