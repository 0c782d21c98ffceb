//! The running stack, as `cargo xtask stack up` describes it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::NanoTon;
use cocoon_ton::{Address, ChainClient, ChannelReader, Network};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

/// Variable that names the stack's description.
pub const STACK_VARIABLE: &str = "COCOON_STACK";

/// A cluster with the chart installed, and a TON network.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The cluster.
    pub kubeconfig: PathBuf,
    /// A kubectl.
    pub kubectl: PathBuf,
    /// The plugin `kubectl cocoon`.
    pub plugin: PathBuf,
    /// Namespace of the operator.
    pub operator_namespace: String,
    /// Name of the TON network in the chart's values.
    pub network: String,
    /// Its global id.
    pub global_id: i32,
    /// Root of the testbed chain's HTTP server, as seen from here.
    pub chain: String,
    /// The model's file, on every node.
    pub model_path: PathBuf,
    /// Its SHA-256.
    pub model_sha256: String,
    /// The agent's image.
    pub agent_image: String,
    /// GPUs that the cluster offers in all.
    pub gpus: u32,
}

/// The running stack.
#[derive(Clone)]
pub struct Stack {
    /// Where everything is.
    pub description: Description,
    /// The Kubernetes API.
    pub client: Client,
    /// The chain, as anyone reads it.
    pub chain: ChannelReader,
    http: reqwest::Client,
}

impl Stack {
    /// Connects to the stack that [`STACK_VARIABLE`] names.
    pub async fn connect() -> Result<Self> {
        let path = std::env::var(STACK_VARIABLE).with_context(|| {
            format!("{STACK_VARIABLE} is not set: run the end-to-end tests with `./x test e2e`")
        })?;
        Self::open(Path::new(&path)).await
    }

    /// Connects to the stack that a file describes.
    pub async fn open(path: &Path) -> Result<Self> {
        // A second test in the same process finds the provider installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        let description: Description = serde_json::from_str(&text)
            .with_context(|| format!("{} does not describe a stack", path.display()))?;
        let kubeconfig =
            Kubeconfig::read_from(&description.kubeconfig).context("could not read the kubeconfig")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let endpoint = format!("{}/api/v2", description.chain);
        Ok(Self {
            client: Client::try_from(config)?,
            chain: ChannelReader::new(ChainClient::new(&endpoint, None)?),
            http: reqwest::Client::builder().build()?,
            description,
        })
    }

    /// The network of the stack.
    pub fn network(&self) -> Network {
        Network::new(self.description.network.clone(), self.description.global_id)
    }

    /// The toncenter endpoint, as seen from here.
    pub fn endpoint(&self) -> String {
        format!("{}/api/v2", self.description.chain)
    }

    /// Gives coins of the testbed's faucet.
    pub async fn give(&self, address: &Address, amount: NanoTon) -> Result<()> {
        let before = self.balance(address).await?;
        let friendly = address.friendly(&self.network(), false);
        self.post("/faucet", &json!({"address": friendly, "nano": amount.nano()}))
            .await?;
        crate::wait::until("the faucet's coins arrive", || async {
            Ok((self.balance(address).await? >= before.checked_add(amount)?).then_some(()))
        })
        .await
    }

    /// What an account holds.
    pub async fn balance(&self, address: &Address) -> Result<NanoTon> {
        Ok(self.chain.client().account(address).await?.balance)
    }

    /// Makes the chain's endpoint answer the next requests with an error, or none of them.
    pub async fn refuse_requests(&self, requests: u32) -> Result<()> {
        self.post("/testbed/faults", &json!({"unavailable": requests}))
            .await
    }

    /// Stops or resumes the making of blocks: messages are accepted and wait.
    pub async fn pause_blocks(&self, paused: bool) -> Result<()> {
        self.post("/testbed/blocks", &json!({"paused": paused})).await
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        let url = format!("{}{path}", self.description.chain);
        let answer = self
            .http
            .post(&url)
            .json(body)
            .send()
            .await
            .with_context(|| format!("could not ask {url}"))?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "{url} answered {status}: {}",
            answer.text().await.unwrap_or_default()
        );
        Ok(())
    }

    /// Runs kubectl and answers what it prints; fails with what it says on standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.description.kubectl);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.description.kubeconfig);
        run(command, arguments, None).await
    }

    /// Like [`Stack::kubectl`], with text on standard input.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.description.kubectl);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.description.kubeconfig);
        run(command, arguments, Some(input)).await
    }

    /// Runs the plugin with the payer's key in the environment.
    pub async fn plugin(&self, arguments: &[&str], payer_key: &str) -> Result<String> {
        let mut command = Command::new(&self.description.plugin);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.description.kubeconfig)
            .env("COCOON_TON_ENDPOINT", self.endpoint())
            .env(
                "COCOON_TON_NETWORK",
                format!("{}={}", self.description.network, self.description.global_id),
            )
            .env("COCOON_PAYER_KEY", payer_key);
        run(command, arguments, None).await
    }
}

async fn run(mut command: Command, arguments: &[&str], input: Option<&str>) -> Result<String> {
    use tokio::io::AsyncWriteExt as _;
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {command:?}"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{}` failed: {}",
        arguments.join(" "),
        words.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
