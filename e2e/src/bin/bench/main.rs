//! Figures of the operator under many jobs, as one JSON object.

mod many;

use std::{path::PathBuf, sync::Mutex};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use e2e::{
    farm::{Farm, Offer},
    namespace::with_large_namespace,
    operator::Figures,
    stack::Stack,
};
use serde_json::{Value, json};

use many::{Pace, finish};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// Description of the running stack
    #[arg(long)]
    stack: PathBuf,
    /// Jobs to finish
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Jobs a second and requests to the Kubernetes API, in batches and all at once
    Jobs,
    /// Memory, idle and after the jobs
    Memory,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let stack = Stack::open(&args.stack).await?;
    let idle = Figures::read(&stack).await?;
    let found = Mutex::new(None);
    // In batches and at once.
    let most = u32::try_from(2 * args.jobs).context("fewer jobs")?;
    with_large_namespace(&stack, "bench", most, |namespace| {
        let (stack, found, args) = (stack.clone(), &found, &args);
        async move {
            let offer = Offer {
                allow_free: true,
                ..Offer::kept(&stack)
            };
            let farm = Farm::start(&stack, &namespace, &offer).await?;
            farm.ready().await?;
            let figures = match args.what {
                What::Jobs => jobs(&farm, args.jobs).await?,
                What::Memory => memory(&farm, args.jobs, idle).await?,
            };
            *found.lock().expect("nobody panicked") = Some(figures);
            Ok(())
        }
    })
    .await?;
    let found = found.into_inner().expect("nobody panicked");
    println!("{}", found.context("figures were measured")?);
    Ok(())
}

async fn jobs(farm: &Farm<'_>, jobs: usize) -> Result<Value> {
    let in_batches = finish(farm, "batched", jobs, Pace::Batches).await?;
    let at_once = finish(farm, "at-once", jobs, Pace::AtOnce).await?;
    Ok(json!({"jobs": jobs, "inBatches": in_batches, "atOnce": at_once}))
}

async fn memory(farm: &Farm<'_>, jobs: usize, idle: Figures) -> Result<Value> {
    finish(farm, "bench", jobs, Pace::AtOnce).await?;
    let after = Figures::read(farm.stack).await?;
    Ok(json!({"idleBytes": idle.resident_bytes, "jobs": jobs, "afterJobsBytes": after.resident_bytes}))
}
