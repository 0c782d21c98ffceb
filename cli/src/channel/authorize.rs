//! `channel authorize`: a higher or longer voucher, signed here and stored in the object.

use anyhow::{Result, ensure};
use clap::Args;
use cocoon_api::{NanoTon, crd::PaymentChannel};
use cocoon_ton::{ChannelState, ChannelStatus};

use super::{PayerArguments, object};
use crate::{amount, kubernetes::Cluster};

/// What to allow.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    /// TON that the provider may claim in all, from the channel's first day on.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    cap: NanoTon,
    /// How long the voucher is valid; otherwise until the channel is closed.
    #[arg(long, value_name = "DURATION", value_parser = amount::seconds)]
    valid_for: Option<u32>,
    #[command(flatten)]
    with: PayerArguments,
}

/// Signs the voucher and stores it.
pub(super) async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments {
        name,
        cap,
        valid_for,
        with,
    } = arguments;
    let bound = object::bind(&name, &with, cluster).await?;
    let state = bound.chain.channel(&bound.address).await?;
    check(&bound.object, &state, cap)?;
    let signed = bound
        .chain
        .voucher(&bound.payer, &bound.address, &state, cap, valid_for)
        .await?;
    object::store_voucher(&name, &object::voucher(&signed), false, cluster).await?;
    println!(
        "channel {name}: claims up to {} TON in all until {}",
        cap.to_ton_string(),
        amount::voucher_end(signed.voucher.valid_until)
    );
    let covered = state.available.checked_add(state.redeemed)?;
    if cap > covered {
        eprintln!(
            "its deposit covers {} TON of that: see `channel top-up`",
            covered.to_ton_string()
        );
    }
    Ok(())
}

fn check(object: &PaymentChannel, state: &ChannelState, cap: NanoTon) -> Result<()> {
    ensure!(
        state.status == ChannelStatus::Open,
        "the channel is {}: a voucher would be worth nothing",
        match state.status {
            ChannelStatus::Closing { .. } => "closing",
            _ => "closed, and a top-up opens it again",
        }
    );
    if let Some(present) = object
        .spec
        .voucher
        .as_ref()
        .filter(|voucher| voucher.epoch == state.epoch)
    {
        ensure!(
            cap >= present.cap_nano,
            "a voucher cannot be taken back: the present one allows {} TON, and {} TON is less",
            present.cap_nano.to_ton_string(),
            cap.to_ton_string()
        );
    }
    Ok(())
}
