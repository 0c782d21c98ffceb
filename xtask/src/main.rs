//! Code generation, images, clusters, demo, tests and benches.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod cache;
mod chart;
mod cluster;
mod codegen;
mod demo;
mod e2e;
mod fuzz;
mod image;
mod kernels;
mod kind;
mod model;
mod page;
mod pypi;
mod release;
mod stack;
mod test;
mod tools;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start, stop and use the Kubernetes of the testbed
    Cluster(cluster::Args),
    /// Write the generated files, or check that they are up to date
    Codegen(codegen::Args),
    /// Compile the CUDA kernels to PTX, or check that the committed PTX is what they give
    Kernels(kernels::Args),
    /// Run the checks and tests
    Test(test::Args),
    /// Build the images as OCI archives, without a container engine
    Image(image::Args),
    /// Make everything that a release consists of, in one folder
    Release(release::Args),
    /// Measure, and write JSON under target/bench
    Bench(bench::Args),
    /// Run the fuzz targets
    Fuzz(fuzz::Args),
    /// Start, stop and test on a cluster that kind makes
    Kind(kind::Args),
    /// Run the whole loop and show it: cluster, farm, job, payment
    Demo(demo::Args),
    /// Remove every trace of the demo, the tests and their cluster
    Down,
    /// Run the end-to-end tests
    E2e(e2e::Args),
    /// Look at the operator's page in a browser
    Page(page::Args),
    /// Start or end what the demo and the end-to-end tests run on
    Stack(stack::Args),
    /// Fetch the demo model into the cache and print its path
    Model,
    /// Fetch a pinned tool into the cache and print its path
    Tool {
        /// Which tool
        name: tools::Name,
    },
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Test(args) => return test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => return demo::run(&args),
        Command::E2e(args) => return e2e::run(&args),
        Command::Fuzz(args) => return fuzz::run(&args),
        Command::Kind(args) => return kind::run(&args),
        Command::Down => kind::down().and_then(|()| stack::down()),
        Command::Stack(args) => stack::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Codegen(args) => codegen::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Kernels(args) => kernels::run(&args),
        Command::Release(args) => release::run(&args),
        Command::Model => model::run(),
        Command::Page(args) => page::run(&args),
        Command::Tool { name } => tools::run(name),
    }?;
    Ok(ExitCode::SUCCESS)
}
