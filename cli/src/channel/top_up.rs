//! `channel top-up`: more deposit, the same voucher.

use anyhow::Result;
use clap::Args;
use cocoon_api::NanoTon;

use super::{PayerArguments, object};
use crate::{amount, kubernetes::Cluster};

/// What to add.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    /// TON to add.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    deposit: NanoTon,
    #[command(flatten)]
    with: PayerArguments,
}

/// Adds to the deposit and waits until the contract shows it.
pub(super) async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments { name, deposit, with } = arguments;
    let bound = object::bind(&name, &with, cluster).await?;
    let state = bound.chain.top_up(&bound.payer, &bound.address, deposit).await?;
    println!(
        "channel {name}: {} TON in deposit",
        state.available.to_ton_string()
    );
    match bound.object.spec.voucher {
        Some(voucher) if voucher.epoch == state.epoch => {
            if voucher.cap_nano.saturating_sub(state.redeemed) < state.available {
                eprintln!(
                    "its voucher allows claims up to {} TON in all, of which {} TON are redeemed: raise it with `channel authorize`",
                    voucher.cap_nano.to_ton_string(),
                    state.redeemed.to_ton_string()
                );
            }
        }
        _ => eprintln!("it has no voucher for its present epoch: sign one with `channel authorize`"),
    }
    Ok(())
}
