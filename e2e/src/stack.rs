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
use tokio::{io::AsyncWriteExt as _, process::Command};

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
    /// A Helm.
    pub helm: PathBuf,
    /// Name of the chart's installation.
    pub release: String,
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
    /// Folder in which a file of a node's name holds the indices of its failed GPUs, where the GPUs are the testbed's.
    pub gpu_failures: Option<PathBuf>,
    /// File with the MiB of a GPU's memory that containers are given while it is there, where the GPUs are the
    /// testbed's.
    pub gpu_memory: Option<PathBuf>,
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
            chain: ChannelReader::new(ChainClient::new(&Network::TESTBED, &endpoint, None)?),
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

    /// Moves the chain's time forward, so that nothing has to wait for a challenge window.
    pub async fn advance_time(&self, seconds: u32) -> Result<()> {
        self.post("/testbed/advance", &json!({"seconds": seconds})).await
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
        self.kubectl_command(arguments).say(None).await?.success()
    }

    /// Like [`Stack::kubectl`], with text on standard input.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.kubectl_command(arguments).say(Some(input)).await?.success()
    }

    /// Runs Helm and answers what it prints; fails with what it says on standard error.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut call = Called::new(&self.description.helm, arguments);
        call.command.env("KUBECONFIG", &self.description.kubeconfig);
        call.say(None).await?.success()
    }

    /// Runs the plugin with the payer's key in the environment.
    pub async fn plugin(&self, arguments: &[&str], payer_key: &str) -> Result<String> {
        self.try_plugin(arguments, payer_key).await?.success()
    }

    /// Like [`Stack::plugin`], and answers what it said whether it succeeded or not.
    pub async fn try_plugin(&self, arguments: &[&str], payer_key: &str) -> Result<Said> {
        let command = Called::new(&self.description.plugin, arguments);
        self.as_payer(command, payer_key).say(None).await
    }

    /// Runs the plugin as people do: `kubectl cocoon …`, found by its name in the path.
    pub async fn kubectl_cocoon(&self, arguments: &[&str], payer_key: &str) -> Result<Said> {
        let folder = self
            .description
            .plugin
            .parent()
            .context("the plugin lies in a folder")?;
        let before = std::env::var_os("PATH").unwrap_or_default();
        let folders = [folder.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&before));
        let path = std::env::join_paths(folders).context("could not put the plugin in the path")?;
        let mut call = self.kubectl_command(&[&["cocoon"], arguments].concat());
        call.command.env("PATH", path);
        self.as_payer(call, payer_key).say(None).await
    }

    /// Runs a line as a person types it in a folder: kubectl and its plugin are in the path, and the network is this
    /// stack's. Nobody's key is in the environment.
    pub async fn shell(&self, line: &str, folder: &Path) -> Result<Said> {
        let mut folders = Vec::new();
        for program in [&self.description.kubectl, &self.description.plugin] {
            folders.push(program.parent().context("a program lies in a folder")?.to_owned());
        }
        let before = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&before));
        let path = std::env::join_paths(folders).context("could not put kubectl in the path")?;
        let mut call = self.as_payer(Called::new(Path::new("sh"), &["-c", line]), "");
        call.command
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("COCOON_PAYER_KEY");
        call.say(None).await
    }

    /// The plugin as a program that is started and goes on.
    pub fn plugin_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.description.plugin);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.description.kubeconfig)
            .stdin(Stdio::null());
        command
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Called {
        let mut call = Called::new(&self.description.kubectl, arguments);
        call.command.env("KUBECONFIG", &self.description.kubeconfig);
        call
    }

    fn as_payer(&self, mut call: Called, payer_key: &str) -> Called {
        let Description {
            network,
            global_id,
            kubeconfig,
            ..
        } = &self.description;
        call.command
            .env("KUBECONFIG", kubeconfig)
            .env("COCOON_TON_ENDPOINT", self.endpoint())
            .env("COCOON_TON_NETWORK", format!("{network}={global_id}"))
            .env("COCOON_PAYER_KEY", payer_key);
        call
    }
}

/// What a program said, and whether it was content.
#[derive(Debug, Clone)]
pub struct Said {
    /// The words it was called with.
    pub call: String,
    /// Whether it exited with zero.
    pub succeeded: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output of a program that succeeded; otherwise its last words as the error.
    pub fn success(self) -> Result<String> {
        ensure!(self.succeeded, "`{}` failed: {}", self.call, self.err.trim());
        Ok(self.out)
    }
}

/// A program that is to be run.
struct Called {
    words: String,
    command: Command,
}

impl Called {
    fn new(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self {
            words: arguments.join(" "),
            command,
        }
    }

    async fn say(self, input: Option<&str>) -> Result<Said> {
        let Self { words, mut command } = self;
        let stdin = if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {command:?}"))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(text.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        Ok(Said {
            call: words,
            succeeded: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
