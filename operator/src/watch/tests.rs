use cocoon_api::crd::PaymentChannel;
use k8s_openapi::api::core::v1::Namespace;
use kube::{api::ObjectMeta, core::Status};

use super::*;

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(name.into()),
        ..ObjectMeta::default()
    }
}

fn channel(namespace: &str) -> PaymentChannel {
    let spec = serde_json::from_value(serde_json::json!({
        "provider": {"name": "farm"}, "network": "testnet", "contractAddress": "0:ab", "payerPublicKey": "ab",
    }));
    PaymentChannel {
        metadata: named(namespace),
        spec: spec.unwrap(),
        status: None,
    }
}

fn listing<K>(objects: Vec<K>) -> impl Stream<Item = watcher::Result<Event<K>>> {
    let listed = objects.into_iter().map(Event::InitApply);
    let events: Vec<_> = [Event::Init]
        .into_iter()
        .chain(listed)
        .chain([Event::InitDone])
        .collect();
    stream::iter(events.into_iter().map(Ok)).chain(stream::pending())
}

fn forbidden<K>() -> impl Stream<Item = watcher::Result<Event<K>>> {
    let refused = watcher::Error::InitialListFailed(kube::Error::Api(
        Status::failure("no rights", "Forbidden").with_code(403).boxed(),
    ));
    stream::iter([Err(refused)]).chain(stream::pending())
}

/// The channels of a farm and of a team whose watch is refused, where there are these namespaces.
async fn channels_where_there_are(namespaces: &[&str]) -> Watched<PaymentChannel> {
    let stop = CancellationToken::new();
    let objects = namespaces.iter().map(|name| Namespace {
        metadata: ObjectMeta {
            namespace: None,
            ..named(name)
        },
        ..Namespace::default()
    });
    let known = Watched::start(listing(objects.collect()), |_| true, &stop);
    assert!(known.filled().await);
    let watches = vec![
        ("farm".to_owned(), listing(vec![channel("farm")]).boxed()),
        ("team".to_owned(), forbidden().boxed()),
    ];
    Watched::start_merged(watches, known.lacks(), |_| true, &stop)
}

#[tokio::test]
async fn a_listed_namespace_that_is_gone_holds_nothing_up() {
    let channels = channels_where_there_are(&["farm"]).await;
    assert!(channels.filled().await);
    assert_eq!(channels.state().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listed_namespace_that_cannot_be_read_is_waited_for() {
    let channels = channels_where_there_are(&["farm", "team"]).await;
    let filled = tokio::time::timeout(std::time::Duration::from_mins(1), channels.filled());
    assert!(filled.await.is_err(), "what is there was not read");
}
