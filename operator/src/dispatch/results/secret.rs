//! A page of results as a Secret, and back.

use std::collections::BTreeMap;

use cocoon_api::names::{
    JOB_LABEL, JOB_UID_ANNOTATION, MANAGED_BY_LABEL, PAGES_KEY, RECEIPTS_KEY, RESULTS_KEY, TOKENS_KEY,
    UNDELIVERED_KEY,
};
use cocoon_core::job::landing::{ClosedPage, HeadText, LandingError, PageText};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::api::ObjectMeta;

/// Type of the Secrets.
const SECRET_TYPE: &str = "cocoon.farm/results";

/// The open page.
pub(super) fn open(
    job: &str,
    owner: &OwnerReference,
    head: HeadText,
    owners: Option<Vec<OwnerReference>>,
) -> Secret {
    let HeadText { page, pages } = head;
    let mut data = texts(page);
    data.insert(PAGES_KEY.to_owned(), ByteString(pages.into_bytes()));
    Secret {
        metadata: metadata(job, job, owner, owners),
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// A closed page, which the API server lets nobody change.
pub(super) fn closed(
    job: &str,
    owner: &OwnerReference,
    page: &ClosedPage,
    owners: Option<Vec<OwnerReference>>,
) -> Secret {
    Secret {
        metadata: metadata(&page.name, job, owner, owners),
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(texts(page.text.as_ref().clone())),
        immutable: Some(true),
        ..Secret::default()
    }
}

/// What the open page holds.
pub(super) fn head(secret: Secret) -> Result<HeadText, LandingError> {
    let mut data = secret.data.unwrap_or_default();
    Ok(HeadText {
        pages: text(&mut data, PAGES_KEY)?,
        page: read(data)?,
    })
}

/// What a closed page holds.
pub(super) fn page(secret: Secret) -> Result<PageText, LandingError> {
    read(secret.data.unwrap_or_default())
}

fn read(mut data: BTreeMap<String, ByteString>) -> Result<PageText, LandingError> {
    Ok(PageText {
        results: text(&mut data, RESULTS_KEY)?,
        receipts: text(&mut data, RECEIPTS_KEY)?,
        undelivered: text(&mut data, UNDELIVERED_KEY)?,
        tokens: text(&mut data, TOKENS_KEY)?,
    })
}

fn text(data: &mut BTreeMap<String, ByteString>, what: &'static str) -> Result<String, LandingError> {
    let bytes = data.remove(what).map(|value| value.0).unwrap_or_default();
    String::from_utf8(bytes).map_err(|error| LandingError::Encoding {
        what,
        at: error.utf8_error().valid_up_to(),
    })
}

fn texts(page: PageText) -> BTreeMap<String, ByteString> {
    let PageText {
        results,
        receipts,
        undelivered,
        tokens,
    } = page;
    let entry = |key: &str, text: String| (key.to_owned(), ByteString(text.into_bytes()));
    BTreeMap::from([
        entry(RESULTS_KEY, results),
        entry(RECEIPTS_KEY, receipts),
        entry(UNDELIVERED_KEY, undelivered),
        entry(TOKENS_KEY, tokens),
    ])
}

/// Whether a Secret is the job's: as its owner references say, or the mark that it got when it was made.
pub(super) fn is_own(metadata: &ObjectMeta, uid: &String) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    let mark = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(JOB_UID_ANNOTATION));
    owners.any(|owner| owner.uid == *uid) || mark == Some(uid)
}

/// Whether a Secret is owned by another job of the same name. There can be none beside this one, so that the garbage
/// collector is about to remove it.
pub(super) fn is_of_earlier_job(metadata: &ObjectMeta, owner: &OwnerReference) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|other| (&other.kind, &other.name) == (&owner.kind, &owner.name) && other.uid != owner.uid)
}

fn metadata(
    name: &str,
    job: &str,
    owner: &OwnerReference,
    owners: Option<Vec<OwnerReference>>,
) -> ObjectMeta {
    let mark = (JOB_UID_ANNOTATION.to_owned(), owner.uid.clone());
    ObjectMeta {
        name: Some(name.to_owned()),
        owner_references: owners,
        annotations: Some(BTreeMap::from([mark])),
        labels: Some(BTreeMap::from([
            // The schema keeps a job's name as short as a label's value.
            (JOB_LABEL.to_owned(), job.to_owned()),
            (MANAGED_BY_LABEL.to_owned(), "cocoon-operator".to_owned()),
        ])),
        ..ObjectMeta::default()
    }
}
