//! Pages as they are written and read, over the API.

use cocoon_api::{
    Subject,
    agent::{FailureCode, Outcome, ResultLine},
    receipt::{AgentKey, ChainId, ReceiptChain, Sha256Digest},
    units::Prices,
};
use cocoon_core::job::landing::{LIMITS, Limits, Terms};
use serde_json::json;

use super::{server::Secrets, *};

/// Terms with which every result fills a page.
fn terms() -> Terms {
    Terms {
        custom_ids: (0..8).map(|index| format!("r{index}")).collect(),
        bodies: Vec::new(),
        budget: None,
        model: Sha256Digest([0; 32]),
        prices: Prices::default(),
        certified: None,
        limits: Limits { page: 1, ..LIMITS },
    }
}

/// Lets the requests of these indices land.
fn land(landing: &mut Landing, indices: std::ops::Range<u32>, terms: &Terms) {
    let mut chain = ReceiptChain::new(ChainId {
        agent: AgentKey([0; 32]),
        subject: Subject::job(UID, 1),
        channel: None,
    });
    for index in indices {
        let outcome = Outcome::Failed {
            code: FailureCode::InvalidRequest,
            message: "m".into(),
        };
        let line = ResultLine {
            position: index,
            index,
            outcome,
        };
        landing.accept(&mut chain, line, terms).unwrap();
    }
}

fn results(secrets: &Secrets, known: &[OutputPage]) -> Results {
    Results::new(secrets.api(), "j".into(), owner(UID), known.to_vec())
}

async fn loaded(secrets: &Secrets, known: &[OutputPage]) -> (Landing, Origin) {
    let stored = results(secrets, known).load().await.unwrap().unwrap();
    (Arc::unwrap_or_clone(stored.landing), stored.origin)
}

/// Writes all that is full.
async fn store_pages(secrets: &Secrets, landing: &mut Landing, origin: &Origin) {
    let results = results(secrets, &[]);
    while let Some(page) = landing.next_page("j", UID) {
        match results.save_page(&page, origin).await.unwrap() {
            PageWritten::Stored => landing.page_written(page.name),
            PageWritten::Taken => assert!(landing.page_is_taken(), "there is another name"),
        }
    }
}

async fn store(secrets: &Secrets, landing: &mut Landing, origin: &mut Origin) -> Written {
    store_pages(secrets, landing, origin).await;
    results(secrets, &[]).save(landing, origin).await.unwrap()
}

/// Three closed pages and an open one.
async fn stored() -> (Secrets, Landing) {
    let secrets = Secrets::default();
    let (mut landing, mut origin) = loaded(&secrets, &[]).await;
    land(&mut landing, 0..3, &terms());
    let roomy = Terms {
        limits: LIMITS,
        ..terms()
    };
    land(&mut landing, 3..4, &roomy);
    assert_eq!(store(&secrets, &mut landing, &mut origin).await, Written::Stored);
    (secrets, landing)
}

async fn refusal(secrets: &Secrets, known: &[OutputPage]) -> Unreadable {
    results(secrets, known).load().await.unwrap().unwrap_err()
}

#[tokio::test]
async fn all_pages_are_read_back() {
    let (secrets, landing) = stored().await;
    assert_eq!((landing.closed().len(), secrets.names().len()), (3, 4));
    let (read, _) = loaded(&secrets, &landing.closed()[..2]).await;
    assert_eq!(read.failed(), 4);
    assert_eq!((read.head(), read.closed()), (landing.head(), landing.closed()));
}

#[tokio::test]
async fn a_page_that_was_written_before_a_crash_is_found_and_written_no_second_time() {
    let secrets = Secrets::default();
    let (mut landing, origin) = loaded(&secrets, &[]).await;
    land(&mut landing, 0..2, &terms());
    store_pages(&secrets, &mut landing, &origin).await;
    let before = secrets.names();
    // The open page was not written: for whoever comes next, nothing has landed.
    let (mut again, mut origin) = loaded(&secrets, &[]).await;
    assert_eq!(again.failed(), 0);
    land(&mut again, 0..2, &terms());
    store(&secrets, &mut again, &mut origin).await;
    let written: Vec<String> = again.closed().iter().map(|page| page.name.clone()).collect();
    assert!(before.iter().all(|name| written.contains(name)));
    assert_eq!(secrets.names().len(), before.len() + 1);
}

#[tokio::test]
async fn what_is_in_the_way_of_a_page_stays_and_the_page_gets_another_name() {
    let secrets = Secrets::default();
    let (mut landing, mut origin) = loaded(&secrets, &[]).await;
    land(&mut landing, 0..1, &terms());
    let first = landing.next_page("j", UID).unwrap();
    let foreign = json!({"metadata": {"name": first.name}, "data": {"key": "AA=="}});
    // One that looks like the job's, and that can still be changed.
    let squatter = json!({"metadata": {"name": first.name, "annotations": {"cocoon.farm/job-uid": UID}}});
    for other in [foreign, squatter] {
        secrets.put(&first.name, other.clone());
        let mut landing = landing.clone();
        let mut origin = Origin::default();
        let written = store(&secrets, &mut landing, &mut origin).await;
        assert_eq!(written, Written::Stored);
        assert_ne!(landing.closed()[0].name, first.name);
        assert_eq!(secrets.remove(&first.name), other, "nobody touched it");
        secrets.remove("j");
    }
    assert_eq!(store(&secrets, &mut landing, &mut origin).await, Written::Stored);
    assert_eq!(landing.closed()[0].name, first.name);
}

#[tokio::test]
async fn a_page_that_is_gone_replaced_or_somebody_elses_is_named_and_not_read() {
    let (secrets, landing) = stored().await;
    let name = landing.closed()[1].name.clone();
    let page = secrets.remove(&name);
    let gone = refusal(&secrets, &[]).await;
    assert!(
        matches!(&gone, Unreadable::Gone { name: named } if *named == name),
        "{gone}"
    );
    let mut changed = page.clone();
    changed["data"][RESULTS_KEY] = json!("");
    secrets.put(&name, changed);
    let damaged = refusal(&secrets, &[]).await;
    assert!(
        matches!(&damaged, Unreadable::Damaged { name: named, .. } if *named == name),
        "{damaged}"
    );
    let mut foreign = page.clone();
    foreign["metadata"]["annotations"] = json!({});
    foreign["metadata"]["ownerReferences"] = json!([]);
    secrets.put(&name, foreign);
    let foreign = refusal(&secrets, &[]).await;
    assert!(
        matches!(&foreign, Unreadable::Foreign { name: named } if *named == name),
        "{foreign}"
    );
    secrets.put(&name, page);
    assert_eq!(loaded(&secrets, landing.closed()).await.0.failed(), 4);
}

#[tokio::test]
async fn a_list_that_was_changed_is_not_followed_and_without_one_the_status_is() {
    let (secrets, landing) = stored().await;
    let head = secrets.remove("j");
    let mut shorter = head.clone();
    shorter["data"]["pages.jsonl"] = json!("");
    secrets.put("j", shorter);
    let changed = refusal(&secrets, landing.closed()).await;
    assert!(
        matches!(&changed, Unreadable::Damaged { name, .. } if name == "j"),
        "{changed}"
    );
    secrets.remove("j");
    let (mut left, mut origin) = loaded(&secrets, landing.closed()).await;
    assert_eq!(left.failed(), 3, "what the open page held is lost");
    assert_eq!(store(&secrets, &mut left, &mut origin).await, Written::Stored);
    assert_eq!(loaded(&secrets, &[]).await.0.failed(), 3);
}

#[tokio::test]
async fn an_open_page_that_somebody_else_wrote_is_not_replaced() {
    let (secrets, mut landing) = stored().await;
    let (_, mut origin) = loaded(&secrets, &[]).await;
    let mut head = secrets.remove("j");
    head["metadata"]["resourceVersion"] = json!("another");
    secrets.put("j", head);
    let overtaken = store(&secrets, &mut landing, &mut origin).await;
    assert_eq!(overtaken, Written::Overtaken);
}
