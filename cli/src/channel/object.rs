//! The `PaymentChannel` object in the cluster.

use anyhow::{Context as _, Result};
use cocoon_api::crd::{PaymentChannel, channel::Voucher};
use cocoon_ton::{Address, Network, SignedVoucher};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::PayerArguments;
use crate::{
    chain::Chain,
    kubernetes::{Asked as _, Cluster, FIELD_MANAGER},
    payer::Payer,
};

/// An existing channel with everything that acts on it.
pub(crate) struct Bound {
    pub(crate) object: PaymentChannel,
    pub(crate) address: Address,
    pub(crate) chain: Chain,
    pub(crate) payer: Payer,
}

/// Reads the object, the key and the chain, in this order: nothing is asked of a chain for a channel that is not there.
pub(crate) async fn bind(name: &str, arguments: &PayerArguments, cluster: &Cluster) -> Result<Bound> {
    let object = read(name, cluster).await?;
    let network = arguments.chain.network(&object.spec.network)?;
    let address = address(&object, &network)?;
    let payer = arguments.payer.read(&network)?;
    let chain = arguments.chain.connect(network).await?;
    Ok(Bound {
        object,
        address,
        chain,
        payer,
    })
}

/// Whether a person named a contract by its address: an address has letters and signs that no object's name has.
pub(super) fn is_address(text: &str) -> bool {
    let is_of_names = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !text.chars().all(is_of_names)
}

/// The address that a person gave, on the network that they named.
pub(super) fn given_address(text: &str, network: &Network) -> Result<Address> {
    Address::parse_for(network, text)
        .with_context(|| format!("{text} is neither the name of a channel nor the address of a contract"))
}

/// Address of the contract.
pub(super) fn address(object: &PaymentChannel, network: &Network) -> Result<Address> {
    let text = &object.spec.contract_address;
    Address::parse_for(network, text).with_context(|| format!("spec.contractAddress {text} cannot be used"))
}

/// The object, which must exist.
pub(crate) async fn read(name: &str, cluster: &Cluster) -> Result<PaymentChannel> {
    let api: Api<PaymentChannel> = cluster.api();
    let found = api
        .get_opt(name)
        .await
        .asked(|| format!("read PaymentChannel {name}"))?;
    found.with_context(|| {
        format!(
            "no PaymentChannel {name} in namespace {}: open it first",
            cluster.namespace
        )
    })
}

/// A voucher as the object carries it.
pub(crate) fn voucher(signed: &SignedVoucher) -> Voucher {
    Voucher {
        cap_nano: signed.voucher.cap,
        valid_until: signed.voucher.valid_until,
        epoch: signed.voucher.epoch,
        signature: hex::encode(signed.signature.0),
    }
}

/// Replaces the voucher; the API server refuses one that is lower.
pub(crate) async fn store_voucher(
    name: &str,
    voucher: &Voucher,
    dry_run: bool,
    cluster: &Cluster,
) -> Result<()> {
    let api: Api<PaymentChannel> = cluster.api();
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        dry_run,
        ..PatchParams::default()
    };
    let patch = json!({"spec": {"voucher": voucher}});
    api.patch(name, &params, &Patch::Merge(patch))
        .await
        .asked(|| format!("store the voucher in PaymentChannel {name}"))?;
    Ok(())
}
