//! `channel show`: what the cluster knows and what the contract shows, side by side.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use cocoon_api::{
    conditions::{Closing, Reason as _},
    crd::PaymentChannel,
};
use cocoon_core::settlement::pays;
use cocoon_ton::{ChannelState, ChannelStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::object;
use crate::{
    amount,
    chain::{self, Chain},
    kubernetes::{self, Asked as _},
    output::{self, Format},
    table::Table,
};

/// What to show.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the channel, or address of a contract; otherwise all channels of the namespace.
    name: Option<String>,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    chain: chain::Arguments,
}

/// Prints one channel or all of them. A contract named by its address needs no cluster.
pub(super) async fn run(arguments: Arguments, cluster: kubernetes::Arguments) -> Result<()> {
    let Arguments { name, output, chain } = arguments;
    if let Some(address) = name.as_deref().filter(|name| object::is_address(name)) {
        return contract_alone(address, output, &chain).await;
    }
    let cluster = &cluster.connect().await?;
    let objects = if let Some(name) = &name {
        vec![object::read(name, cluster).await?]
    } else {
        let api: Api<PaymentChannel> = cluster.api();
        api.list(&ListParams::default())
            .await
            .asked(|| "list PaymentChannels".to_owned())?
            .items
    };
    if !chain.has_endpoint() {
        eprintln!("no TON endpoint is given, so the contract's figures are missing: set COCOON_TON_ENDPOINT");
    }
    let mut seen = Vec::new();
    for object in objects {
        let contract = if chain.has_endpoint() {
            look(&object, &chain).await
        } else {
            None
        };
        seen.push((object, contract));
    }
    match (output, name) {
        (Format::Json, Some(_)) => output::json(&seen.first().map(json).unwrap_or_default()),
        (Format::Json, None) => output::json(&Value::Array(seen.iter().map(json).collect())),
        (Format::Table, Some(_)) => {
            let shown = seen
                .first()
                .map(|(object, contract)| details(object, contract.as_ref()));
            output::print(&shown.unwrap_or_default())
        }
        (Format::Table, None) if seen.is_empty() => {
            eprintln!("no payment channels in namespace {}", cluster.namespace);
            Ok(())
        }
        (Format::Table, None) => output::print(&list(&seen).to_string()),
    }
}

/// A contract as the chain shows it, whether or not an object names it.
async fn contract_alone(text: &str, output: Format, arguments: &chain::Arguments) -> Result<()> {
    let network = arguments.named_network()?;
    let address = object::given_address(text, &network)?;
    let state = arguments.connect(network).await?.channel(&address).await?;
    match output {
        Format::Json => output::json(&contract_json(&state)),
        Format::Table => output::print(&contract_figures(&state).to_string()),
    }
}

fn contract_figures(state: &ChannelState) -> Table {
    let mut table = Table::new(&["FIGURE", "CONTRACT"]);
    let deadline = match state.status {
        ChannelStatus::Closing { deadline } => amount::time(deadline.into()),
        ChannelStatus::Open | ChannelStatus::Closed => String::new(),
    };
    for (figure, value) in [
        ("state", state_name(state).to_owned()),
        ("deposit (TON)", state.available.to_ton_string()),
        ("redeemed (TON)", state.redeemed.to_ton_string()),
        ("epoch", state.epoch.to_string()),
        ("window ends", deadline),
        (
            "challenge window",
            amount::span(state.params.challenge_window().into()),
        ),
        ("payer", state.params.payer.to_string()),
        ("provider", state.params.provider.to_string()),
        ("claimer", state.params.claimer.to_string()),
    ] {
        if !value.is_empty() {
            table.row([figure.to_owned(), value]);
        }
    }
    table
}

/// The contract; a channel that cannot be read does not hide the others.
async fn look(object: &PaymentChannel, arguments: &chain::Arguments) -> Option<ChannelState> {
    let read = async {
        let network = arguments.network(&object.spec.network)?;
        let address = object::address(object, &network)?;
        let chain: Chain = arguments.connect(network).await?;
        chain.channel(&address).await
    };
    read.await
        .inspect_err(|error| eprintln!("{}: {error:#}", object.name_any()))
        .ok()
}

fn state_name(state: &ChannelState) -> &'static str {
    match state.status {
        ChannelStatus::Open => "Open",
        ChannelStatus::Closing { .. } => "Closing",
        ChannelStatus::Closed => "Closed",
    }
}

fn list(seen: &[(PaymentChannel, Option<ChannelState>)]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "PROVIDER",
        "STATE",
        "DEPOSIT-TON",
        "REDEEMED-TON",
        "CAP-TON",
        "AVAILABLE-TON",
        "CONTRACT-DEPOSIT-TON",
        "CONTRACT-REDEEMED-TON",
    ]);
    for (object, contract) in seen {
        let status = object.status.clone().unwrap_or_default();
        let on_chain =
            |figure: fn(&ChannelState) -> String| contract.as_ref().map(figure).unwrap_or_default();
        table.row([
            object.name_any(),
            named(object),
            status.state.map(|state| format!("{state:?}")).unwrap_or_default(),
            status.deposit_nano.to_ton_string(),
            status.redeemed_nano.to_ton_string(),
            object
                .spec
                .voucher
                .as_ref()
                .map(|voucher| voucher.cap_nano.to_ton_string())
                .unwrap_or_default(),
            status.available.clone(),
            on_chain(|state| state.available.to_ton_string()),
            on_chain(|state| state.redeemed.to_ton_string()),
        ]);
    }
    table
}

/// The provider as the channel's namespace names it.
fn named(object: &PaymentChannel) -> String {
    pays(object).seen_from(&object.namespace().unwrap_or_default())
}

fn details(object: &PaymentChannel, contract: Option<&ChannelState>) -> String {
    let spec = &object.spec;
    let mut text = format!(
        "{}: pays {} on {}, contract {}\n\n{}",
        object.name_any(),
        named(object),
        spec.network,
        spec.contract_address,
        figures(object, contract)
    );
    let conditions = object
        .status
        .as_ref()
        .map(|status| &status.conditions[..])
        .unwrap_or_default();
    for condition in conditions
        .iter()
        .filter(|condition| condition.status != "True" && condition.type_ != Closing::TYPE)
    {
        let Condition {
            type_,
            reason,
            message,
            ..
        } = condition;
        writeln!(text, "{type_}: {reason}: {message}").expect("a String takes all text");
    }
    text
}

fn figures(object: &PaymentChannel, contract: Option<&ChannelState>) -> Table {
    let status = object.status.clone().unwrap_or_default();
    let mut table = Table::new(&["FIGURE", "CLUSTER", "CONTRACT"]);
    let mut row = |figure: &str, cluster: String, contract: Option<String>| {
        table.row([figure.to_owned(), cluster, contract.unwrap_or_default()]);
    };
    let state = status.state.map(|state| format!("{state:?}")).unwrap_or_default();
    row("state", state, contract.map(|state| state_name(state).to_owned()));
    let deposit = contract.map(|state| state.available.to_ton_string());
    row("deposit (TON)", status.deposit_nano.to_ton_string(), deposit);
    let redeemed = contract.map(|state| state.redeemed.to_ton_string());
    row("redeemed (TON)", status.redeemed_nano.to_ton_string(), redeemed);
    row("accrued (TON)", status.accrued_nano.to_ton_string(), None);
    row("reserved (TON)", status.reserved_nano.to_ton_string(), None);
    row("available (TON)", status.available, None);
    if let Some(voucher) = &object.spec.voucher {
        row("voucher cap (TON)", voucher.cap_nano.to_ton_string(), None);
        row("voucher until", amount::voucher_end(voucher.valid_until), None);
        row(
            "epoch",
            voucher.epoch.to_string(),
            contract.map(|state| state.epoch.to_string()),
        );
    }
    let deadline = contract.and_then(|state| match state.status {
        ChannelStatus::Closing { deadline } => Some(amount::time(deadline.into())),
        ChannelStatus::Open | ChannelStatus::Closed => None,
    });
    if deadline.is_some() || status.challenge_ends_at.is_some() {
        row(
            "window ends",
            status.challenge_ends_at.map(amount::time).unwrap_or_default(),
            deadline,
        );
    }
    let period = contract.map(|state| amount::span(state.params.challenge_window().into()));
    row("challenge window", String::new(), period);
    table
}

fn contract_json(state: &ChannelState) -> Value {
    json!({
        "state": state_name(state),
        "closingDeadline": match state.status { ChannelStatus::Closing { deadline } => Some(deadline), _ => None },
        "epoch": state.epoch,
        "redeemedNano": state.redeemed,
        "depositNano": state.available,
        "challengePeriodSeconds": state.params.challenge_window(),
        "payer": state.params.payer.to_string(),
        "provider": state.params.provider.to_string(),
        "claimer": state.params.claimer.to_string(),
        "payerPublicKey": state.params.payer_key.to_string(),
    })
}

fn json((object, contract): &(PaymentChannel, Option<ChannelState>)) -> Value {
    let contract = contract.as_ref().map(contract_json);
    json!({
        "name": object.name_any(),
        "namespace": object.namespace(),
        "spec": object.spec,
        "status": object.status,
        "contract": contract,
    })
}
