use serde_json::json;

use super::*;

const UID: &str = "job-uid";

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn job() -> InferenceJob {
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "uid": UID},
        "spec": {"model": "m", "input": {"inline": [{}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 100}},
    }))
    .unwrap()
}

/// A job that cost 10 and ended when 50 were metered on its channel.
fn ended() -> InferenceJobStatus {
    let mut status = InferenceJobStatus::default();
    status.cost.spent_nano = nano(10);
    status.cost.settles_at_nano = Some(nano(50));
    status
}

fn settlement(claim: u64, jobs: &serde_json::Value, state: &str) -> Settlement {
    let condition = json!({"type": "Confirmed", "status": if state == "Confirmed" { "True" } else { "False" },
                           "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement", "metadata": {"name": format!("s-{claim}")},
        "spec": {"providerRef": {"name": "p"}, "wallet": "w", "seqno": 1, "validUntil": 1, "message": "m",
                 "messageHash": "h", "claimed": "0",
                 "redeems": [{"channel": "c", "contractAddress": "a", "cumulativeNano": claim,
                              "redeemedBeforeNano": 0, "jobs": jobs}]},
        "status": {"state": state, "conditions": [condition], "transaction": "t"},
    }))
    .unwrap()
}

fn rank(settlement: &Settlement) -> Option<u8> {
    covering(&job(), "c", &ended(), settlement).map(|(rank, _, _)| rank)
}

#[test]
fn a_settlement_covers_the_jobs_that_it_lists_with_their_whole_cost() {
    let listed = |nano: u64| json!([{"name": "j", "uid": UID, "nano": nano}]);
    assert_eq!(rank(&settlement(10, &listed(10), "Confirmed")), Some(2));
    assert_eq!(rank(&settlement(10, &listed(9), "Confirmed")), None);
    assert_eq!(rank(&settlement(10, &listed(10), "Broadcast")), Some(1));
    assert_eq!(rank(&settlement(10, &listed(10), "Failed")), None);
}

#[test]
fn a_claim_of_what_was_metered_at_the_jobs_end_covers_it_although_it_left_the_ledger() {
    assert_eq!(rank(&settlement(50, &json!([]), "Confirmed")), Some(2));
    assert_eq!(rank(&settlement(49, &json!([]), "Confirmed")), None);
}

#[test]
fn a_channel_that_was_made_after_the_job_ended_did_not_meter_it() {
    let channel = |made: &str| -> PaymentChannel {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
            "metadata": {"name": "c", "creationTimestamp": made},
            "spec": {"provider": {"name": "p"}, "network": "n", "contractAddress": "a", "payerPublicKey": "k"},
        }))
        .unwrap()
    };
    let mut stored = ended();
    stored.completion_time = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
    assert!(metered(&channel("2026-01-01T00:00:00Z"), &stored));
    assert!(!metered(&channel("2026-01-03T00:00:00Z"), &stored));
}
