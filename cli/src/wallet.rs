//! `kubectl cocoon wallet`: the payout wallets of a namespace, what they hold and what they pay for.

use anyhow::{Result, ensure};
use clap::Args;
use cocoon_api::{
    NanoTon,
    conditions::{self, Reason as _, WalletReady},
    crd::CocoonProvider,
};
use cocoon_core::settlement::REDEEM_FEE;
use cocoon_ton::{Address, on_chain::WalletOnChain};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde::Serialize;

use crate::{
    chain,
    kubernetes::{self, Cluster},
    output::{self, Format},
};

/// Objects that the API server answers at once.
const PAGE: u32 = 500;

/// Whose wallet.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Provider whose wallet it is; otherwise those of all providers of the namespace.
    name: Option<String>,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    chain: chain::Arguments,
}

/// One payout wallet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    provider: String,
    network: String,
    /// The wallet that claims.
    address: String,
    /// Where claims are paid, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_to: Option<String>,
    /// As the chain shows it, where an endpoint is given.
    balance_nano: Option<NanoTon>,
    /// Claims whose fees the balance pays.
    claims_paid_for: Option<u64>,
    fee_nano: NanoTon,
    confirmed_nano: NanoTon,
    pending_nano: NanoTon,
    ready: bool,
    /// What the operator says of it.
    says: String,
}

/// Prints the wallets.
pub async fn run(arguments: Arguments, cluster: &Cluster) -> Result<()> {
    let Arguments { name, output, chain } = arguments;
    let api: Api<CocoonProvider> = cluster.api();
    let mut providers = kubernetes::list(&api, ListParams::default().limit(PAGE), "CocoonProviders").await?;
    providers.retain(|provider| name.as_ref().is_none_or(|name| *name == provider.name_any()));
    let namespace = &cluster.namespace;
    ensure!(
        !providers.is_empty(),
        "no CocoonProvider{} in namespace {namespace}: make a wallet with `kubectl cocoon init`, and offer a model with `kubectl cocoon model add`",
        name.map(|name| format!(" {name}")).unwrap_or_default()
    );
    if !chain.has_endpoint() {
        eprintln!("no TON endpoint is given, so the balances are missing: set COCOON_TON_ENDPOINT");
    }
    let mut shown = Vec::new();
    for provider in &providers {
        let balance = if chain.has_endpoint() {
            look(provider, &chain).await
        } else {
            None
        };
        shown.push(Shown::of(provider, balance));
    }
    match output {
        Format::Json => output::json(&serde_json::to_value(&shown)?),
        Format::Table => output::print(&shown.iter().map(Shown::text).collect::<Vec<_>>().join("\n")),
    }
}

/// The wallet on the chain; one that cannot be read does not hide the others.
async fn look(provider: &CocoonProvider, arguments: &chain::Arguments) -> Option<NanoTon> {
    let read = async {
        let payout = &provider.spec.payout;
        let network = arguments.network(&payout.network)?;
        let address: Address = payout.signer().parse()?;
        let WalletOnChain { balance, .. } = arguments.connect(network).await?.wallet(&address).await?;
        anyhow::Ok(balance)
    };
    read.await
        .inspect_err(|error| eprintln!("{}: {error:#}", provider.name_any()))
        .ok()
}

impl Shown {
    fn of(provider: &CocoonProvider, balance: Option<NanoTon>) -> Self {
        let status = provider.status.clone().unwrap_or_default();
        let payout = &provider.spec.payout;
        let wallet = conditions::find(&status.conditions, WalletReady::TYPE);
        Self {
            provider: provider.name_any(),
            network: provider.spec.payout.network.clone(),
            address: provider.spec.payout.signer().to_owned(),
            paid_to: payout.claimer.as_ref().map(|_| payout.address.clone()),
            balance_nano: balance,
            claims_paid_for: balance.map(|balance| balance.nano() / REDEEM_FEE.nano()),
            fee_nano: REDEEM_FEE,
            confirmed_nano: status.earnings.confirmed_nano,
            pending_nano: status
                .earnings
                .accrued_nano
                .saturating_sub(status.earnings.confirmed_nano),
            ready: conditions::is_true(&status.conditions, WalletReady::TYPE),
            says: wallet.map_or_else(
                || "the operator has not looked at it yet".to_owned(),
                |wallet| wallet.message.clone(),
            ),
        }
    }

    fn text(&self) -> String {
        let balance = match (self.balance_nano, self.claims_paid_for) {
            (Some(balance), Some(claims)) => {
                format!(
                    "{} TON, enough for the fees of {claims} claims",
                    balance.to_ton_string()
                )
            }
            _ => "unknown without a TON endpoint".to_owned(),
        };
        let receives = match &self.paid_to {
            None => "receives   what claims bring".to_owned(),
            Some(payout) => format!("claims for {payout}"),
        };
        format!(
            "{} on {}\n  address    {}\n  balance    {balance}\n  pays       about {} TON for each claim\n  {receives}: \
             {} TON so far, {} TON still to come\n  {:<10} {}\n",
            self.provider,
            self.network,
            self.address,
            self.fee_nano.to_ton_string(),
            self.confirmed_nano.to_ton_string(),
            self.pending_nano.to_ton_string(),
            if self.ready { "ready" } else { "not ready" },
            self.says
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider() -> CocoonProvider {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "farm"},
            "spec": {
                "backend": "CPU",
                "models": [{
                    "name": "m", "source": {"hostPath": "/m", "sha256": "a"},
                    "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
                }],
                "payout": {"network": "testnet", "address": "UQ1", "walletSecretRef": {"name": "w"}},
            },
            "status": {
                "conditions": [{
                    "type": "WalletReady", "status": "False", "reason": "LowBalance", "message": "holds 0 TON",
                    "lastTransitionTime": "2026-11-23T12:00:00Z",
                }],
                "earnings": {"accruedNano": 1_500_000_000, "submittedNano": 0, "confirmedNano": 1_000_000_000},
            },
        }))
        .expect("a provider")
    }

    #[test]
    fn a_wallet_is_shown_with_what_it_pays_and_receives() {
        let text = Shown::of(&provider(), NanoTon::from_nano(15_000_000).ok()).text();
        for words in [
            "farm on testnet",
            "UQ1",
            "0.015 TON, enough for the fees of 10 claims",
            "about 0.0015 TON for each claim",
            "1 TON so far, 0.5 TON still to come",
            "not ready  holds 0 TON",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let mut apart = provider();
        apart.spec.payout.claimer = Some("UQ2".into());
        let text = Shown::of(&apart, None).text();
        assert!(
            text.contains("address    UQ2\n") && text.contains("claims for UQ1: 1 TON so far"),
            "{text}"
        );
        assert!(
            Shown::of(&provider(), None)
                .text()
                .contains("unknown without a TON endpoint")
        );
    }
}
