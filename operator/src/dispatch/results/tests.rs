mod pages;
mod server;

use std::collections::BTreeMap;

use cocoon_api::names::RESULTS_KEY;
use cocoon_core::job::landing::PageText;
use k8s_openapi::ByteString;
use kube::api::ObjectMeta;

use super::{
    secret::{is_of_earlier_job, is_own},
    *,
};

const UID: &str = "job-uid";

fn owner(uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "cocoon.farm/v1alpha1".into(),
        kind: "InferenceJob".into(),
        name: "j".into(),
        uid: uid.into(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn made(uid: &str) -> Secret {
    let owners = Origin::default().owners(&owner(uid));
    secret::open("j", &owner(uid), HeadText::default(), owners)
}

fn is_the_jobs(secret: &Secret) -> bool {
    is_own(&secret.metadata, &UID.to_owned())
}

/// The Secret as the garbage collector leaves it for `kubectl delete --cascade=orphan`.
fn orphaned(mut secret: Secret) -> Secret {
    secret.metadata.owner_references = None;
    secret.metadata.resource_version = Some("2".into());
    secret
}

#[test]
fn results_stay_the_jobs_when_they_are_orphaned() {
    let made = made(UID);
    assert!(is_the_jobs(&made));
    assert!(is_the_jobs(&orphaned(made)));
}

#[test]
fn results_that_were_orphaned_are_not_owned_again() {
    let left = orphaned(made(UID));
    let origin = Origin {
        version: left.metadata.resource_version,
        owners: left.metadata.owner_references,
    };
    let owners = origin.owners(&owner(UID));
    let page = ClosedPage {
        name: "j-1".into(),
        text: Arc::default(),
        sha256: PageText::default().digest(),
    };
    for written in [
        secret::open("j", &owner(UID), HeadText::default(), owners.clone()),
        secret::closed("j", &owner(UID), &page, owners),
    ] {
        assert_eq!(written.metadata.owner_references, None);
        assert!(is_the_jobs(&written));
    }
}

#[test]
fn results_of_an_older_operator_are_the_jobs_by_their_owner() {
    let mut made = made(UID);
    made.metadata.annotations = None;
    assert!(is_the_jobs(&made));
}

#[test]
fn results_of_an_earlier_job_of_the_name_are_on_their_way_out() {
    let earlier = made("another-uid");
    assert!(is_of_earlier_job(&earlier.metadata, &owner(UID)));
    assert!(!is_of_earlier_job(&orphaned(earlier).metadata, &owner(UID)));
    let own = made(UID);
    assert!(!is_of_earlier_job(&own.metadata, &owner(UID)));
    assert!(!is_of_earlier_job(&ObjectMeta::default(), &owner(UID)));
}

#[test]
fn a_secret_of_somebody_else_is_not_the_jobs() {
    assert!(!is_the_jobs(&Secret::default()));
    let another = made("another-uid");
    assert!(!is_the_jobs(&another));
    assert!(
        !is_the_jobs(&orphaned(another)),
        "an earlier job of the same name left it"
    );
}

#[test]
fn damaged_results_are_named_and_not_repeated() {
    let damaged = |bytes: &[u8]| {
        let data = BTreeMap::from([(RESULTS_KEY.to_owned(), ByteString(bytes.to_vec()))]);
        let stored = Secret {
            data: Some(data),
            ..Secret::default()
        };
        let head = secret::head(stored);
        let source = head.and_then(|head| Reading::new(Some(&head), &[])).unwrap_err();
        crate::error::chain(&Unreadable::Damaged {
            job: "j".into(),
            name: "j".into(),
            source,
        })
    };
    let said = damaged(b"{\"index\": \"canary-7f3a\"}\n");
    assert!(said.contains("line 1") && !said.contains("canary"), "{said}");
    let said = damaged(b"canary\xff");
    assert!(
        said.contains("from byte 6 on") && !said.contains("canary"),
        "{said}"
    );
}

#[test]
fn a_closed_page_is_immutable_and_reads_back_as_it_was_written() {
    let text = PageText {
        results: "{}\n".into(),
        tokens: "{}\n".into(),
        ..PageText::default()
    };
    let page = ClosedPage {
        name: "j-0123456789abcdef".into(),
        sha256: text.digest(),
        text: Arc::new(text.clone()),
    };
    let written = secret::closed("j", &owner(UID), &page, Some(vec![owner(UID)]));
    assert_eq!(written.immutable, Some(true));
    assert_eq!(written.metadata.name.as_ref(), Some(&page.name));
    assert!(is_the_jobs(&written));
    assert_eq!(secret::page(written).unwrap(), text);
}
