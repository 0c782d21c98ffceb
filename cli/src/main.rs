//! `kubectl cocoon`: payment channels, jobs, verified results and a farm at a glance.

mod amount;
mod chain;
mod channel;
mod dashboard;
mod init;
mod kubernetes;
mod model;
mod output;
mod payer;
mod results;
mod run;
mod status;
mod table;
mod wallet;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cocoon_api::crash;

/// Channels, jobs and farms of Cocoon on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "kubectl-cocoon", bin_name = "kubectl cocoon", version)]
struct Arguments {
    #[command(flatten)]
    cluster: kubernetes::Arguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open, fund, authorize, close and show payment channels.
    #[command(subcommand)]
    Channel(channel::Command),
    /// Submit a job, follow it with a progress bar and print its results.
    Run(Box<run::Arguments>),
    /// Verify a job's receipts and print its results.
    Results(results::Arguments),
    /// Make a new wallet: its words go into a Secret, or into a payer's file, and are shown once.
    Init(init::Arguments),
    /// Show the payout wallets of a namespace: address, balance, and what they pay for.
    Wallet(wallet::Arguments),
    /// Read a model's file and write the YAML that offers it.
    #[command(subcommand)]
    Model(model::Command),
    /// A farm's day at a glance: GPUs, models, jobs, tokens and money.
    Status(status::Arguments),
    /// The operator's read-only page in a browser: farms, cards, models, jobs, channels, settlements, earnings by day.
    Dashboard(dashboard::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    // A payer's key and words are in its memory.
    if let Err(error) = crash::refuse_dumps() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let cluster = arguments.cluster;
    match arguments.command {
        // A contract can be seen and closed where its cluster is gone.
        Command::Channel(command) => Box::pin(channel::run(command, cluster)).await,
        Command::Run(arguments) => Box::pin(run::run(*arguments, &cluster.connect().await?)).await,
        Command::Results(arguments) => results::run(arguments, &cluster.connect().await?).await,
        // A payer's wallet needs no cluster.
        Command::Init(arguments) => init::run(arguments, cluster).await,
        Command::Wallet(arguments) => wallet::run(arguments, &cluster.connect().await?).await,
        Command::Model(command) => model::run(command).await,
        Command::Status(arguments) => status::run(arguments, &cluster.connect().await?).await,
        // The operator is in a namespace of its own.
        Command::Dashboard(arguments) => dashboard::run(arguments, cluster).await,
    }
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_of_the_documentation_are_understood() {
        Arguments::command().debug_assert();
        for line in [
            "channel open payer --namespace demo --provider farm --deposit 1 --cap 0.9",
            "channel open payer --provider farm --deposit 1 --cap 1 --valid-for 30d --challenge 1h --key-file key",
            "channel top-up payer --namespace demo --deposit 1",
            "channel authorize payer -n demo --cap 1.8 --valid-for 7d",
            "channel close payer",
            "channel close EQBvW8Z5huBkMJYdnfAEM5JqTNkuWX3diqYENkWsIL0XggGG --network mainnet",
            "channel show EQBvW8Z5huBkMJYdnfAEM5JqTNkuWX3diqYENkWsIL0XggGG --network lab=-5 --endpoint https://a.example,https://b.example",
            "channel show",
            "channel show payer -o json",
            "run -f job.yaml --settled",
            "run --model m --channel payer --max 0.1 --chat Hello",
            "run --model m --channel payer --max 0.1 --step 8 --key-file k --endpoint https://a.example Hello",
            "channel rebuild payer --dry-run --receipts a.jsonl --receipts b.jsonl",
            "results job -o receipts",
            "status -A",
            "status --provider farm/gpus",
            "channel open payer -n team --provider farm/gpus --deposit 1 --cap 0.9",
            "channel open payer --provider farm/gpus --payee EQBvW8Z5huBkMJYdnfAEM5JqTNkuWX3diqYENkWsIL0XggGG --network mainnet --deposit 1 --cap 1",
            "run --model m --free --provider farm/gpus Hello",
            "status --watch -o json",
            "init --network testnet",
            "init --network lab=-5 --secret wallet --namespace farm",
            "init --network testnet --key-file payer.key",
            "wallet",
            "wallet farm -o json --endpoint https://a.example",
            "model add m.gguf --price .5",
            "model add https://HOST/m.gguf --price 0.4 --headers folder --headers-from hub",
            "model add m.gguf --price 0.4 --claim models --payout UQ1 --network testnet --backend cpu",
            "--context test status",
            "dashboard",
            "dashboard -n cocoon --port 0",
        ] {
            let words = ["kubectl-cocoon"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_key_is_no_argument() {
        for line in [
            "channel close payer --key 00",
            "channel close payer --payer-key 00",
        ] {
            let words = ["kubectl-cocoon"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
    }
}
