//! `gpu-agent`: serves one model, or checks or measures it.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cocoon_api::{
    agent::{GPU_EXIT_STATUS, GpuFault},
    panics,
};
use gpu_agent::backend::{AllocationError, DeviceError, ForwardError, ReserveError, cuda::error::OpenError};

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
    /// Compare a model with recorded reference outputs; the exit status is non-zero on any difference that matters.
    Eval(commands::eval::Arguments),
    /// Measure prefill and decode, and print one JSON object.
    Bench(commands::bench::Arguments),
}

fn main() -> ExitCode {
    // A panic's payload may hold a prompt.
    std::panic::set_hook(Box::new(|panic| eprintln!("{}", panics::words(panic.location()))));
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: Kubernetes repeats it as the reason why the container ended.
            let Some(fault) = gpu_fault(&error) else {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            };
            eprintln!("error: {}: {error:#}", fault.code());
            ExitCode::from(u8::try_from(GPU_EXIT_STATUS).unwrap_or(u8::MAX))
        }
    }
}

/// What is wrong with the device, where that is why the agent ends.
fn gpu_fault(error: &anyhow::Error) -> Option<GpuFault> {
    let of_forward = |error: &ForwardError| match error {
        ForwardError::Device(error) => Some(error.fault.into()),
        ForwardError::Batch(_) | ForwardError::Numbers(_) => None,
    };
    error.chain().find_map(|cause| {
        let memory = cause.is::<AllocationError>() || cause.is::<ReserveError>();
        let open = cause.downcast_ref::<OpenError>().map(OpenError::fault);
        let device = cause
            .downcast_ref::<DeviceError>()
            .map(|error| error.fault.into());
        open.or(device)
            .or_else(|| cause.downcast_ref::<ForwardError>().and_then(of_forward))
            .or_else(|| memory.then_some(GpuFault::OutOfMemory))
    })
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
    }
}
