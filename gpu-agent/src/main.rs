//! `gpu-agent`: serves one model, or checks or measures it.

mod commands;

use clap::{Parser, Subcommand};

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

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
    }
}
