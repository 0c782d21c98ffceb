//! `channel open`: escrow first, object last, so that an object always has its contract. Before anything is paid, the
//! API server says whether it would take the object.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use cocoon_api::{
    NanoTon,
    crd::{
        CocoonProvider, FullName, PaymentChannel, PaymentChannelSpec, ProviderReference, channel::Voucher,
    },
};
use cocoon_core::settlement::{pays, terms};
use cocoon_ton::{
    Address, Binding, ChannelOnChain, ChannelParams, ChannelState, ChannelStatus, Network,
    channel::{MAX_CHALLENGE, MIN_CHALLENGE},
    voucher::NO_EXPIRY,
};
use kube::{Api, api::PostParams};

use super::{PayerArguments, object};
use crate::{
    amount,
    chain::{
        Chain,
        escrow::{Opened, salt},
    },
    kubernetes::{self, Asked as _, Cluster, FIELD_MANAGER},
    payer::Payer,
};

/// What to open.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel.
    name: String,
    /// The CocoonProvider that is paid; one of another namespace must allow this one (`spec.allowedNamespaces`).
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = kubernetes::provider)]
    provider: ProviderReference,
    /// Address of the provider's payout wallet, as its owner told it. The provider's object is not read then, so that
    /// no right in its namespace is needed. Needs --network.
    #[arg(long, value_name = "ADDRESS")]
    payee: Option<String>,
    /// Address of the wallet that claims for the provider (`payout.claimer`), where its owner told one beside --payee.
    #[arg(long, value_name = "ADDRESS", requires = "payee")]
    claimer: Option<String>,
    /// TON to put into the escrow contract.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    deposit: NanoTon,
    /// TON that the provider may claim in all, from the channel's first day on.
    #[arg(long, value_name = "TON", value_parser = amount::ton)]
    cap: NanoTon,
    /// How long the voucher is valid; otherwise until the channel is closed.
    #[arg(long, value_name = "DURATION", value_parser = amount::seconds)]
    valid_for: Option<u32>,
    /// How long the provider may still redeem after the payer closes the channel.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = amount::seconds)]
    challenge: u32,
    #[command(flatten)]
    with: PayerArguments,
}

/// A channel as it is to be, and as far as it is there.
struct Opening {
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
        (MIN_CHALLENGE..=MAX_CHALLENGE).contains(&arguments.challenge),
        "--challenge must be from {} to {}: the contract holds the window to that",
        amount::span(MIN_CHALLENGE.into()),
        amount::span(MAX_CHALLENGE.into())
    );
    if cap > deposit {
        eprintln!(
            "warning: the cap of {} TON is above the deposit of {} TON: what is above cannot be claimed before a top-up",
            cap.to_ton_string(),
            deposit.to_ton_string()
        );
    }
    let plan = Opening::of(arguments, cluster).await?;
    plan.rehearse(cap, valid_for, cluster).await?;
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

impl Opening {
    async fn of(arguments: Arguments, cluster: &Cluster) -> Result<Self> {
        let Arguments {
            name,
            provider: reference,
            payee: given,
            claimer: given_claimer,
            challenge,
            with,
            deposit: _,
            cap: _,
            valid_for: _,
        } = arguments;
        let given = given.map(|address| (address, given_claimer));
        let Payout {
            network: network_name,
            address: paid,
            claimer,
            least_challenge,
        } = payout(given, &reference, &with, cluster).await?;
        let provider = reference
            .full_name(&cluster.namespace)
            .seen_from(&cluster.namespace);
        ensure!(
            challenge >= least_challenge,
            "CocoonProvider {provider} works for channels with a window of {} or more (payout.minChallenge): give \
             --challenge {}",
            amount::span(least_challenge.into()),
            amount::span(least_challenge.into())
        );
        let network = with.chain.network(&network_name)?;
        let payer = with.payer.read(&network)?;
        let address = |field, text: &str| payout_address(&provider, (field, text), &network);
        let params = ChannelParams {
            payer_key: payer.wallet.public_key(),
            payer: payer.wallet.address(),
            provider: address("address", &paid)?,
            claimer: address("claimer", &claimer)?,
            challenge_period: challenge,
            salt: salt(&cluster.namespace, &name),
        };
        let spec = PaymentChannelSpec {
            provider: reference,
            network: network_name,
            contract_address: params.address().friendly(&network, true),
            payer_public_key: payer.wallet.public_key().to_string(),
            binding: Some(
                Binding {
                    global_id: network.global_id(),
                    channel: params.address(),
                    namespace: &cluster.namespace,
                    name: &name,
                }
                .sign(&payer.key)?
                .to_string(),
            ),
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

    /// Lets the API server judge the object as it is going to be, without keeping it: what it would refuse is not paid
    /// for. The voucher's signature is left out, since it is worth money; the server cannot check it anyway.
    async fn rehearse(&self, cap: NanoTon, valid_for: Option<u32>, cluster: &Cluster) -> Result<()> {
        let epoch = match self.chain.state(&self.params.address()).await? {
            ChannelOnChain::Channel { state, .. } => state.epoch,
            _ => 0,
        };
        if self.voucher_of(epoch).is_some() {
            return Ok(());
        }
        let valid_until = match valid_for {
            None => NO_EXPIRY,
            Some(seconds) => self.chain.time().await?.saturating_add(seconds),
        };
        let voucher = Voucher {
            cap_nano: cap,
            valid_until,
            epoch,
            signature: "0".repeat(128),
        };
        self.write(voucher, true, cluster)
            .await
            .context("nothing was paid: the cluster would refuse the channel")
    }

    /// The object's voucher, where it has one for this epoch.
    fn voucher_of(&self, epoch: u32) -> Option<&Voucher> {
        let present = self.existing.as_ref()?.spec.voucher.as_ref();
        present.filter(|voucher| voucher.epoch == epoch)
    }

    /// Creates the object with this voucher, or puts it into the existing one.
    async fn write(&self, voucher: Voucher, dry_run: bool, cluster: &Cluster) -> Result<()> {
        let name = &self.name;
        if self.existing.is_some() {
            return object::store_voucher(name, &voucher, dry_run, cluster).await;
        }
        let spec = PaymentChannelSpec {
            voucher: Some(voucher),
            ..self.spec.clone()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            dry_run,
        };
        let channels: Api<PaymentChannel> = cluster.api();
        channels
            .create(&params, &PaymentChannel::new(name, spec))
            .await
            .asked(|| {
                let rest = if dry_run {
                    ""
                } else {
                    " (its contract is open: run the same command again)"
                };
                format!("create PaymentChannel {name}{rest}")
            })?;
        Ok(())
    }

    /// Deploys and funds the contract. What was taken from the deposit of a channel in use is not put back.
    async fn fund(&self, deposit: NanoTon) -> Result<Opened> {
        if self.existing.is_some() {
            self.chain.finish_earlier(&self.payer).await?;
            let found = self.chain.state(&self.params.address()).await?;
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
        valid_for: Option<u32>,
        cluster: &Cluster,
    ) -> Result<()> {
        if let Some(voucher) = self.voucher_of(state.epoch) {
            let allowed = voucher.cap_nano.to_ton_string();
            eprintln!("its voucher of {allowed} TON is left as it is: see `channel authorize`");
            return Ok(());
        }
        let signed = self
            .chain
            .voucher(&self.payer, &self.params.address(), state, cap, valid_for)
            .await?;
        self.write(object::voucher(&signed), false, cluster).await
    }
}

/// What a payer needs to know of how a provider is paid.
struct Payout {
    network: String,
    address: String,
    /// The wallet that claims; often the same.
    claimer: String,
    /// Shortest challenge window that it works for, in seconds.
    least_challenge: u32,
}

/// As its owner told it, or as the provider's object says.
async fn payout(
    given: Option<(String, Option<String>)>,
    provider: &ProviderReference,
    with: &PayerArguments,
    cluster: &Cluster,
) -> Result<Payout> {
    let Some((address, claimer)) = given else {
        return provider_payout(&provider.full_name(&cluster.namespace), cluster).await;
    };
    Ok(Payout {
        network: with.chain.named_network()?.name().to_owned(),
        claimer: claimer.unwrap_or_else(|| address.clone()),
        address,
        least_challenge: MIN_CHALLENGE,
    })
}

async fn provider_payout(provider: &FullName, cluster: &Cluster) -> Result<Payout> {
    let FullName { namespace, name } = provider;
    let providers: Api<CocoonProvider> = cluster.api_in(namespace);
    let found = providers.get_opt(name).await.asked(|| {
        format!("read CocoonProvider {provider} (without a right to, give --payee ADDRESS and --network)")
    })?;
    let provider = found.with_context(|| format!("no CocoonProvider {name} in namespace {namespace}"))?;
    let payout = provider.spec.payout;
    Ok(Payout {
        least_challenge: terms(&payout).min_challenge_seconds,
        claimer: payout.signer().to_owned(),
        network: payout.network,
        address: payout.address,
    })
}

fn payout_address(provider: &str, (field, text): (&str, &str), network: &Network) -> Result<Address> {
    Address::parse_for(network, text).with_context(|| {
        format!("CocoonProvider {provider} has a payout.{field} that is no address there: {text}")
    })
}

fn check_same(
    name: &str,
    existing: &PaymentChannel,
    wanted: &PaymentChannelSpec,
    network: &Network,
) -> Result<()> {
    let spec = &existing.spec;
    let home = existing.metadata.namespace.clone().unwrap_or_default();
    ensure!(
        pays(existing).seen_from(&home) == wanted.provider.full_name(&home).seen_from(&home)
            && spec.network == wanted.network,
        "PaymentChannel {name} exists and pays CocoonProvider {} on {}: use another name",
        pays(existing).seen_from(&home),
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

#[cfg(test)]
mod tests;
