//! `kubectl cocoon channel`: the payer's side of a payment channel.

mod authorize;
mod close;
pub mod object;
mod open;
mod rebuild;
mod show;
mod top_up;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{chain, kubernetes, payer};

/// What can be done with a channel.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy and fund the escrow contract, sign a voucher and create the PaymentChannel. Safe to run again.
    Open(open::Arguments),
    /// Add to the deposit.
    TopUp(top_up::Arguments),
    /// Sign a higher or longer voucher.
    Authorize(authorize::Arguments),
    /// Start the challenge window; once it is over, run again to get the rest of the deposit back. Takes a contract's
    /// address as well, where the object is gone.
    Close(close::Arguments),
    /// Show channels as the cluster and as the chain know them, or a contract by its address.
    Show(show::Arguments),
    /// For the farm: prove from receipts what a ledger lost that is behind its contract, so that its operator goes on.
    Rebuild(rebuild::Arguments),
}

/// Who pays, and where.
#[derive(Debug, Args)]
pub struct PayerArguments {
    #[command(flatten)]
    payer: payer::Arguments,
    #[command(flatten)]
    chain: chain::Arguments,
}

/// Runs one of the commands.
pub async fn run(command: Command, cluster: kubernetes::Arguments) -> Result<()> {
    match command {
        Command::Open(arguments) => open::run(arguments, &cluster.connect().await?).await,
        Command::TopUp(arguments) => top_up::run(arguments, &cluster.connect().await?).await,
        Command::Authorize(arguments) => authorize::run(arguments, &cluster.connect().await?).await,
        Command::Close(arguments) => close::run(arguments, cluster).await,
        Command::Show(arguments) => show::run(arguments, cluster).await,
        Command::Rebuild(arguments) => rebuild::run(arguments, &cluster.connect().await?).await,
    }
}
