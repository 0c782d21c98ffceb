use proptest::prelude::*;

use super::tally::{Tally, tally};
use super::*;
use cocoon_api::NanoTon;

fn wallet(seqno: u32, balance: u64) -> WalletOnChain {
    WalletOnChain {
        balance: NanoTon::from_nano(balance).expect("in range"),
        deployed: true,
        seqno,
        block_seqno: 0,
    }
}

fn vote(place: usize, seqno: u32, block_seqno: u32) -> (usize, Dated<WalletOnChain>) {
    let value = wallet(seqno, 10 + place as u64);
    (place, Dated { value, block_seqno })
}

fn configs(urls: &[&str]) -> Vec<EndpointConfig> {
    urls.iter().map(|url| EndpointConfig::open(*url)).collect()
}

#[test]
fn a_majority_decides_and_the_others_are_named() {
    let votes = vec![
        vote(0, 7, 100),
        vote(1, 8, 101),
        vote(2, 8, 102),
        vote(3, 9, 102),
        vote(4, 8, 101),
    ];
    let Tally::Agreed { value, others } = tally(votes, 3, 0) else {
        panic!("three agree")
    };
    assert_eq!(
        (value.seqno, value.balance.nano()),
        (8, 11),
        "with the lowest balance"
    );
    let named: Vec<_> = others
        .iter()
        .map(|(place, trouble, _)| (*place, *trouble))
        .collect();
    assert_eq!(named, [(0, Trouble::Lagging), (3, Trouble::Disagrees)]);
}

#[test]
fn an_answer_from_before_the_floor_is_no_vote() {
    let votes = || vec![vote(0, 7, 99), vote(1, 7, 100)];
    assert!(matches!(tally(votes(), 2, 99), Tally::Agreed { .. }));
    let Tally::Split(said) = tally(votes(), 2, 100) else {
        panic!("one vote is too old")
    };
    assert_eq!(said[0].1, Trouble::Lagging);
    assert_eq!(said[1].1, Trouble::Disagrees);
}

#[test]
fn more_than_half_of_those_configured_must_agree() {
    let urls: Vec<String> = (1..=5).map(|port| format!("http://127.0.0.1:{port}")).collect();
    for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        let endpoints: Vec<_> = urls[..count].iter().map(EndpointConfig::open).collect();
        let quorum = Quorum::new(Network::TESTBED, &endpoints).expect("usable");
        assert_eq!(quorum.needed(), needed);
        assert_eq!(quorum.warning().is_some(), count < 3);
    }
    for count in [0, MAX_ENDPOINTS + 1] {
        let endpoints = vec![EndpointConfig::open("http://127.0.0.1:1"); count];
        Quorum::new(Network::TESTBED, &endpoints).expect_err("too few or too many");
    }
}

#[test]
fn an_endpoint_cannot_be_named_twice_and_those_of_one_host_are_told_apart() {
    for again in [
        "https://a.example/api/v2",
        "https://a.example/api/v2/",
        "https://A.Example/api/v2",
        "https://a.example:443/api/v2",
        "https://a.example/api/v2/jsonRPC/",
        "https://a.example/api/v2//",
    ] {
        let twice = configs(&["https://a.example/api/v2", again]);
        let error = Quorum::new(Network::MAINNET, &twice).expect_err("twice");
        assert!(error.to_string().contains("named twice"), "{again}: {error}");
    }
    let alike = configs(&[
        "https://a.example/one",
        "https://b.example/",
        "https://a.example/two",
    ]);
    let quorum = Quorum::new(Network::MAINNET, &alike).expect("usable");
    assert_eq!(
        quorum.endpoints().collect::<Vec<_>>(),
        ["a.example", "b.example", "a.example#2"]
    );
}

#[test]
fn the_floor_rises_and_falls_only_with_a_network_that_began_again() {
    let quorum = Quorum::new(Network::TESTBED, &configs(&["http://127.0.0.1:1"])).expect("usable");
    for (shown, floor) in [
        (5_000, 5_000),
        (4_999, 5_000),
        (6_000, 6_000),
        (5_000, 6_000),
        (12, 12),
    ] {
        quorum.raise_floor(shown);
        assert_eq!(quorum.floor.load(Ordering::Relaxed), floor);
    }
}

proptest! {
    /// Whatever a minority says: what is agreed on is what the others say, and nobody else is named.
    #[test]
    fn no_minority_changes_what_is_agreed(
        count in 1usize..=MAX_ENDPOINTS,
        lies in proptest::collection::vec((0u32..10, 0u32..200, any::<bool>()), MAX_ENDPOINTS),
        seed: u64,
    ) {
        let needed = count / 2 + 1;
        let liars = count - needed;
        let mut votes: Vec<_> = (0..needed).map(|place| vote(place, 5, 100)).collect();
        for (place, (seqno, block, answers)) in (needed..count).zip(&lies) {
            if *answers {
                votes.push(vote(place, *seqno, *block));
            }
        }
        let middle = usize::try_from(seed).unwrap_or(0) % votes.len();
        votes.rotate_left(middle);
        let Tally::Agreed { value, others } = tally(votes, needed, 50) else {
            panic!("a majority agrees")
        };
        prop_assert_eq!(value.seqno, 5);
        prop_assert!(others.len() <= liars);
        prop_assert!(others.iter().all(|(place, ..)| *place >= needed));
    }

    /// Fewer than a majority never decide.
    #[test]
    fn a_minority_alone_agrees_on_nothing(count in 2usize..=MAX_ENDPOINTS, blocks in proptest::collection::vec(0u32..100, MAX_ENDPOINTS)) {
        let needed = count / 2 + 1;
        let votes = (0..needed - 1).map(|place| vote(place, 5, blocks[place])).collect();
        prop_assert!(matches!(tally(votes, needed, 0), Tally::Split(_)));
    }
}
