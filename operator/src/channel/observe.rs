//! Reads everything that a channel's standing depends on.

use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName, PaymentChannel},
    names::is_object_name,
};
use cocoon_core::{
    funds::{self, Escrow, Sight, Stage},
    settlement::{REDEEM_FEE, pays},
};
use cocoon_ton::{Address, ChannelStatus, reader::ChannelOnChain};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};

use super::contracts::Tenure;
use crate::{
    chain::{Chain, ChainError},
    context::Context,
    error::{KubeContext as _, Result},
};

/// What was read for one channel.
pub(super) struct Seen {
    pub(super) provider: Option<CocoonProvider>,
    /// Whether the provider allows the channel's namespace.
    pub(super) granted: bool,
    pub(super) has_wallet: bool,
    pub(super) sight: Sight,
    /// Time of the chain, where it was read.
    pub(super) chain_time: Option<u32>,
    /// What one claim costs, as it was last read.
    pub(super) redeem_fee: NanoTon,
}

pub(super) async fn observe(channel: &PaymentChannel, tenure: &Tenure, ctx: &Context) -> Result<Seen> {
    let payee = pays(channel);
    let FullName { namespace, name } = &payee;
    // A reference that is no name names nothing, and is never put into a URL.
    let is_readable =
        is_object_name(name) && is_object_name(namespace) && ctx.config.scope().covers(namespace);
    let provider = if is_readable {
        let providers = Api::<CocoonProvider>::namespaced(ctx.client.clone(), namespace);
        ctx.unless_gone(namespace, providers.get_opt(name).await)
            .attempt("read CocoonProvider", &payee)?
            .flatten()
    } else {
        None
    };
    let Some(provider) = provider else {
        return Ok(Seen {
            provider: None,
            granted: false,
            has_wallet: false,
            sight: in_use(channel, tenure).unwrap_or(Sight::ProviderNotFound),
            chain_time: None,
            redeem_fee: REDEEM_FEE,
        });
    };
    let granted = ctx.allows(&provider, &channel.namespace().unwrap_or_default());
    let owes = channel.status.as_ref().is_some_and(funds::owes);
    if !granted && !owes {
        return Ok(Seen {
            provider: Some(provider),
            granted,
            has_wallet: false,
            sight: in_use(channel, tenure).unwrap_or(Sight::NotGranted),
            chain_time: None,
            redeem_fee: REDEEM_FEE,
        });
    }
    let secret = &provider.spec.payout.wallet_secret_ref.name;
    let has_wallet = is_object_name(secret)
        && Api::<Secret>::namespaced(ctx.client.clone(), namespace)
            .get_metadata_opt(secret)
            .await
            .attempt("read Secret", secret)?
            .is_some();
    let (sight, chain_time) = match in_use(channel, tenure) {
        Some(sight) => (sight, None),
        None => match look(channel, &provider, ctx).await {
            Ok((sight, time)) => (sight, Some(time)),
            Err(ChainError::WrongNetwork(why)) => (Sight::WrongNetwork(why), None),
            Err(ChainError::Unavailable(why)) => (Sight::Unavailable(why), None),
        },
    };
    Ok(Seen {
        redeem_fee: ctx.networks.last_redeem_fee(&provider.spec.payout),
        provider: Some(provider),
        granted,
        has_wallet,
        sight,
        chain_time,
    })
}

/// A contract that another object holds is not looked at on account of this one: many objects of one contract cost one
/// look.
fn in_use(channel: &PaymentChannel, tenure: &Tenure) -> Option<Sight> {
    match tenure {
        Tenure::HeldBy(holder) => Some(Sight::InUse(
            holder.excludes(&channel.namespace().unwrap_or_default()),
        )),
        Tenure::Unbound => Some(Sight::Unbound),
        Tenure::Holder | Tenure::Unsettled(_) => None,
    }
}

async fn look(
    channel: &PaymentChannel,
    provider: &CocoonProvider,
    ctx: &Context,
) -> std::result::Result<(Sight, u32), ChainError> {
    let network = &channel.spec.network;
    if provider.spec.payout.network != *network {
        return Err(ChainError::WrongNetwork(format!(
            "the channel is on network {network}, CocoonProvider {} is paid on {}",
            provider.name_any(),
            provider.spec.payout.network
        )));
    }
    let chain = ctx.networks.get(network)?;
    let time = chain.time().await?;
    let sight = match Address::parse_for(chain.network(), &channel.spec.contract_address) {
        Ok(address) => sight(&chain, &address).await?,
        Err(error) => Sight::Foreign(format!("contractAddress: {error}")),
    };
    Ok((sight, time))
}

/// What stands at a channel's address, in the words of `cocoon-core`.
pub(crate) async fn sight(chain: &Chain, address: &Address) -> std::result::Result<Sight, ChainError> {
    Ok(match chain.channel(address).await? {
        ChannelOnChain::NotDeployed { .. } => Sight::NotDeployed,
        ChannelOnChain::ForeignCode { hash } => Sight::Foreign(format!(
            "the contract at {address} has code {}, which is no payment channel",
            hex::encode(hash)
        )),
        ChannelOnChain::ForeignState => Sight::Foreign(format!(
            "the contract at {address} did not start as a new payment channel, so its figures prove nothing"
        )),
        ChannelOnChain::Frozen => Sight::Foreign(format!(
            "the contract at {address} is frozen: it owes rent to the chain"
        )),
        ChannelOnChain::Channel { state, .. } => Sight::Escrow(Escrow {
            stage: match state.status {
                ChannelStatus::Open => Stage::Open,
                ChannelStatus::Closing { deadline } => Stage::Closing { deadline },
                ChannelStatus::Closed => Stage::Closed,
            },
            epoch: state.epoch,
            redeemed: state.redeemed,
            available: state.available,
            payer_key: state.params.payer_key.to_string(),
            provider: state.params.provider.to_string(),
            claimer: state.params.claimer.to_string(),
            challenge_period: state.params.challenge_period,
        }),
    })
}
