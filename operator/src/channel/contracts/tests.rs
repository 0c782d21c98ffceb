use cocoon_ton::{Network, SecretKey, Signer as _};
use serde_json::json;

use super::*;
use crate::{
    chain::{Endpoint, Entry},
    metrics::Metrics,
};

const ADDRESS: Address = Address {
    workchain: 0,
    account: [0x11; 32],
};
const OTHER: Address = Address {
    workchain: 0,
    account: [0x22; 32],
};

/// Two names of one network, and another network.
fn contracts() -> Contracts {
    let entry = |name: &str, global_id| Entry {
        name: name.into(),
        global_id,
        endpoints: vec![Endpoint::open("http://127.0.0.1:9")],
    };
    let entries = vec![entry("testbed", 42), entry("alias", 42), entry("other", 43)];
    let metrics = Arc::new(Metrics::new().unwrap());
    Contracts::new(Arc::new(Networks::new(entries, &metrics).unwrap()))
}

fn channel(object: &str, second: u8, network: &str, address: &str) -> PaymentChannel {
    let (namespace, name) = object.split_once('/').unwrap();
    let payer = SecretKey::from_seed(&[7; 32]);
    let global_id = if network == "other" { 43 } else { 42 };
    let parsed = Address::parse_for(&Network::new(network.to_owned(), global_id), address);
    let binding = parsed.ok().map(|channel| Binding {
        global_id,
        channel,
        namespace,
        name,
    });
    let binding = binding.map(|binding| binding.sign(&payer).unwrap().to_string());
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
        "metadata": {"namespace": namespace, "name": name,
                     "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
        "spec": {"provider": {"name": "farm"}, "network": network, "contractAddress": address,
                 "payerPublicKey": payer.public_key().to_string(), "binding": binding},
    }))
    .unwrap()
}

/// The first listing, with these objects.
fn listed(channels: &[&PaymentChannel]) -> Contracts {
    let contracts = contracts();
    list(&contracts, channels);
    contracts
}

fn list(contracts: &Contracts, channels: &[&PaymentChannel]) -> Vec<String> {
    let mut woken = take(contracts, &Event::Init);
    for channel in channels {
        woken.extend(take(contracts, &Event::InitApply((*channel).clone())));
    }
    woken.extend(take(contracts, &Event::InitDone));
    woken
}

fn take(contracts: &Contracts, event: &Event<PaymentChannel>) -> Vec<String> {
    let woken = contracts.take(event);
    woken
        .into_iter()
        .map(|woken| format!("{}/{}", woken.namespace.unwrap_or_default(), woken.name))
        .collect()
}

/// As if everything had been seen long ago.
fn settle(contracts: &Contracts) {
    for place in contracts.lock().places.values_mut() {
        place.first_seen = place.first_seen.checked_sub(SETTLING).unwrap();
    }
}

fn holder_of(contracts: &Contracts, channel: &PaymentChannel) -> Option<String> {
    match contracts.tenure(channel) {
        Tenure::HeldBy(holder) => Some(format!("{}/{}", holder.namespace, holder.name)),
        _ => None,
    }
}

#[test]
fn every_spelling_of_an_address_and_every_name_of_a_network_is_the_same_contract() {
    let testbed = Network::new("testbed", 42);
    let first = channel("a/first", 1, "testbed", &ADDRESS.to_string());
    let spellings = [
        ("testbed", ADDRESS.to_string()),
        ("testbed", ADDRESS.friendly(&testbed, true)),
        ("testbed", ADDRESS.friendly(&testbed, false)),
        ("alias", ADDRESS.friendly(&Network::MAINNET, true)),
    ];
    for (network, spelling) in spellings {
        let later = channel("b/later", 2, network, &spelling);
        let contracts = listed(&[&later, &first]);
        settle(&contracts);
        assert_eq!(contracts.tenure(&first), Tenure::Holder);
        assert_eq!(holder_of(&contracts, &later).unwrap(), "a/first", "{spelling}");
    }
    let elsewhere = [
        channel("b/later", 2, "other", &ADDRESS.to_string()),
        channel("b/later", 2, "testbed", &OTHER.to_string()),
        channel("b/later", 2, "unknown", &ADDRESS.to_string()),
        channel("b/later", 2, "testbed", "no address"),
    ];
    for later in elsewhere {
        let contracts = listed(&[&later, &first]);
        settle(&contracts);
        let expected = if later.spec.binding.is_some() {
            Tenure::Holder
        } else {
            Tenure::Unbound
        };
        assert_eq!(contracts.tenure(&later), expected);
        assert_eq!(contracts.tenure(&first), Tenure::Holder);
    }
}

#[test]
fn an_object_that_the_payer_did_not_sign_for_does_not_rank() {
    let squatter = |binding: Option<String>| {
        let mut squatter = channel("attacker/first", 1, "testbed", &ADDRESS.to_string());
        squatter.spec.binding = binding;
        squatter
    };
    let owner = channel("tenant/payer", 2, "testbed", &ADDRESS.to_string());
    let copied = owner.spec.binding.clone();
    for squatter in [squatter(None), squatter(copied), squatter(Some("00".repeat(64)))] {
        let contracts = listed(&[&squatter, &owner]);
        settle(&contracts);
        assert_eq!(contracts.tenure(&owner), Tenure::Holder);
        assert_eq!(contracts.tenure(&squatter), Tenure::Unbound);
        assert!(contracts.is_held_by_another(&squatter));
    }
}

#[test]
fn the_next_takes_over_and_is_woken_only_once_the_holder_is_gone() {
    let [first, second, third] =
        [1, 2, 3].map(|second| channel(&format!("ns/c{second}"), second, "testbed", &ADDRESS.to_string()));
    let contracts = listed(&[&third, &first, &second]);
    settle(&contracts);
    let mut leaving = first.clone();
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert!(take(&contracts, &Event::Apply(leaving.clone())).is_empty());
    assert_eq!(holder_of(&contracts, &second).unwrap(), "ns/c1");

    assert_eq!(take(&contracts, &Event::Delete(leaving)), ["ns/c2", "ns/c3"]);
    assert_eq!(contracts.tenure(&second), Tenure::Holder);
    assert_eq!(holder_of(&contracts, &third).unwrap(), "ns/c2");

    // The first one, made again under its name, is the youngest now.
    let again = channel("ns/c1", 9, "testbed", &ADDRESS.to_string());
    assert!(take(&contracts, &Event::Apply(again.clone())).is_empty());
    assert_eq!(holder_of(&contracts, &again).unwrap(), "ns/c2");
    assert!(take(&contracts, &Event::Delete(third)).is_empty());
    assert_eq!(contracts.tenure(&second), Tenure::Holder);
}

#[test]
fn a_holder_that_went_while_the_watch_was_down_is_missed_at_the_next_listing() {
    let first = channel("ns/first", 1, "testbed", &ADDRESS.to_string());
    let second = channel("ns/second", 2, "testbed", &ADDRESS.to_string());
    let contracts = listed(&[&first, &second]);
    settle(&contracts);
    assert_eq!(list(&contracts, &[&second]), ["ns/second"]);
    assert_eq!(contracts.tenure(&second), Tenure::Holder, "it was seen long ago");
}

#[test]
fn nobody_holds_a_contract_while_an_older_object_may_still_show() {
    let late = channel("ns/b", 1, "testbed", &ADDRESS.to_string());
    let contracts = contracts();
    assert!(
        matches!(contracts.tenure(&late), Tenure::Unsettled(_)),
        "nothing was seen"
    );
    take(&contracts, &Event::Init);
    take(&contracts, &Event::InitApply(late.clone()));
    assert!(
        matches!(contracts.tenure(&late), Tenure::Unsettled(_)),
        "not all was seen"
    );
    take(&contracts, &Event::InitDone);
    assert!(
        matches!(contracts.tenure(&late), Tenure::Unsettled(_)),
        "it is new"
    );

    // Created in the same second and first by name.
    let early = channel("ns/a", 1, "testbed", &ADDRESS.to_string());
    let woken = take(&contracts, &Event::Apply(early.clone()));
    assert_eq!(woken, ["ns/a", "ns/b"]);
    assert!(contracts.is_held_by_another(&late));
    settle(&contracts);
    assert_eq!(contracts.tenure(&early), Tenure::Holder);
}

#[test]
fn an_object_that_is_newer_than_the_index_is_asked_about_again() {
    let old = channel("ns/a", 1, "testbed", &ADDRESS.to_string());
    let contracts = listed(&[&old]);
    settle(&contracts);
    let again = channel("ns/a", 2, "testbed", &ADDRESS.to_string());
    assert_eq!(contracts.tenure(&again), Tenure::Unsettled(UNSEEN_INTERVAL));
}
