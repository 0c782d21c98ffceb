//! Memory of the operator, idle and after many finished jobs, as one JSON object.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use cocoon_api::{
    conditions::{Complete, Reason as _},
    crd::InferenceJob,
};
use e2e::{
    farm::{Farm, MODEL, Offer},
    namespace::with_namespace,
    stack::Stack,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

/// Jobs that are submitted before the first of them must have ended.
const BATCH: usize = 50;

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Description of the running stack
    #[arg(long)]
    stack: PathBuf,
    /// Jobs to finish
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let stack = Stack::open(&args.stack).await?;
    let idle = resident(&stack).await?;
    let (jobs, after) = (args.jobs, std::sync::Mutex::new(0));
    with_namespace(&stack, "bench", |namespace| {
        let (stack, after) = (stack.clone(), &after);
        async move {
            let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
            finish(&farm, jobs).await?;
            let bytes = resident(&stack).await?;
            *after.lock().expect("nobody panicked") = bytes;
            Ok(())
        }
    })
    .await?;
    let after = *after.lock().expect("nobody panicked");
    println!(
        "{}",
        json!({"idleBytes": idle, "jobs": jobs, "afterJobsBytes": after})
    );
    Ok(())
}

/// Free jobs of one token each: the operator's work is the same, and no settlement waits in between.
async fn finish(farm: &Farm<'_>, jobs: usize) -> Result<()> {
    farm.ready().await?;
    let names: Vec<String> = (0..jobs).map(|number| format!("bench-{number}")).collect();
    for batch in names.chunks(BATCH) {
        for name in batch {
            farm.create::<InferenceJob>(&json!({
                "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": name},
                "spec": {"model": MODEL, "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "x"}]},
                         "parameters": {"maxTokens": 1}, "billing": {"mode": "Free"}},
            }))
            .await?;
        }
        for name in batch {
            farm.wait_for(name, Complete::TYPE).await?;
        }
        eprintln!("{} of {jobs} jobs", batch.last().map_or("", String::as_str));
    }
    Ok(())
}

/// Resident memory of the leading operator, from its own metrics.
async fn resident(stack: &Stack) -> Result<u64> {
    let namespace = &stack.description.operator_namespace;
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), namespace);
    let found = pods
        .list(&ListParams::default().labels("app.kubernetes.io/name=cocoon-operator"))
        .await?;
    let pod = found.items.first().context("an operator runs")?.name_any();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/metrics");
    let metrics = stack.kubectl(&["get", "--raw", &path]).await?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let value: f64 = line.context("the operator tells its memory")?.parse()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size in bytes"
    )]
    Ok(value as u64)
}
