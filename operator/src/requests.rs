//! Counts what is asked of the Kubernetes API: what a job costs the API server is a figure like its memory.

use axum::http::{Method, Request};
use kube::{Client, Config, client::ClientBuilder};
use prometheus::IntCounterVec;
use tower::util::MapRequestLayer;

/// A client whose requests are counted by verb and resource.
pub fn counted(config: Config, counters: &IntCounterVec) -> kube::Result<Client> {
    let counters = counters.clone();
    let count = move |request: Request<kube::client::Body>| {
        let uri = request.uri();
        let Asked { verb, resource } = asked(request.method(), uri.path(), uri.query().unwrap_or_default());
        counters.with_label_values(&[verb, &resource]).inc();
        request
    };
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&MapRequestLayer::new(count))
        .build())
}

/// What a request asks for, in the words of RBAC.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    verb: &'static str,
    /// Plural name of the kind, and the subresource after a slash.
    resource: String,
}

fn asked(method: &Method, path: &str, query: &str) -> Asked {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    // `/api/VERSION` or `/apis/GROUP/VERSION`, and then a namespace where the kind has one.
    let before = match segments.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => 0,
    };
    let mut rest: Vec<&str> = segments.skip(before).collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    let resource = match rest.get(2) {
        Some(subresource) => format!("{}/{subresource}", rest[0]),
        None => rest.first().copied().unwrap_or("other").to_owned(),
    };
    let is_watch = query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"));
    let verb = match *method {
        Method::GET if is_watch => "watch",
        Method::GET if rest.len() > 1 => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    Asked { verb, resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_by_verb_and_resource() {
        let named = |method: Method, uri: &str| {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let Asked { verb, resource } = asked(&method, path, query);
            format!("{verb} {resource}")
        };
        assert_eq!(
            named(Method::GET, "/api/v1/namespaces/n/secrets/s"),
            "get secrets"
        );
        assert_eq!(
            named(Method::GET, "/api/v1/pods?labelSelector=a&limit=8"),
            "list pods"
        );
        assert_eq!(
            named(
                Method::GET,
                "/apis/cocoon.farm/v1alpha1/inferencejobs?watch=true&timeoutSeconds=290"
            ),
            "watch inferencejobs"
        );
        assert_eq!(
            named(
                Method::PATCH,
                "/apis/cocoon.farm/v1alpha1/namespaces/n/inferencejobs/j/status?force=true"
            ),
            "patch inferencejobs/status"
        );
        assert_eq!(
            named(Method::POST, "/api/v1/namespaces/n/secrets"),
            "create secrets"
        );
        assert_eq!(named(Method::GET, "/api/v1/namespaces/n"), "get namespaces");
        assert_eq!(named(Method::GET, "/version"), "list other");
    }
}
