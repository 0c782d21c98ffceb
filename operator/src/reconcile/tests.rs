use std::sync::atomic::{AtomicBool, Ordering};

use cocoon_api::crd::InferenceJob;
use serde_json::json;

use super::*;

const RECONCILES: Reconciles = Reconciles {
    kind: "InferenceJob",
    limit: KUBERNETES_LIMIT,
};

fn job() -> InferenceJob {
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "namespace": "n"},
        "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
    }))
    .unwrap()
}

fn shown(metrics: &Metrics, line: &str) -> bool {
    metrics.render().unwrap().lines().any(|shown| shown == line)
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_hangs_fails_at_its_limit_is_counted_and_tried_again() {
    let metrics = Metrics::new().unwrap();
    let hung = RECONCILES.run(&metrics, std::future::pending());
    let error = hung.await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "gave up on reconcile after 90 s; it is tried again"
    );
    assert_eq!(
        RECONCILES.failed(&metrics, &job(), &error),
        Action::requeue(RETRY_INTERVAL)
    );
    assert!(shown(
        &metrics,
        "cocoon_reconcile_failures_total{kind=\"InferenceJob\"} 1"
    ));
    assert!(shown(
        &metrics,
        "cocoon_reconcile_seconds_count{kind=\"InferenceJob\"} 1"
    ));
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_takes_almost_its_limit_is_left_alone() {
    let metrics = Metrics::new().unwrap();
    let slow = async {
        tokio::time::sleep(KUBERNETES_LIMIT.saturating_sub(Duration::from_millis(1))).await;
        Ok(Action::await_change())
    };
    assert_eq!(
        RECONCILES.run(&metrics, slow).await.unwrap(),
        Action::await_change()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_reconcile_held_is_taken_back() {
    let held = AtomicBool::new(true);
    let hung = async {
        let _held = scopeguard::guard((), |()| held.store(false, Ordering::Relaxed));
        std::future::pending::<Result<()>>().await
    };
    within(Duration::from_secs(1), "hold", hung).await.unwrap_err();
    assert!(!held.load(Ordering::Relaxed));
}

#[test]
fn the_chain_limit_covers_a_full_settlement_at_one_request_a_second() {
    use cocoon_core::settlement::MAX_REDEEMS;
    use cocoon_ton::{
        client::{ATTEMPTS, REQUEST_TIMEOUT},
        reader::SEARCH_PAGES,
    };
    let requests = 2 + 2 + 1 + SEARCH_PAGES + 2 * MAX_REDEEMS;
    let pauses = Duration::from_millis(1_100) * (ATTEMPTS - 1);
    let longest = Duration::from_secs(u64::try_from(requests).unwrap())
        + REQUEST_TIMEOUT * ATTEMPTS
        + pauses
        + KUBERNETES_LIMIT;
    assert!(longest <= CHAIN_LIMIT, "{longest:?}");
}
