//! What an operator asks of the API server: each kind is watched once, and a job that waits costs nothing.

mod api;

use std::{collections::BTreeMap, time::Duration};

use api::ApiServer;
use cocoon_api::names;
use cocoon_operator::{channel, job, provider, settlement};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "/apis/cocoon.farm/v1alpha1";
/// Jobs that wait for an agent.
const JOBS: u32 = 40;

/// Requests of these verbs.
fn of<'a>(asked: &'a BTreeMap<String, u32>, verbs: &[&str]) -> BTreeMap<&'a str, u32> {
    let is_one = |request: &str| verbs.iter().any(|verb| request.starts_with(&format!("{verb} ")));
    let found = asked.iter().filter(|(request, _)| is_one(request));
    found.map(|(request, count)| (request.as_str(), *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_listed_and_watched_once_for_all_controllers() {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    let ctx = server.operator(&stop).await;
    let controllers = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::join!(
                provider::run(ctx.clone(), stop.clone()),
                job::run(ctx.clone(), stop.clone()),
                channel::run(ctx.clone(), stop.clone()),
                settlement::run(ctx, stop),
            )
        }
    });
    // The clock stands still while anything is to be done: whatever a controller begins with was asked by then.
    tokio::time::sleep(Duration::from_secs(100)).await;
    stop.cancel();
    controllers.await.expect("no controller panicked");
    let kinds = [
        "/api/v1/namespaces".to_owned(),
        "/api/v1/nodes".to_owned(),
        "/api/v1/pods".to_owned(),
        "/apis/apps/v1/deployments".to_owned(),
        format!("{GROUP}/cocoonproviders"),
        format!("{GROUP}/inferencejobs"),
        format!("{GROUP}/paymentchannels"),
        format!("{GROUP}/settlements"),
    ];
    let once: Vec<String> = ["list", "watch"]
        .iter()
        .flat_map(|verb| kinds.iter().map(move |kind| format!("{verb} {kind}")))
        .collect();
    // Pods twice: those that have not ended, and those of ours that were rejected.
    let times = |request: &str| if request.ends_with("/pods") { 2 } else { 1 };
    let expected = once
        .iter()
        .map(|request| (request.as_str(), times(request)))
        .collect();
    assert_eq!(of(&server.asked(), &["list", "watch"]), expected);
}

fn waiting_job(number: u32) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": format!("j{number}"), "namespace": "n", "uid": format!("u{number}"), "generation": 1,
                     "resourceVersion": "1", "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z")},
        "spec": {"model": "m", "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "x"}]},
                 "parameters": {"maxTokens": 1}, "billing": {"mode": "Free"}},
    })
}

/// An offer that no agent serves, and jobs that wait for one.
fn hold_waiting_jobs(server: &ApiServer) {
    server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
    for number in 0..JOBS {
        let path = format!("{GROUP}/namespaces/n/inferencejobs/j{number}");
        server.hold(&path, waiting_job(number));
    }
}

fn offer() -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider",
        "metadata": {"name": "p", "namespace": "n", "uid": "p", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "backend": "CPU",
            "models": [{
                "name": "m", "source": {"hostPath": "/m.gguf", "sha256": "ab".repeat(32)}, "contextLength": 1024,
                "allowFree": true,
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1, "minimumNano": 1},
            }],
            "payout": {"network": "testbed", "address": "0:00", "walletSecretRef": {"name": "w"}},
        },
    })
}

/// Requests until a free job waits: its input, a look whether the Secret of its results is free, and its status, which
/// is written once more where older jobs were seen after it. Then none, however often it is looked at, although nothing
/// that was written has come back by a watch.
#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_an_agent_asks_the_api_server_for_nothing() {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    hold_waiting_jobs(&server);
    let ctx = server.operator(&stop).await;
    let before = server.asked();
    let controller = tokio::spawn(job::run(ctx, stop.clone()));
    // Every job is looked at every 15 s: three times by then, and four times more until the end.
    tokio::time::sleep(Duration::from_secs(50)).await;
    let asked = server.asked();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(server.asked(), asked);
    stop.cancel();
    controller.await.expect("the controller did not panic");
    let mut more: BTreeMap<&str, u32> = asked
        .iter()
        .map(|(request, count)| (request.as_str(), count - before.get(request).unwrap_or(&0)))
        .filter(|(_, more)| *more > 0)
        .collect();
    let (input, status) = (
        format!("get {GROUP}/inferencejobs"),
        format!("update {GROUP}/inferencejobs/status"),
    );
    let written = more.remove(status.as_str()).unwrap_or_default();
    assert!((JOBS..=2 * JOBS).contains(&written), "{written} statuses");
    let expected = BTreeMap::from([(input.as_str(), JOBS), ("get /api/v1/secrets", JOBS)]);
    assert_eq!(more, expected);
    let last = server.held(&format!("{GROUP}/namespaces/n/inferencejobs/j{}", JOBS - 1));
    let conditions = last["status"]["conditions"].as_array().expect("conditions");
    let scheduled = conditions
        .iter()
        .find(|condition| condition["type"] == "Scheduled");
    assert_eq!(scheduled.expect("it waits")["reason"], "ColdStart", "{last}");
}

/// A thousand jobs that wait would otherwise hold every reconcile for minutes, and a job whose agent is free would be
/// the last.
#[tokio::test(start_paused = true)]
async fn jobs_that_have_no_agent_take_turns_in_asking_the_api_server() {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    hold_waiting_jobs(&server);
    let ctx = server.operator(&stop).await;
    server.slow_down(Duration::from_millis(100));
    let controller = tokio::spawn(job::run(ctx, stop.clone()));
    tokio::time::sleep(Duration::from_secs(50)).await;
    stop.cancel();
    controller.await.expect("the controller did not panic");
    assert_eq!(
        server.most_at_once(),
        4,
        "of sixteen jobs that are reconciled at once"
    );
    for number in 0..JOBS {
        let job = server.held(&format!("{GROUP}/namespaces/n/inferencejobs/j{number}"));
        assert_eq!(reason_of(&job, "Scheduled"), "ColdStart", "{job}");
    }
}

/// The API server says of a Deployment why it makes no pods; the job says the same in words of its own, and takes it
/// back.
#[tokio::test(start_paused = true)]
async fn a_job_says_why_no_pod_of_its_agents_can_be_made() {
    for (words, reason) in [
        (
            "pods \"a-\" is forbidden: exceeded quota: board-room, requested: limits.memory=8Gi",
            "QuotaExceeded",
        ),
        (
            "pods \"a-\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 8Gi",
            "LimitRangeExceeded",
        ),
        (
            "pods \"a-\" is forbidden: violates PodSecurity \"restricted:latest\": hostPath /board-room",
            "PodSecurityViolated",
        ),
        (
            "pods \"a-\" is forbidden: error looking up service account n/board-room: serviceaccount \"board-room\" not found",
            "ServiceAccountMissing",
        ),
    ] {
        let (server, stop) = (ApiServer::default(), CancellationToken::new());
        let path = format!("{GROUP}/namespaces/n/inferencejobs/j1");
        server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
        server.hold(&path, waiting_job(1));
        server.hold(
            "/apis/apps/v1/namespaces/n/deployments/d",
            refused_deployment(words),
        );
        let ctx = server.operator(&stop).await;
        let controller = tokio::spawn(job::run(ctx, stop.clone()));
        tokio::time::sleep(Duration::from_secs(50)).await;
        stop.cancel();
        controller.await.expect("the controller did not panic");
        let job = server.held(&path);
        assert_eq!(reason_of(&job, "Scheduled"), reason, "{job}");
        let said = job["status"].to_string();
        assert!(
            said.contains("AgentsAvailable of provider p says why") && !said.contains("board-room"),
            "{said}"
        );
    }
}

fn refused_deployment(words: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "d", "resourceVersion": "1", "labels": {
            names::MANAGED_BY_LABEL: names::FIELD_MANAGER, names::PROVIDER_LABEL: "p", names::MODEL_LABEL: "m"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {}}, "template": {}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}]},
    })
}

/// A job that an operator left running, and whose second page somebody deleted while no operator ran; since then it
/// waits, if it does.
fn robbed_job(waits: bool, attempt: &str) -> Value {
    let mut job = waiting_job(1);
    job["metadata"]["finalizers"] = json!(["cocoon.farm/settlement"]);
    job["spec"]["billing"] = json!({"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 100});
    job["status"] = json!({
        "inputSha256": "ab".repeat(32), "channelUid": "c", "startTime": "2026-01-01T00:00:00Z", "provider": "p",
        "requests": {"total": 3, "inFlight": 1, "succeeded": 1, "failed": 0, "retried": 0},
        "cost": {"reservedNano": 100, "spentNano": 10, "spent": "0.00000001"},
        "output": {"secretRef": {"name": "j1"}, "pages": [{"name": "j1-page", "sha256": "cd".repeat(32)}]},
        "assignments": [{"attempt": 1, "provider": "p", "pod": "a", "podUid": "a", "agent": "ef".repeat(32), "requests": 1,
                         "completionTokens": 1, "nano": 10, "state": attempt,
                         "prices": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1, "minimumNano": 1}}],
        "conditions": [{"type": "Accepted", "status": if waits { "False" } else { "True" }, "message": "",
                        "reason": if waits { "InvalidInput" } else { "Accepted" }, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    job
}

/// The ledger knows more than the job's status said last.
fn ledger() -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
        "metadata": {"name": "c", "namespace": "n", "uid": "c", "generation": 1, "resourceVersion": "1"},
        "spec": {"provider": {"name": "p"}, "network": "testbed", "contractAddress": format!("0:{}", "00".repeat(32)),
                 "payerPublicKey": "00".repeat(32)},
        "status": {
            "reservations": [{"job": "u1", "name": "j1", "nano": 100}],
            "counters": [{"agent": "ef".repeat(32), "job": "u1", "name": "j1", "attempt": 1, "count": 3, "nano": 30,
                          "head": "00".repeat(32)}],
            "finishedNano": 5,
        },
    })
}

/// What becomes of such a job after a while, and of its channel.
async fn robbed(waits: bool, attempt: &str) -> (Value, Value) {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    let (path, channel) = (
        format!("{GROUP}/namespaces/n/inferencejobs/j1"),
        format!("{GROUP}/namespaces/n/paymentchannels/c"),
    );
    server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
    server.hold(&path, robbed_job(waits, attempt));
    server.hold(&channel, ledger());
    let ctx = server.operator(&stop).await;
    let controller = tokio::spawn(job::run(ctx, stop.clone()));
    tokio::time::sleep(Duration::from_secs(50)).await;
    stop.cancel();
    controller.await.expect("the controller did not panic");
    (server.held(&path), server.held(&channel))
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_page_is_gone_holds_no_agent_and_says_which_page_it_waits_for() {
    let (job, channel) = robbed(false, "Active").await;
    let status = &job["status"];
    assert_eq!(status["assignments"][0]["state"], "Suspended", "{status}");
    assert_eq!(reason_of(&job, "Accepted"), "InvalidInput", "{status}");
    let waits = status["waitingFor"].as_str().expect("it waits");
    assert!(waits.contains("j1-page"), "{waits}");
    assert!(
        status["completionTime"].is_null(),
        "it may still be put back: {status}"
    );
    assert_eq!(
        channel,
        ledger(),
        "nothing is counted of it, and nothing taken back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_page_stays_away_ends_and_owes_what_was_metered_once() {
    let (job, channel) = robbed(true, "Suspended").await;
    let status = &job["status"];
    assert_eq!(reason_of(&job, "Failed"), "ResultsLost", "{status}");
    assert!(
        status["completionTime"].is_string() && status["metered"] == true,
        "{status}"
    );
    // What the ledger counts is the cost, although the status said less, and is paid with what the channel owes in all.
    assert_eq!(
        (&status["cost"]["spentNano"], &status["cost"]["settlesAtNano"]),
        (&json!(30), &json!(35))
    );
    let ledger = &channel["status"];
    assert_eq!(
        ledger["reservations"].as_array().map_or(0, Vec::len),
        0,
        "{ledger}"
    );
    let counters = ledger["counters"].as_array().expect("the counter stays");
    assert_eq!(
        (counters.len(), &counters[0]["nano"], &counters[0]["count"]),
        (1, &json!(30), &json!(3))
    );
    assert_eq!(
        status["output"]["pages"][0]["name"], "j1-page",
        "what was delivered stays evidence: {status}"
    );
}

/// One was waiting for an agent when its page went, and of another the API server refuses what must be written first:
/// whoever comes after them would wait for ever.
#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_a_job_that_gets_no_further() {
    let mut robbed = robbed_job(false, "Suspended");
    robbed["status"]["queuePosition"] = json!(0);
    let mut refused = robbed.clone();
    refused["metadata"]["finalizers"] = json!([]);
    refused["status"]["assignments"] = json!([]);
    for (stuck, forbidden) in [(robbed, None), (refused, Some("patch"))] {
        let (server, stop) = (ApiServer::default(), CancellationToken::new());
        let path = |number: u32| format!("{GROUP}/namespaces/n/inferencejobs/j{number}");
        server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
        server.hold(&format!("{GROUP}/namespaces/n/paymentchannels/c"), ledger());
        server.hold(&path(1), stuck);
        server.hold(&path(2), waiting_job(2));
        let ctx = server.operator(&stop).await;
        if let Some(verb) = forbidden {
            server.forbid(&format!("{verb} {GROUP}/inferencejobs"));
        }
        let controller = tokio::spawn(job::run(ctx, stop.clone()));
        tokio::time::sleep(Duration::from_secs(50)).await;
        stop.cancel();
        controller.await.expect("the controller did not panic");
        let next = server.held(&path(2));
        assert_eq!(next["status"]["queuePosition"], 0, "{forbidden:?}: {next}");
    }
}

/// With listed namespaces the operator's rights go with a namespace, so that the API server forbids what it would not
/// find.
#[tokio::test(start_paused = true)]
async fn what_is_forbidden_in_a_namespace_that_is_gone_is_not_there_and_elsewhere_an_error() {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    let there = json!({"apiVersion": "v1", "kind": "Namespace",
                       "metadata": {"name": "there", "resourceVersion": "1"}});
    server.hold("/api/v1/namespaces/there", there);
    let ctx = server.operator(&stop).await;
    let refused = |code: u16| -> kube::Result<u8> {
        let refused = kube::core::Status::failure("no rights", "Refused").with_code(code);
        Err(kube::Error::Api(refused.boxed()))
    };
    assert_eq!(ctx.unless_gone("gone", refused(403)).unwrap(), None);
    assert!(ctx.unless_gone("there", refused(403)).is_err());
    assert!(ctx.unless_gone("gone", refused(500)).is_err());
    assert_eq!(ctx.unless_gone("there", Ok(1)).unwrap(), Some(1));
    stop.cancel();
}

/// A job whose status is decided on version 1, while the API server holds it as `stored`; what is held after a while.
async fn decided_on_something_old(stored: Value) -> (Value, BTreeMap<String, u32>) {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    let path = format!("{GROUP}/namespaces/n/inferencejobs/j1");
    server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
    server.hold(&path, waiting_job(1));
    let ctx = server.operator(&stop).await;
    server.hold(&path, stored);
    let before = server.asked();
    let controller = tokio::spawn(job::run(ctx, stop.clone()));
    tokio::time::sleep(Duration::from_secs(50)).await;
    stop.cancel();
    controller.await.expect("the controller did not panic");
    let mut asked = server.asked();
    for (request, count) in before {
        asked.entry(request).and_modify(|all| *all -= count);
    }
    (server.held(&path), asked)
}

fn reason_of(job: &Value, type_: &str) -> Value {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == type_);
    found
        .next()
        .map_or(Value::Null, |condition| condition["reason"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_although_somebody_changed_the_rest_of_the_job_meanwhile() {
    let mut stored = waiting_job(1);
    stored["metadata"]["resourceVersion"] = json!("7");
    stored["metadata"]["labels"] = json!({"team": "a"});
    let (held, asked) = decided_on_something_old(stored).await;
    assert_eq!(reason_of(&held, "Scheduled"), "ColdStart", "{held}");
    assert_eq!(held["metadata"]["labels"]["team"], "a");
    assert_eq!(
        asked[&format!("update {GROUP}/inferencejobs/status")],
        2,
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_decided_on_an_older_one_is_not_written_over_it() {
    let mut stored = waiting_job(1);
    stored["metadata"]["resourceVersion"] = json!("7");
    // What another process decided in the meantime.
    stored["status"] = json!({
        "phase": "Failed", "metered": true,
        "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "m",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    });
    let (held, asked) = decided_on_something_old(stored.clone()).await;
    assert_eq!(held["status"], stored["status"]);
    assert_eq!(
        asked[&format!("update {GROUP}/inferencejobs/status")],
        1,
        "{asked:?}"
    );
}
