mod pages;
mod refused;

use cocoon_api::{
    Bill, Subject, TokenCount,
    conditions::{self, Ready, Reason as _},
    crd::PaymentChannelStatus,
    receipt::{
        AgentKey, Delivery, MAX_ARITHMETIC_BYTES, RECEIPT_VERSION, ReceiptError, ReceiptSigner,
        ResolvedSampling, TokensError, tokens_root,
    },
    units::{Prices, TokenPrice},
};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::ledger;

fn chain(signer: &ReceiptSigner, attempt: u32) -> ReceiptChain {
    ReceiptChain::new(ChainId {
        agent: signer.key(),
        subject: Subject::job("job", attempt),
        channel: Some("EQ".into()),
    })
}

fn answers(signer: &ReceiptSigner, attempt: u32, indices: &[u32]) -> Vec<ResultLine> {
    let bodies = indices
        .iter()
        .map(|&index| (index, format!("{{\"text\": \"answer {index}\"}}")));
    deliver(signer, attempt, bodies)
}

/// Answers of so many bytes.
fn sized(signer: &ReceiptSigner, attempt: u32, sizes: &[(u32, usize)]) -> Vec<ResultLine> {
    let bodies = sizes
        .iter()
        .map(|&(index, size)| (index, format!("\"{}\"", "x".repeat(size.saturating_sub(2)))));
    deliver(signer, attempt, bodies)
}

fn deliver(
    signer: &ReceiptSigner,
    attempt: u32,
    bodies: impl Iterator<Item = (u32, String)>,
) -> Vec<ResultLine> {
    deliver_on(signer, chain(signer, attempt), bodies)
}

fn deliver_on(
    signer: &ReceiptSigner,
    mut written: ReceiptChain,
    bodies: impl Iterator<Item = (u32, String)>,
) -> Vec<ResultLine> {
    (0..)
        .zip(bodies)
        .map(|(position, (index, body))| {
            let delivery = Delivery {
                request: index,
                request_sha256: asked(index),
                arithmetic: None,
                sampling: sampling(),
                tokens_root: tokens_root(&[1, 2], &[3; 10]),
                model: Sha256Digest::of(b"model"),
                result: Sha256Digest::of(body.as_bytes()),
                usage: Usage {
                    prompt_tokens: TokenCount::new(2).unwrap(),
                    completion_tokens: TokenCount::new(10).unwrap(),
                    ..Usage::default()
                },
                prices: prices(),
            };
            let receipt = signer.receipt(&mut written, delivery).unwrap();
            let outcome = Outcome::Succeeded {
                body,
                tokens: AnswerTokens::new(&[1, 2], &[3; 10]),
                receipt: Box::new(receipt),
            };
            ResultLine {
                position,
                index,
                outcome,
            }
        })
        .collect()
}

/// SHA-256 of a request's body.
fn asked(index: u32) -> Sha256Digest {
    Sha256Digest::of(format!("body {index}").as_bytes())
}

fn prices() -> Prices {
    Prices {
        completion: TokenPrice::from_nano_per_million(2_000_000).unwrap(),
        ..Prices::default()
    }
}

fn sampling() -> ResolvedSampling {
    ResolvedSampling {
        max_tokens: 16,
        temperature: "0.0".into(),
        top_p: "1.0".into(),
        min_p: "0.0".into(),
        repetition_penalty: "1.0".into(),
        presence_penalty: "0.0".into(),
        frequency_penalty: "0.0".into(),
        top_k: 0,
        seed: 7,
        ignore_eos: false,
    }
}

fn terms() -> Terms {
    Terms {
        custom_ids: (0..8).map(|index| format!("request-{index}")).collect(),
        bodies: (0..8).map(asked).collect(),
        budget: None,
        model: Sha256Digest::of(b"model"),
        prices: prices(),
        certified: None,
        limits: LIMITS,
    }
}

/// Of the agent whose answers most tests take.
fn certified() -> Terms {
    terms_of(signer(1).key())
}

/// The same, of an agent that the provider answers for.
fn terms_of(agent: AgentKey) -> Terms {
    Terms {
        certified: Some(agent),
        ..terms()
    }
}

fn land(
    landing: &mut Landing,
    signer: &ReceiptSigner,
    attempt: u32,
    lines: Vec<ResultLine>,
) -> Vec<Accepted> {
    let mut reader = chain(signer, attempt);
    lines
        .into_iter()
        .map(|line| {
            landing
                .accept(&mut reader, line, &terms_of(signer.key()))
                .unwrap()
        })
        .collect()
}

fn signer(seed: u8) -> ReceiptSigner {
    ReceiptSigner::from_seed([seed; 32])
}

/// What a cluster stores of a landing.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    head: HeadText,
    pages: BTreeMap<String, PageText>,
}

impl Stored {
    /// Writes every page that is full, then the open one.
    fn write(&mut self, landing: &mut Landing) {
        while let Some(page) = landing.next_page("j", "uid") {
            assert_eq!(page.sha256, page.text.digest());
            self.pages.insert(page.name.clone(), page.text.as_ref().clone());
            landing.page_written(page.name);
        }
        self.head = landing.head();
    }

    fn of(landing: &Landing) -> Self {
        let mut stored = Self {
            head: HeadText::default(),
            pages: BTreeMap::new(),
        };
        stored.write(&mut landing.clone());
        stored
    }

    fn read(&self) -> Result<Landing, LandingError> {
        let mut reading = Reading::new(Some(&self.head), &[])?;
        while let Some(name) = reading.wanted() {
            reading.take(&self.pages[name])?;
        }
        Ok(reading.landing())
    }

    /// One text of all pages, in their order.
    fn all(&self, text: fn(&PageText) -> &str) -> String {
        let landing = self.read().unwrap();
        let closed = landing.closed().iter().map(|page| &self.pages[&page.name]);
        closed.chain([&self.head.page]).map(text).collect()
    }

    fn receipts(&self) -> (Vec<Receipt>, Vec<Receipt>) {
        let receipts = |text: String| {
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        (
            receipts(self.all(|page| &page.receipts)),
            receipts(self.all(|page| &page.undelivered)),
        )
    }
}

fn head(page: PageText) -> HeadText {
    HeadText {
        page,
        pages: String::new(),
    }
}

/// Every chain of the stored receipts, billed or not, verifies from its start.
fn chains_verify(stored: &Stored) {
    let (receipts, undelivered) = stored.receipts();
    let mut receipts: Vec<&Receipt> = receipts.iter().chain(&undelivered).collect();
    receipts.sort_by_key(|receipt| receipt.sequence);
    let mut chains: BTreeMap<ChainId, ReceiptChain> = BTreeMap::new();
    for receipt in receipts {
        let chain = chains
            .entry(receipt.chain.clone())
            .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()));
        chain.push(receipt).unwrap();
    }
}

#[test]
fn results_tokens_and_receipts_land_together_and_survive_storage() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[2, 0, 1]));
    let text = Stored::of(&landing);
    let stored = text.read().unwrap();
    assert_eq!(Stored::of(&stored), text);
    assert_eq!((stored.succeeded(), stored.failed()), (3, 0));
    assert_eq!(stored.nano().unwrap().nano(), 60);
    assert_eq!(stored.root(), landing.root());
    let (receipts, _) = text.receipts();
    assert_eq!(stored.root(), cocoon_api::receipt::receipts_root(&receipts));
    let results: Vec<ResultRecord> = text
        .head
        .page
        .results
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        results[1].response.as_ref().unwrap().body.get(),
        "{\"text\": \"answer 1\"}",
        "bytes stay as they were signed"
    );
    let tokens: Vec<TokensRecord> = text
        .head
        .page
        .tokens
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for tokens in &tokens {
        let receipt = receipts
            .iter()
            .find(|receipt| receipt.request == tokens.index)
            .unwrap();
        tokens.tokens.check(receipt.tokens_root, &receipt.usage).unwrap();
    }
    assert_eq!(tokens.len(), 3);
}

#[test]
fn a_request_is_billed_once_although_two_attempts_deliver_it() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1]));
    let accepted = land(&mut landing, &signer(2), 2, answers(&signer(2), 2, &[1, 2]));
    assert_eq!(accepted, [Accepted::Undelivered, Accepted::Landed]);
    let counters = landing.counters("job").unwrap();
    assert_eq!(
        counters.iter().map(|counter| counter.nano.nano()).sum::<u64>(),
        3 * 20
    );
    assert_eq!(landing.billed().count(), 3);
    assert!(landing.has_chain(chain(&signer(2), 2).id()) && !landing.has_chain(chain(&signer(2), 3).id()));
    chains_verify(&Stored::of(&landing));
}

#[test]
fn a_stream_read_again_from_the_start_changes_nothing() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1]));
    let before = Stored::of(&landing);
    let accepted = land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1, 2]));
    assert_eq!(accepted, [Accepted::Known, Accepted::Known, Accepted::Landed]);
    assert_ne!(Stored::of(&landing), before);
}

#[test]
fn only_failures_that_another_attempt_cannot_mend_are_stored() {
    let failed = |code| ResultLine {
        position: 0,
        index: 0,
        outcome: Outcome::Failed {
            code,
            message: "m".into(),
        },
    };
    let mut landing = Landing::default();
    let mut chain = chain(&signer(1), 1);
    assert_eq!(
        landing
            .accept(&mut chain, failed(FailureCode::Internal), &terms())
            .unwrap(),
        Accepted::Retryable
    );
    let stored = landing
        .accept(&mut chain, failed(FailureCode::ContextLengthExceeded), &terms())
        .unwrap();
    assert_eq!(stored, Accepted::Landed);
    assert_eq!(landing.failed(), 1);
    assert!(landing.counters("job").unwrap().is_empty());
}

#[test]
fn an_agents_long_words_are_cut() {
    let outcome = Outcome::Failed {
        code: FailureCode::InvalidRequest,
        message: "\u{1}\"\u{1f600}".repeat(100_000),
    };
    let line = ResultLine {
        position: 0,
        index: 0,
        outcome,
    };
    let mut landing = Landing::default();
    landing.accept(&mut chain(&signer(1), 1), line, &terms()).unwrap();
    assert!(landing.head().page.results.len() <= record::MAX_MESSAGE_BYTES + 112 + "\"request-0\"".len());
}

proptest! {
    #[test]
    fn arbitrary_stored_text_never_panics(results in "\\PC{0,200}", receipts in "\\PC{0,200}") {
        let text = PageText { results, undelivered: receipts.clone(), tokens: receipts.clone(), receipts };
        let _ = Reading::new(Some(&HeadText { pages: text.receipts.clone(), page: text }), &[]);
    }

    #[test]
    fn counters_equal_the_sum_of_receipts(split in 0..6usize) {
        let order = [3, 1, 0, 2, 5, 4];
        let (first, second) = order.split_at(split);
        let mut landing = Landing::default();
        land(&mut landing, &signer(1), 1, answers(&signer(1), 1, first));
        land(&mut landing, &signer(2), 2, answers(&signer(2), 2, second));
        let counted: u64 = landing.counters("job").unwrap().iter().map(|counter| counter.nano.nano()).sum();
        prop_assert_eq!(counted, landing.nano().unwrap().nano());
        prop_assert_eq!(counted, 6 * 20);
    }
}

#[test]
fn a_sessions_answers_become_its_counter_once_and_its_budget_is_given_back() {
    let (signer, session) = (signer(1), Subject::session("job"));
    let of_session = || {
        ReceiptChain::new(ChainId {
            subject: session.clone(),
            ..chain(&signer, 1).id().clone()
        })
    };
    let bodies = (0..3).map(|index| (index, format!("\"answer {index}\"")));
    let lines = deliver_on(&signer, of_session(), bodies);
    let (bill, most) = (session.bill(), NanoTon::from_nano(100).unwrap());
    let mut status = PaymentChannelStatus::default();
    conditions::set(
        &mut status.conditions,
        Ready::Ready.condition(""),
        None,
        Timestamp::UNIX_EPOCH,
    );
    (status.cap_nano, status.deposit_nano) = (most, most);
    ledger::reserve(&mut status, &bill, "chat", most)
        .unwrap()
        .unwrap();
    let mut landing = Landing::default();
    // As often as its lines are read, from whichever start, it is metered once.
    for _ in 0..2 {
        let mut reader = of_session();
        for line in &lines {
            landing.accept(&mut reader, line.clone(), &certified()).unwrap();
            for counter in landing.counters("chat").unwrap() {
                ledger::merge(&mut status, counter).unwrap();
            }
        }
        assert_eq!(ledger::used(&status, &bill), landing.nano());
        assert_eq!((status.counters.len(), status.counters[0].count), (1, 3));
        assert_eq!(status.counters[0].subject, session);
    }
    assert_eq!(
        ledger::used(&status, &Bill::job("job")),
        Ok(NanoTon::ZERO),
        "no job of its name is billed"
    );
    ledger::release(&mut status, &bill);
    assert_eq!(ledger::exposed(&status), landing.nano());
    // A job's reader takes none of it.
    let refused = landing.accept(&mut chain(&signer, 1), lines[0].clone(), &certified());
    assert!(matches!(
        refused,
        Err(LandingError::Receipt {
            source: ReceiptError::Chain,
            ..
        })
    ));
}
