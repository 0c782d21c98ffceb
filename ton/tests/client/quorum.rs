//! Several endpoints of one network, of which some lag, lie, are gone, lose or repeat what they are told.

use std::time::{Duration, Instant};

use cocoon_ton::client::ATTEMPTS;
use cocoon_ton::message::InternalMessage;
use cocoon_ton::quorum::{Dissent, MAX_SPREAD_SECONDS, STRAGGLER_WAIT, Trouble};
use cocoon_ton::{EndpointConfig, Network, Quorum, QuorumError, SignedMessage, channel};
use testbed_chain::faults::FaultChange;
use testbed_chain::testing::{LocalEndpoint, LocalNetwork, Options};

use crate::network::{Local, nano, nowhere};

/// How an endpoint is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// Answers from the past.
    Lags,
    /// Answers falsely.
    Lies,
    /// Nobody listens there.
    Gone,
    /// Answers with 503.
    Down,
}

const ALL: [Bad; 4] = [Bad::Lags, Bad::Lies, Bad::Gone, Bad::Down];

/// A network with so many endpoints beside the one that the test itself acts through.
struct Many {
    local: Local,
    endpoints: Vec<LocalEndpoint>,
    quorum: Quorum,
}

fn url_of_nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}/api/v2", listener.local_addr().expect("its address"))
}

impl Many {
    /// As many endpoints as `bad` and `good` say, in this order. The bad ones that lag do so from here on.
    fn start(bad: &[Bad], good: usize) -> Self {
        let local = Local::start();
        let open = |_| local.chain.open_endpoint().expect("an endpoint");
        let endpoints: Vec<LocalEndpoint> = (0..bad.len() + good).map(open).collect();
        let urls = endpoints
            .iter()
            .enumerate()
            .map(|(place, endpoint)| match bad.get(place) {
                Some(Bad::Gone) => url_of_nobody(),
                _ => endpoint.base_url(),
            });
        let configs: Vec<_> = urls.map(EndpointConfig::open).collect();
        let quorum = Quorum::new(Network::TESTBED, &configs).expect("usable");
        for (endpoint, bad) in endpoints.iter().zip(bad) {
            endpoint.change_faults(match bad {
                Bad::Lags => FaultChange {
                    stale_reads: Some(true),
                    ..FaultChange::default()
                },
                Bad::Lies => FaultChange {
                    lies: Some(true),
                    ..FaultChange::default()
                },
                Bad::Down => FaultChange {
                    unavailable: Some(u32::MAX),
                    ..FaultChange::default()
                },
                Bad::Gone => FaultChange::default(),
            });
        }
        Self {
            local,
            endpoints,
            quorum,
        }
    }

    /// A channel with a claim redeemed, and the message that redeemed it.
    async fn channel(&self) -> (cocoon_ton::Address, SignedMessage) {
        let local = &self.local;
        let params = crate::channel::params(local);
        let deposit = channel::deploy_and_fund(&params, nano(1_000_000_000), 1).expect("amount");
        local.send(deposit).await;
        let voucher = crate::channel::voucher(local, &params, nano(300_000_000));
        let claim = channel::Claim::new(voucher, nano(200_000_000));
        let signed = local.send(channel::redeem(&claim, 2)).await;
        (params.address(), signed)
    }

    fn assert_named(&self, bad: &[Bad], dissent: &[Dissent], about: &str) {
        let named: Vec<&str> = dissent.iter().map(|it| it.endpoint.as_str()).collect();
        let expected: Vec<&str> = self.quorum.endpoints().take(bad.len()).collect();
        assert_eq!(named, expected, "{about} with {bad:?}: {dissent:?}");
        for (bad, it) in bad.iter().zip(dissent) {
            let fits = match bad {
                Bad::Lags => it.trouble == Trouble::Lagging,
                Bad::Lies => matches!(it.trouble, Trouble::Disagrees | Trouble::Refused),
                Bad::Gone | Bad::Down => it.trouble == Trouble::Unavailable,
            };
            assert!(fits, "{about}: {bad:?} is told as {it}");
        }
    }
}

/// Reads everything through endpoints of which a minority is bad: the truth comes out, and the minority is named.
async fn the_truth_comes_out(bad: &[Bad], good: usize) {
    let many = Many::start(bad, good);
    let (address, signed) = many.channel().await;
    many.local.chain.advance(60).expect("time passes");

    let head = many.quorum.head().await.expect("a majority");
    let truth = many.local.client().head().await.expect("head");
    assert!(
        truth.time.abs_diff(head.value.time) <= MAX_SPREAD_SECONDS,
        "{bad:?}"
    );
    many.assert_named(bad, &head.dissent, "time");

    let channel = many.quorum.channel(&address).await.expect("a majority");
    let cocoon_ton::ChannelOnChain::Channel { state, .. } = channel.value else {
        panic!("a channel, not {channel:?}")
    };
    assert_eq!(state.redeemed, nano(200_000_000));
    many.assert_named(bad, &channel.dissent, "channel");

    let wallet = many.local.wallet.address();
    let seen = many.quorum.wallet(&wallet).await.expect("a majority");
    assert_eq!(seen.value.seqno, 2);
    many.assert_named(bad, &seen.dissent, "wallet");

    let found = many
        .quorum
        .find_message(&wallet, &signed.hash, 0)
        .await
        .expect("a majority");
    let found_hash = found.value.expect("found").transaction.external_message_hash();
    assert_eq!(found_hash, Some(signed.hash));
    many.assert_named(bad, &found.dissent, "transaction");
    assert_eq!(many.quorum.troubled().len(), bad.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_endpoint_of_three_is_named_and_stops_nothing() {
    for bad in ALL {
        the_truth_comes_out(&[bad], 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bad_endpoints_of_five_are_named_and_stop_nothing() {
    for (first, second) in [
        (Bad::Lags, Bad::Lags),
        (Bad::Lies, Bad::Lies),
        (Bad::Lies, Bad::Gone),
        (Bad::Lags, Bad::Down),
    ] {
        the_truth_comes_out(&[first, second], 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_endpoints_agree_whatever_their_number() {
    for good in [1, 2, 3, 5] {
        the_truth_comes_out(&[], good).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_error_names_who_said_what() {
    for (bad, good) in [
        (vec![Bad::Lies], 1),
        (vec![Bad::Down], 1),
        (vec![Bad::Gone], 1),
        (vec![Bad::Down, Bad::Gone], 1),
        (vec![Bad::Lies, Bad::Gone], 1),
        (vec![Bad::Lies, Bad::Gone, Bad::Down], 2),
        (vec![Bad::Down], 0),
    ] {
        let many = Many::start(&bad, good);
        let (address, _) = many.channel().await;
        let error = many.quorum.channel(&address).await.expect_err("no majority");
        let QuorumError::NoMajority {
            said,
            needed,
            configured,
            ..
        } = &error
        else {
            panic!("no majority, not {error:?}")
        };
        assert_eq!((*needed, *configured), (many.quorum.needed(), bad.len() + good));
        assert!(error.is_transient());
        let words = error.to_string();
        for name in many.quorum.endpoints().take(bad.len()) {
            assert!(words.contains(name), "{words}");
        }
        if bad.contains(&Bad::Lies) {
            assert!(
                words.contains("0.7 TON redeemed") && words.contains("0.2 TON redeemed"),
                "{words}"
            );
            assert_eq!(said.len(), bad.len() + good);
        }
    }
}

/// An old answer must not be believed after a newer time was: a message would count as expired that a block has taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_after_the_time_is_at_least_as_new() {
    let many = Many::start(&[], 3);
    let (address, _) = many.channel().await;
    for endpoint in &many.endpoints[..2] {
        endpoint.change_faults(FaultChange {
            stale_reads: Some(true),
            ..FaultChange::default()
        });
    }
    let before = many
        .quorum
        .channel(&address)
        .await
        .expect("agreement on what is old");
    many.local.make_blocks();
    // The two that lag can hold the time back, since they are the majority; what is old stays consistent with itself.
    let old = many.quorum.head().await.expect("a majority").value;
    assert!(old.seqno < many.local.client().head().await.expect("head").seqno);
    assert!(before.dissent.is_empty());

    many.endpoints[0].change_faults(FaultChange {
        stale_reads: Some(false),
        ..FaultChange::default()
    });
    let head = many.quorum.head().await.expect("a majority").value;
    assert!(head.seqno > old.seqno);
    // The one that was well falls behind as well: two of three answer alike, from before the time that was read.
    many.endpoints[0].change_faults(FaultChange {
        unavailable: Some(u32::MAX),
        ..FaultChange::default()
    });
    let error = many
        .quorum
        .channel(&address)
        .await
        .expect_err("one fresh answer of three");
    let lagging = error
        .said()
        .iter()
        .filter(|it| it.trouble == Trouble::Lagging)
        .count();
    assert_eq!(lagging, 1, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_to_every_endpoint_and_is_paid_once() {
    let many = Many::start(&[], 3);
    many.endpoints[0].change_faults(FaultChange {
        drop_sends: Some(1),
        ..FaultChange::default()
    });
    many.endpoints[1].change_faults(FaultChange {
        duplicate_sends: Some(1),
        ..FaultChange::default()
    });
    many.endpoints[2].change_faults(FaultChange {
        lost_replies: Some(ATTEMPTS),
        ..FaultChange::default()
    });
    let signed = many
        .local
        .sign(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    let sent = many.quorum.send(&signed.boc).await.expect("taken");
    assert!(sent.taken >= 2, "{sent:?}");
    many.local.make_blocks();
    let arrived = many.local.chain.balance(&nowhere().to_string()).expect("balance");
    assert_eq!(arrived, 5_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_only_one_endpoint_passes_on_arrives() {
    let many = Many::start(&[Bad::Down, Bad::Gone], 1);
    let signed = many
        .local
        .sign(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    let sent = many.quorum.send(&signed.boc).await.expect("taken");
    assert_eq!((sent.taken, sent.dissent.len()), (1, 2));
    many.local.make_blocks();
    let arrived = many.local.chain.balance(&nowhere().to_string()).expect("balance");
    assert_eq!(arrived, 5_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_takes_is_an_error_with_everybodys_reason() {
    let many = Many::start(&[Bad::Down, Bad::Gone], 0);
    let signed = many
        .local
        .sign(InternalMessage::transfer(nowhere(), nano(5_000_000)))
        .await;
    let error = many.quorum.send(&signed.boc).await.expect_err("nobody");
    assert!(
        matches!(&error, QuorumError::NotTaken { said, .. } if said.len() == 2),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_another_network_are_no_majority_and_one_of_them_stops_nothing() {
    let stranger = LocalNetwork::start(Options {
        global_id: -3,
        block_interval: None,
        ..Options::default()
    })
    .expect("network");
    let local = Local::start();
    let (one, two) = (
        local.chain.open_endpoint().expect("an endpoint"),
        local.chain.open_endpoint().expect("an endpoint"),
    );
    let quorum =
        |urls: [String; 3]| Quorum::new(Network::TESTBED, &urls.map(EndpointConfig::open)).expect("usable");
    let minority = quorum([one.base_url(), two.base_url(), stranger.base_url()]);
    let head = minority.head().await.expect("a majority");
    assert_eq!(head.dissent[0].trouble, Trouble::WrongNetwork);

    let another = stranger.open_endpoint().expect("an endpoint");
    let majority = quorum([one.base_url(), another.base_url(), stranger.base_url()]);
    let error = majority.head().await.expect_err("no majority");
    assert!(matches!(error, QuorumError::WrongNetwork { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_endpoints_refuse_is_the_questions_fault_and_none_of_theirs() {
    let many = Many::start(&[], 3);
    let (channel, _) = many.channel().await;
    let error = many.quorum.wallet(&channel).await.expect_err("no wallet");
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("is no working wallet v5r1"), "{error}");
    assert_eq!(many.quorum.troubled(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_not_waited_for_where_it_cannot_help() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hanging = format!("http://{}/api/v2", listener.local_addr().expect("its address"));
    let urls = [hanging, url_of_nobody(), url_of_nobody()];
    let quorum = Quorum::new(Network::TESTBED, &urls.map(EndpointConfig::open)).expect("usable");
    let start = Instant::now();
    quorum.head().await.expect_err("nobody answers");
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(11),
        "less than one request may take: {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_are_those_of_the_chains_configuration() {
    for price_factor in [1, 6] {
        let chain = LocalNetwork::start(Options {
            block_interval: None,
            price_factor,
            ..Options::default()
        })
        .expect("network");
        let endpoints = [
            chain.open_endpoint().expect("an endpoint"),
            chain.open_endpoint().expect("an endpoint"),
        ];
        let urls = [endpoints[0].base_url(), endpoints[1].base_url(), url_of_nobody()];
        let quorum = Quorum::new(Network::TESTBED, &urls.map(EndpointConfig::open)).expect("usable");
        let prices = quorum.prices().await.expect("a majority");
        let factor = u64::from(price_factor);
        assert_eq!(prices.value.gas_price, 4_369_067 * factor);
        assert_eq!(
            (prices.value.flat_price, prices.value.lump_price),
            (6_667 * factor, 66_667 * factor)
        );
        assert_eq!(prices.dissent.len(), 1);
        let fee = prices
            .value
            .redeem_fee(cocoon_ton::prices::ClaimedBy::Payee)
            .expect("affordable")
            .nano();
        assert!(fee.abs_diff(1_373_338 * factor) < 100, "{fee}");
    }
}

/// A blackhole: connections are taken and nothing is ever answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_is_waited_for_once_and_then_left() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hanging = format!("http://{}/api/v2", listener.local_addr().expect("its address"));
    let local = Local::start();
    let good = [
        local.chain.open_endpoint().expect("an endpoint"),
        local.chain.open_endpoint().expect("an endpoint"),
    ];
    let urls = [hanging, good[0].base_url(), good[1].base_url()];
    let quorum = Quorum::new(Network::TESTBED, &urls.map(EndpointConfig::open)).expect("usable");
    let first = Instant::now();
    let head = quorum.head().await.expect("a majority");
    let first = first.elapsed();
    assert_eq!(head.dissent[0].trouble, Trouble::Slow);
    let rest = Instant::now();
    for _ in 0..5 {
        let head = quorum.head().await.expect("a majority");
        assert_eq!(head.dissent[0].trouble, Trouble::Slow);
    }
    let rest = rest.elapsed();
    assert!(first >= STRAGGLER_WAIT, "{first:?}");
    assert!(rest < 5 * STRAGGLER_WAIT, "five more reads took {rest:?}");
    assert!(first < STRAGGLER_WAIT + Duration::from_secs(10), "{first:?}");
}
