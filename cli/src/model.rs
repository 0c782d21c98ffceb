//! `kubectl cocoon model`: what a farm needs to know of a model's file, and the YAML that offers it.

mod download;
mod facts;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use cocoon_api::NanoTon;
use serde_json::{Value, json};

use crate::{amount, output};
use facts::{Facts, Wanted};

/// What can be done with models.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read a model's file as the agent will, and print what it is, what it fits and the YAML that offers it.
    Add(Arguments),
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// GPUs.
    Cuda,
    /// The CPU of the node.
    Cpu,
}

/// Which file, and how it is offered.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The model's file (GGUF), as it lies on this machine, or the address from which each node will download it: it is
    /// downloaded here once as well, for its digest, and not kept.
    #[arg(value_name = "FILE|URL")]
    file: String,
    /// Price of a million tokens of answers in TON. A million tokens of prompts cost a quarter of it, cached ones a
    /// tenth of that.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    price: NanoTon,
    /// Name that jobs ask for; otherwise made of the file's name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the file lies on the nodes; otherwise where it lies here.
    #[arg(long, value_name = "PATH", conflicts_with = "claim")]
    host_path: Option<String>,
    /// `PersistentVolumeClaim` that holds the file, under its own name.
    #[arg(long, value_name = "CLAIM")]
    claim: Option<String>,
    /// Folder with headers for the server of an address: a file for each, of the header's name.
    #[arg(long, value_name = "FOLDER")]
    headers: Option<PathBuf>,
    /// Secret from which nodes take these headers, with the label `cocoon.farm/headers: "true"`.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["claim", "host_path"])]
    headers_from: Option<String>,
    /// Tokens of context; otherwise 4096, or what the model was made for where that is less.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    context_length: Option<u32>,
    /// Requests that one agent computes at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    max_in_flight: u32,
    /// What computes.
    #[arg(long, value_enum, default_value_t = Backend::Cuda)]
    backend: Backend,
    /// Network and address of the payout wallet, as `kubectl cocoon init` said: the YAML is a whole CocoonProvider
    /// then, and otherwise an entry of `spec.models`.
    #[arg(long, value_name = "ADDRESS", requires = "network")]
    payout: Option<String>,
    /// Address of the wallet that claims, where `--payout` is another, whose key lies in no cluster.
    #[arg(long, value_name = "ADDRESS", requires = "payout")]
    claimer: Option<String>,
    /// Name of the payout wallet's network.
    #[arg(long, value_name = "NAME", requires = "payout")]
    network: Option<String>,
    /// Name of the provider.
    #[arg(long, value_name = "NAME", default_value = "farm")]
    provider: String,
    /// Secret with the words of the wallet that claims.
    #[arg(long, value_name = "NAME", default_value = "farm-wallet")]
    secret: String,
}

/// Runs one of the commands. None of them needs a cluster.
pub async fn run(command: Command) -> Result<()> {
    let Command::Add(arguments) = command;
    let is_url = arguments.is_url();
    ensure!(
        is_url || (arguments.headers.is_none() && arguments.headers_from.is_none()),
        "headers are for an address that begins with http:// or https://"
    );
    ensure!(
        !is_url || (arguments.claim.is_none() && arguments.host_path.is_none()),
        "an address needs neither --claim nor --host-path: nodes download from it"
    );
    let wanted = Wanted {
        context: arguments.context_length,
        sequences: arguments.max_in_flight,
    };
    let facts = if is_url {
        download::facts(&arguments.file, arguments.headers.as_deref(), wanted).await?
    } else {
        Facts::read(Path::new(&arguments.file), wanted)?
    };
    let yaml = serde_saphyr::to_string(&arguments.object(&facts)?).context("could not write YAML")?;
    output::print(&format!("{}{yaml}", facts.comment()))
}

impl Arguments {
    fn is_url(&self) -> bool {
        ["http://", "https://"]
            .iter()
            .any(|scheme| self.file.starts_with(scheme))
    }

    fn object(&self, facts: &Facts) -> Result<Value> {
        let model = self.model(facts)?;
        let (Some(address), Some(network)) = (&self.payout, &self.network) else {
            return Ok(json!([model]));
        };
        let mut spec = json!({
            "backend": if self.backend == Backend::Cuda { "CUDA" } else { "CPU" },
            "models": [model],
            "payout": {"network": network, "address": address, "walletSecretRef": {"name": self.secret}},
        });
        if let Some(claimer) = &self.claimer {
            spec["payout"]["claimer"] = json!(claimer);
        }
        if self.backend == Backend::Cuda {
            spec["nodeSelector"] = json!({"nvidia.com/gpu.present": "true"});
            spec["tolerations"] =
                json!([{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]);
        }
        Ok(json!({
            "apiVersion": "cocoon.farm/v1alpha1",
            "kind": "CocoonProvider",
            "metadata": {"name": self.provider},
            "spec": spec,
        }))
    }

    fn model(&self, facts: &Facts) -> Result<Value> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&facts.file_name),
        };
        ensure!(
            cocoon_api::names::is_object_name(&name) && name.len() <= 63,
            "{name:?} is no name of a model: give --name with small letters, digits, - and ., at most 63 of them"
        );
        let source = match (&self.claim, &self.host_path) {
            _ if self.is_url() => {
                let mut source = json!({"url": self.file, "sha256": facts.sha256});
                if let Some(secret) = &self.headers_from {
                    source["headersFrom"] = json!({"name": secret});
                }
                source
            }
            (Some(claim), _) => {
                json!({"pvc": {"claimName": claim, "path": facts.file_name}, "sha256": facts.sha256})
            }
            (None, Some(path)) => json!({"hostPath": path, "sha256": facts.sha256}),
            (None, None) => json!({"hostPath": facts.path, "sha256": facts.sha256}),
        };
        let completion = self.price.nano();
        let prompt = completion.div_ceil(4);
        Ok(json!({
            "name": name,
            "source": source,
            "contextLength": facts.context,
            "gpusPerReplica": if self.backend == Backend::Cuda { facts.gpus() } else { 0 },
            "maxInFlight": self.max_in_flight,
            "footprint": {"weightsBytes": facts.weights, "cacheBytesPerToken": facts.cache_per_token},
            "price": {
                "prompt": prompt, "cachedPrompt": prompt.div_ceil(10), "completion": completion, "reasoning": completion,
            },
        }))
    }
}

/// A name of a file as a name of a model: `Qwen2.5-7B_Q4_K_M.gguf` is `qwen2.5-7b-q4-k-m`.
fn name_of(file: &str) -> String {
    let stem = file.strip_suffix(".gguf").unwrap_or(file);
    let letters = stem.chars().map(|letter| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || letter == '.' => letter,
        _ => '-',
    });
    let name: String = letters.take(63).collect();
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests;
