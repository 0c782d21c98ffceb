//! `kubectl cocoon run`: submits a job, follows it to its end and prints what came out.

mod follow;
mod progress;
mod prompts;
mod steps;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use cocoon_api::{
    NanoTon,
    conditions::{Complete, Reason as _, Settled},
    crd::{InferenceJob, ProviderReference},
    names::REQUESTS_KEY,
};
use kube::{Api, Resource as _, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    amount,
    channel::PayerArguments,
    kubernetes::{self, Asked as _, Cluster, FIELD_MANAGER},
    results,
};
use steps::Steps;

/// More than the API server takes in one object (1.5 MiB).
const MAX_MANIFEST_BYTES: u64 = 2 << 20;

/// What to run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Manifest of an InferenceJob, or `-` for standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["model", "prompts"], required_unless_present = "model")]
    filename: Option<PathBuf>,
    #[command(flatten)]
    job: JobArguments,
    #[command(flatten)]
    payer: PayerArguments,
    /// Wait until the cost is paid on chain, too.
    #[arg(long)]
    settled: bool,
    /// What to print of the results.
    #[arg(long, short, value_enum, default_value_t)]
    output: results::Format,
}

/// A job from the command line.
#[derive(Debug, Args)]
struct JobArguments {
    /// Model, as the provider offers it.
    #[arg(long, value_name = "NAME", requires = "prompts")]
    model: Option<String>,
    /// The provider that is asked; otherwise the one that the channel pays, or any of the namespace for a job that is
    /// free.
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "filename", value_parser = kubernetes::provider)]
    provider: Option<ProviderReference>,
    /// Payment channel that pays.
    #[arg(long, value_name = "NAME", requires = "max", required_unless_present_any = ["free", "filename"], conflicts_with = "filename")]
    channel: Option<String>,
    /// TON that the job may cost at most.
    #[arg(long, value_name = "TON", value_parser = amount::ton, conflicts_with_all = ["free", "filename"])]
    max: Option<NanoTon>,
    /// Sign for so many requests at a time: for the first before the job runs, for the next ones when the receipts of
    /// the last ones verify. Neither side then ever risks more. Each may cost its share of --max. Needs the payer's key
    /// and an endpoint.
    #[arg(long, value_name = "N", requires = "channel", conflicts_with_all = ["free", "filename"], value_parser = clap::value_parser!(u32).range(1..=10_000))]
    step: Option<u32>,
    /// Ask for a job that costs nothing.
    #[arg(long, conflicts_with_all = ["channel", "filename"])]
    free: bool,
    /// Each prompt is a message to a chat model; otherwise its text is continued as it is.
    #[arg(long, conflicts_with = "filename")]
    chat: bool,
    /// Tokens of each answer at most.
    #[arg(long, value_name = "N", conflicts_with = "filename", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Randomness of the answers from 0 (none) to 2.
    #[arg(long, value_name = "T", conflicts_with = "filename")]
    temperature: Option<f64>,
    /// Seed of the sampler.
    #[arg(long, value_name = "N", conflicts_with = "filename")]
    seed: Option<u64>,
    /// Name of the job; otherwise one is generated.
    #[arg(long, value_name = "NAME", conflicts_with = "filename")]
    name: Option<String>,
    /// Prompts, one request each.
    #[arg(value_name = "PROMPT")]
    prompts: Vec<String>,
}

/// Submits, follows, prints. Fails where the job fails.
pub async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments {
        filename,
        job,
        payer,
        settled,
        output,
    } = arguments;
    let steps = match (&job.step, &job.channel) {
        (Some(_), Some(channel)) => Some(Steps::begin(channel, &payer, cluster).await?),
        _ => None,
    };
    let jobs: Api<InferenceJob> = cluster.api();
    let job = match filename {
        Some(path) => submit(&jobs, manifest(&path, cluster)?).await?,
        None => submit_prompts(&jobs, job, cluster).await?,
    };
    let name = job.name_any();
    let condition = if settled { Settled::TYPE } else { Complete::TYPE };
    let job = tokio::select! {
        ended = follow::until(&jobs, &job, condition, async |seen: &InferenceJob| match &steps {
            Some(steps) => steps.pay(seen, cluster).await,
            None => Ok(()),
        }) => ended?,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt.context("could not listen for interrupts")?;
            bail!("job {name} runs on: see `kubectl cocoon results {name}`, or stop it with `kubectl delete inferencejob {name}`");
        }
    };
    eprintln!("{}", follow::summary(&job));
    results::print(&job, output, cluster).await
}

fn manifest(path: &Path, cluster: &Cluster) -> Result<InferenceJob> {
    let text = read(path).with_context(|| format!("could not read {}", path.display()))?;
    let job = parse(&text).with_context(|| format!("{} is not one InferenceJob", path.display()))?;
    if let Some(namespace) = &job.metadata.namespace {
        ensure!(
            *namespace == cluster.namespace,
            "{} is for namespace {namespace}, and the namespace is {}: give --namespace {namespace}",
            path.display(),
            cluster.namespace
        );
    }
    Ok(job)
}

/// YAML or JSON. Bodies are kept as JSON text, which only a JSON reader gives.
fn parse(text: &str) -> Result<InferenceJob> {
    // Editors of Windows put one first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut documents: Vec<Value> = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect();
    let Some(job) = documents.pop().filter(|_| documents.is_empty()) else {
        let count = documents.len();
        bail!(
            "it holds {} documents, and one job is followed: apply them with `kubectl apply -f`, or give each job a file of its own",
            if count == 0 { 0 } else { count + 1 }
        );
    };
    let said = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (said("apiVersion"), said("kind"));
    ensure!(
        version == InferenceJob::api_version(&()) && kind == InferenceJob::kind(&()),
        "it is a {kind:?} of {version:?}, and what is run is an InferenceJob of {:?}: apply anything else with \
         `kubectl apply -f`",
        InferenceJob::api_version(&())
    );
    Ok(serde_json::from_value(job)?)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    file.take(MAX_MANIFEST_BYTES + 1).read_to_string(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_MANIFEST_BYTES,
        "it holds more than {MAX_MANIFEST_BYTES} bytes"
    );
    Ok(text)
}

impl JobArguments {
    /// The requests, one a line.
    fn requests(&self) -> String {
        let body = |prompt: &String| {
            if self.chat {
                json!({"messages": [{"role": "user", "content": prompt}]})
            } else {
                json!({"prompt": prompt})
            }
        };
        prompts::jsonl(&self.prompts.iter().map(body).collect::<Vec<_>>())
    }

    /// The job of this name, whose requests are in this Secret.
    fn into_job(self, name: &str, secret: &str) -> Result<InferenceJob> {
        let Self {
            model,
            provider,
            channel,
            max,
            step,
            free,
            chat,
            max_tokens,
            temperature,
            seed,
            name: _,
            prompts: _,
        } = self;
        if let Some(temperature) = temperature {
            ensure!(
                (0.0..=2.0).contains(&temperature),
                "--temperature must be between 0 and 2"
            );
        }
        let billing = if free {
            json!({"mode": "Free"})
        } else {
            json!({"mode": "Channel", "channelRef": {"name": channel}, "maxNano": max, "step": step})
        };
        let job = json!({
            "apiVersion": "cocoon.farm/v1alpha1",
            "kind": "InferenceJob",
            "metadata": {"name": name},
            "spec": {
                "model": model,
                "providerRef": provider,
                "endpoint": if chat { "/v1/chat/completions" } else { "/v1/completions" },
                "input": {"secretRef": {"name": secret, "key": REQUESTS_KEY}},
                "parameters": {"maxTokens": max_tokens, "temperature": temperature, "seed": seed},
                "billing": billing,
            },
        });
        serde_json::from_value(job).context("could not make a job of the arguments")
    }
}

/// Stores the prompts, creates the job and gives them to it.
async fn submit_prompts(
    jobs: &Api<InferenceJob>,
    arguments: JobArguments,
    cluster: &Cluster,
) -> Result<InferenceJob> {
    let stored = prompts::store(arguments.name.as_deref(), &arguments.requests(), cluster).await?;
    let submitted = match arguments.into_job(&stored.job, &stored.secret) {
        Ok(job) => submit(jobs, job).await,
        Err(error) => Err(error),
    };
    match submitted {
        Ok(job) => {
            stored.belongs_to(&job, cluster).await?;
            Ok(job)
        }
        Err(error) => Err(match stored.withdraw(cluster).await {
            None => error,
            Some(left) => error.context(format!(
                "Secret {left} with the prompts is left behind: delete it"
            )),
        }),
    }
}

/// Creates the job; one of the same name and specification is followed instead.
async fn submit(jobs: &Api<InferenceJob>, job: InferenceJob) -> Result<InferenceJob> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match jobs.create(&params, &job).await {
        Ok(created) => {
            eprintln!("job {} is submitted", created.name_any());
            Ok(created)
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let name = job.name_any();
            let existing = jobs
                .get(&name)
                .await
                .asked(|| format!("read InferenceJob {name}"))?;
            ensure!(
                json!(existing.spec) == json!(job.spec),
                "job {name} exists with another specification: use another name, or delete it first"
            );
            eprintln!("job {name} was submitted before, following it");
            Ok(existing)
        }
        refused => refused.asked(|| "submit the job".to_owned()),
    }
}

#[cfg(test)]
mod tests;
