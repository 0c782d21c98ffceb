//! `gpu-agent`: serves one model, or checks or measures it.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cocoon_api::panics;
use gpu_agent::backend::cuda::error::OpenError;

/// Exit status where the GPU that was asked for cannot be used, whatever the model: `EX_UNAVAILABLE` of `sysexits.h`.
const NO_GPU: u8 = 69;

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
            eprintln!("error: {error:#}");
            if error.downcast_ref::<OpenError>().is_some() {
                ExitCode::from(NO_GPU)
            } else {
                ExitCode::FAILURE
            }
        }
    }
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
