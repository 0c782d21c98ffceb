//! Whose contract it is: who is paid by it, and who may claim from it.

use cocoon_api::{
    conditions::{Funded, Reason as _},
    crd::provider::Payout,
};
use cocoon_ton::{Address, Network};
use serde_json::json;

use super::*;

fn apart() -> Payee {
    Payee {
        address: "0:cold".into(),
        claimer: "0:hot".into(),
    }
}

fn pays(provider: &str, claimer: &str) -> Escrow {
    Escrow {
        provider: provider.into(),
        claimer: claimer.into(),
        ..escrow(0, 900)
    }
}

#[test]
fn a_contract_is_the_providers_if_its_wallet_may_claim_and_the_claim_is_the_providers() {
    apart().owns(&pays("0:cold", "0:hot")).unwrap();
    // Opened before the wallet was kept apart, with whichever claimer: the wallet is paid, and may claim.
    apart().owns(&pays("0:hot", "0:hot")).unwrap();
    apart().owns(&pays("0:hot", "0:somebody")).unwrap();
    let refused = |provider, claimer| apart().owns(&pays(provider, claimer)).unwrap_err();
    assert!(matches!(refused("0:thief", "0:hot"), ForeignEscrow::Payee { .. }));
    assert!(matches!(
        refused("0:cold", "0:cold"),
        ForeignEscrow::Claimer { .. }
    ));
    assert!(matches!(
        refused("0:cold", "0:thief"),
        ForeignEscrow::Claimer { .. }
    ));
    let one = Payee {
        address: "0:one".into(),
        claimer: "0:one".into(),
    };
    one.owns(&pays("0:one", "0:anybody")).unwrap();
    assert!(one.owns(&pays("0:other", "0:one")).is_err());
}

#[test]
fn a_channel_whose_contract_names_another_claimer_takes_no_work() {
    let mut status = fresh();
    let facts = Facts {
        payee: Some(apart()),
        ..facts(Sight::Escrow(pays("0:cold", "0:cold")))
    };
    let standing = judge(&spec(500, 0), &status, &facts).unwrap();
    let funded = &standing.conditions[0];
    assert_eq!(funded.reason, Funded::ForeignParties.name());
    assert!(
        funded.message.contains("payout.claimer is 0:hot"),
        "{}",
        funded.message
    );
    look(&mut status, &spec(500, 0), &facts);
    assert_eq!(status.deposit_nano, NanoTon::ZERO);
}

#[test]
fn the_wallet_that_claims_is_the_payout_address_unless_another_is_named() {
    let address = |byte: u8| Address {
        workchain: 0,
        account: [byte; 32],
    };
    let (cold, hot) = (address(1), address(2));
    let payout = |claimer: Option<Address>| -> Payout {
        let mut payout = json!({"network": "testbed", "address": cold.friendly(&Network::TESTBED, false),
                                "walletSecretRef": {"name": "w"}});
        if let Some(claimer) = claimer {
            payout["claimer"] = json!(claimer.friendly(&Network::TESTBED, false));
        }
        serde_json::from_value(payout).unwrap()
    };
    let of = |claimer| Payee::of(&payout(claimer), &Network::TESTBED).unwrap();
    assert_eq!(
        (of(None).address, of(None).claimer),
        (cold.to_string(), cold.to_string())
    );
    assert_eq!(
        (of(Some(hot)).address, of(Some(hot)).claimer),
        (cold.to_string(), hot.to_string())
    );
}
