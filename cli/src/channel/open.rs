//! `channel open`: escrow first, object last, so that an object always has its contract.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, LocalReference, PaymentChannel, PaymentChannelSpec},
};
use cocoon_ton::{Address, ChannelOnChain, ChannelParams, ChannelState, ChannelStatus, Network};
use kube::{Api, api::PostParams};

use super::{PayerArguments, object};
use crate::{
    amount,
    chain::{
        Chain,
        escrow::{Opened, salt},
    },
    kubernetes::{Asked as _, Cluster, FIELD_MANAGER},
    payer::Payer,
};

/// The shortest challenge window that providers accept: what they need to notice a close and to redeem.
const MIN_CHALLENGE_SECONDS: u32 = 60;

/// What to open.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    /// Name of the CocoonProvider that is paid.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// TON to put into the escrow contract.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    deposit: NanoTon,
    /// TON that the provider may claim in all, from the channel's first day on.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    cap: NanoTon,
    /// How long the voucher is valid.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = amount::seconds)]
    valid_for: u32,
    /// How long the provider may still redeem after the payer closes the channel.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = amount::seconds)]
    challenge: u32,
    #[command(flatten)]
    with: PayerArguments,
}

/// A channel as it is to be, and as far as it is there.
struct Plan {
    name: String,
    params: ChannelParams,
    spec: PaymentChannelSpec,
    existing: Option<PaymentChannel>,
    payer: Payer,
    chain: Chain,
}

/// Opens the channel, or completes what an interrupted run began.
pub(super) async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments {
        deposit,
        cap,
        valid_for,
        ..
    } = arguments;
    ensure!(
        arguments.challenge >= MIN_CHALLENGE_SECONDS,
        "--challenge must be at least {MIN_CHALLENGE_SECONDS}s: providers refuse shorter windows"
    );
    if cap > deposit {
        eprintln!(
            "warning: the cap of {} TON is above the deposit of {} TON: what is above cannot be claimed before a top-up",
            cap.to_ton_string(),
            deposit.to_ton_string()
        );
    }
    let plan = Plan::of(arguments, cluster).await?;
    let opened = plan.fund(deposit).await?;
    plan.authorize(&opened.state, cap, valid_for, cluster).await?;
    println!(
        "channel {} is open: contract {}, {} TON in deposit, {} TON of it paid by this run",
        plan.name,
        plan.spec.contract_address,
        opened.state.available.to_ton_string(),
        opened.paid.to_ton_string()
    );
    Ok(())
}

impl Plan {
    async fn of(arguments: Arguments, cluster: &Cluster) -> Result<Self> {
        let Arguments {
            name,
            provider,
            challenge,
            with,
            deposit: _,
            cap: _,
            valid_for: _,
        } = arguments;
        let (network_name, payout) = provider_payout(&provider, cluster).await?;
        let network = with.chain.network(&network_name)?;
        let payer = with.payer.read(&network)?;
        let payee = payee(&provider, &payout, &network)?;
        let params = ChannelParams {
            payer_key: payer.wallet.public_key(),
            payer: payer.wallet.address(),
            provider: payee,
            claimer: payee,
            challenge_period: challenge,
            salt: salt(&cluster.namespace, &name),
        };
        let spec = PaymentChannelSpec {
            provider: LocalReference { name: provider },
            network: network_name,
            contract_address: params.address().friendly(&network, true),
            payer_public_key: payer.wallet.public_key().to_string(),
            voucher: None,
        };
        let channels: Api<PaymentChannel> = cluster.api();
        let existing = channels
            .get_opt(&name)
            .await
            .asked(|| format!("read PaymentChannel {name}"))?;
        if let Some(existing) = &existing {
            check_same(&name, existing, &spec, &network)?;
        }
        let chain = with.chain.connect(network).await?;
        Ok(Self {
            name,
            params,
            spec,
            existing,
            payer,
            chain,
        })
    }

    /// Deploys and funds the contract. What was taken from the deposit of a channel in use is not put back.
    async fn fund(&self, deposit: NanoTon) -> Result<Opened> {
        if self.existing.is_some() {
            self.chain.finish_earlier(&self.payer).await?;
            let found = self.chain.reader.state(&self.params.address()).await?;
            if let ChannelOnChain::Channel { state, .. } = found
                && state.status == ChannelStatus::Open
            {
                eprintln!(
                    "PaymentChannel {} exists, its deposit is left as it is: see `channel top-up`",
                    self.name
                );
                return Ok(Opened {
                    state,
                    paid: NanoTon::ZERO,
                });
            }
        }
        self.chain.open(&self.payer, &self.params, deposit).await
    }

    /// Signs the voucher and stores it with the object; one for the present epoch is kept.
    async fn authorize(
        &self,
        state: &ChannelState,
        cap: NanoTon,
        valid_for: u32,
        cluster: &Cluster,
    ) -> Result<()> {
        let Self {
            name,
            params,
            spec,
            existing,
            payer,
            chain,
        } = self;
        let present = existing.as_ref().and_then(|object| object.spec.voucher.as_ref());
        if let Some(voucher) = present.filter(|voucher| voucher.epoch == state.epoch) {
            let allowed = voucher.cap_nano.to_ton_string();
            eprintln!("its voucher of {allowed} TON is left as it is: see `channel authorize`");
            return Ok(());
        }
        let signed = chain
            .voucher(payer, &params.address(), state, cap, valid_for)
            .await?;
        if existing.is_some() {
            return object::store_voucher(name, &signed, cluster).await;
        }
        let spec = PaymentChannelSpec {
            voucher: Some(object::voucher(&signed)),
            ..spec.clone()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let channels: Api<PaymentChannel> = cluster.api();
        channels
            .create(&params, &PaymentChannel::new(name, spec))
            .await
            .asked(|| {
                format!("create PaymentChannel {name} (its contract is open: run the same command again)")
            })?;
        Ok(())
    }
}

/// Network and payout address of the provider.
async fn provider_payout(name: &str, cluster: &Cluster) -> Result<(String, String)> {
    let providers: Api<CocoonProvider> = cluster.api();
    let found = providers
        .get_opt(name)
        .await
        .asked(|| format!("read CocoonProvider {name}"))?;
    let provider =
        found.with_context(|| format!("no CocoonProvider {name} in namespace {}", cluster.namespace))?;
    Ok((provider.spec.payout.network, provider.spec.payout.address))
}

fn payee(provider: &str, text: &str, network: &Network) -> Result<Address> {
    Address::parse_for(network, text).with_context(|| {
        format!("CocoonProvider {provider} has a payout.address that cannot be paid: {text}")
    })
}

fn check_same(
    name: &str,
    existing: &PaymentChannel,
    wanted: &PaymentChannelSpec,
    network: &Network,
) -> Result<()> {
    let spec = &existing.spec;
    ensure!(
        spec.provider == wanted.provider && spec.network == wanted.network,
        "PaymentChannel {name} exists and pays CocoonProvider {} on {}: use another name",
        spec.provider.name,
        spec.network
    );
    let (there, here) = (
        object::address(existing, network)?,
        Address::parse_for(network, &wanted.contract_address)?,
    );
    ensure!(
        there == here,
        "PaymentChannel {name} exists with the contract {}, and this key, provider address and challenge window make {}: use another name",
        spec.contract_address,
        wanted.contract_address
    );
    Ok(())
}
