//! `gpu-agent`: serves one model, or checks or measures it.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cocoon_api::{
    agent::{FETCH_EXIT_STATUS, GPU_EXIT_STATUS, GpuFault, START_EXIT_STATUS, StartFault},
    crash,
};
use gpu_agent::{
    backend::{
        AllocationError, DeviceError, ForwardError, ReserveError,
        cuda::{error::OpenError, selftest::WrongKernel},
    },
    fetch::FetchError,
    http::TlsError,
    model::decoder::{
        LoadError,
        plan::{MemoryTaken, PlanError},
    },
    weights::{file::ModelError, gguf::HeaderError},
};

/// The agent of a farm: loads one model, serves it, meters it.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a model and serve it over mutual TLS until SIGTERM.
    Serve(Box<commands::serve::Arguments>),
    /// Download a model into its node's folder of models, once.
    Fetch(commands::fetch::Arguments),
    /// Wait until the node has a copy of a model.
    Await(commands::await_copy::Arguments),
    /// Compare a model with recorded reference outputs; the exit status is non-zero on any difference that matters.
    Eval(commands::eval::Arguments),
    /// Say what the driver says of each GPU, what it was measured to do, and what it could serve.
    Info(commands::info::Arguments),
    /// Check every kernel on a GPU against plain code, bit for bit, and a short generation against the processor.
    Selftest(commands::selftest::Arguments),
    /// Measure prefill and decode, and print one JSON object.
    Bench(commands::bench::Arguments),
    /// Write a model of random weights in the shape of a published one, to check and measure a machine with.
    RandomModel(commands::random_model::Arguments),
}

fn main() -> ExitCode {
    if let Err(error) = crash::leave_nothing_private() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: Kubernetes repeats it as the reason why the container ended.
            let (word, status) = if let Some(fault) = error.chain().find_map(gpu_fault) {
                (fault.word().to_owned(), GPU_EXIT_STATUS)
            } else if let Some(fault) = error.chain().find_map(start_fault) {
                (fault.word().to_owned(), START_EXIT_STATUS)
            } else if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<FetchError>()) {
                (error.fault().word(), FETCH_EXIT_STATUS)
            } else {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            };
            eprintln!("error: {word}: {error:#}");
            ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
        }
    }
}

/// What an error says of a device.
fn gpu_fault(error: &(dyn std::error::Error + 'static)) -> Option<GpuFault> {
    if let Some(error) = error.downcast_ref::<OpenError>() {
        return Some(error.fault());
    }
    if let Some(error) = error.downcast_ref::<PlanError>() {
        return Some(error.fault());
    }
    if error.is::<MemoryTaken>() {
        return Some(GpuFault::GpuMemoryTaken);
    }
    if error.is::<WrongKernel>() {
        return Some(GpuFault::KernelWrong);
    }
    let device = |error: &DeviceError| error.fault.into();
    let allocation = |error: &AllocationError| error.fault.into();
    if let Some(ForwardError::Device(error)) = error.downcast_ref() {
        return Some(device(error));
    }
    if let Some(ReserveError::Allocation(error)) = error.downcast_ref() {
        return Some(allocation(error));
    }
    let direct = error.downcast_ref().map(device);
    direct.or_else(|| error.downcast_ref().map(allocation))
}

/// What an error says of the files that an agent is given.
fn start_fault(error: &(dyn std::error::Error + 'static)) -> Option<StartFault> {
    let of_model = |error: &ModelError| match error {
        ModelError::Io { .. } => StartFault::ModelUnreadable,
        ModelError::Header {
            source: HeaderError::TensorType { .. },
            ..
        }
        | ModelError::Architecture { .. } => StartFault::ModelUnsupported,
        ModelError::Header { .. } => StartFault::ModelMalformed,
        ModelError::Digest { .. } => StartFault::ModelDigest,
    };
    if let Some(LoadError::Model(error)) = error.downcast_ref() {
        return Some(of_model(error));
    }
    if error.is::<commands::serve::CopyGone>() {
        return Some(StartFault::ModelCopyGone);
    }
    let of_files = || error.downcast_ref::<TlsError>().map(|_| StartFault::TlsUnusable);
    error.downcast_ref().map(of_model).or_else(of_files)
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Fetch(arguments) => commands::fetch::run(&arguments),
        Command::Await(arguments) => commands::await_copy::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Info(arguments) => commands::info::run(&arguments),
        Command::Selftest(arguments) => commands::selftest::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::RandomModel(arguments) => commands::random_model::run(&arguments),
    }
}
