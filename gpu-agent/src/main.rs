//! `gpu-agent`: serves one model, or checks or measures it.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cocoon_api::{
    agent::{GPU_EXIT_STATUS, GpuFault},
    panics,
};
use gpu_agent::{
    backend::{AllocationError, DeviceError, ForwardError, ReserveError, cuda::error::OpenError},
    model::decoder::plan::PlanError,
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
    /// Compare a model with recorded reference outputs; the exit status is non-zero on any difference that matters.
    Eval(commands::eval::Arguments),
    /// Say what the driver says of each GPU, what it was measured to do, and what it could serve.
    Info(commands::info::Arguments),
    /// Check every kernel on a GPU against plain code, bit for bit, and a short generation against the processor.
    Selftest(commands::selftest::Arguments),
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
            let Some(fault) = error.chain().find_map(gpu_fault) else {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            };
            eprintln!("error: {}: {error:#}", fault.word());
            ExitCode::from(u8::try_from(GPU_EXIT_STATUS).unwrap_or(u8::MAX))
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

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Info(arguments) => commands::info::run(&arguments),
        Command::Selftest(arguments) => commands::selftest::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
    }
}
