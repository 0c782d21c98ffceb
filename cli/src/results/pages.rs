//! The pages of a job's results: those that its status names, which nobody but the operator writes, and the open one.

use anyhow::{Context as _, Result, bail, ensure};
use cocoon_api::{
    crd::InferenceJob,
    names::{
        JOB_UID_ANNOTATION, PAGES_KEY, RECEIPTS_KEY, RESULTS_KEY, TOKENS_KEY, UNDELIVERED_KEY, is_object_name,
    },
};
use cocoon_core::job::landing::{HeadText, PageText, closed_pages};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt as _;

use crate::kubernetes::{Asked as _, Cluster};

/// What the pages hold, one after the other.
#[derive(Debug, Default)]
pub struct Pages {
    /// Their texts.
    pub text: PageText,
    /// Pages that are not there, or not as they were written.
    pub faults: Vec<String>,
}

/// All pages; nothing where there is none yet. While the job runs, the open page may list more closed ones than the
/// status does, which follows.
pub async fn load(job: &InferenceJob, cluster: &Cluster) -> Result<Option<Pages>> {
    let status = job.status.clone().unwrap_or_default();
    let output = status.output.as_ref();
    let known = output.map(|output| output.pages.as_slice()).unwrap_or_default();
    let open = output.map_or_else(|| job.name_any(), |output| output.secret_ref.name.clone());
    let head = read(&open, job, cluster).await?;
    if head.is_none() && output.is_none() {
        return Ok(None);
    }
    let mut pages = Pages::default();
    let closed = match closed_pages(head.as_ref(), known) {
        Ok(closed) => closed,
        Err(error) => {
            pages.faults.push(format!("page {open}: {error}"));
            known.to_vec()
        }
    };
    for page in closed {
        match read(&page.name, job, cluster).await? {
            Some(HeadText { page: text, .. }) => pages.add(&page.name, &text, Some(&page.sha256)),
            None => pages.faults.push(format!("page {} is gone", page.name)),
        }
    }
    // Nothing more is added to it once the job has ended.
    let sha256 = output.and_then(|output| output.sha256.as_deref());
    match head {
        Some(head) => pages.add(&open, &head.page, sha256),
        None => pages.faults.push(format!("page {open} is gone")),
    }
    Ok(Some(pages))
}

impl Pages {
    fn add(&mut self, name: &str, page: &PageText, sha256: Option<&str>) {
        if sha256.is_some_and(|sha256| page.digest().to_string() != sha256) {
            self.faults
                .push(format!("page {name} is not as the operator wrote it"));
        }
        let PageText {
            results,
            receipts,
            undelivered,
            tokens,
        } = page;
        append(&mut self.text.results, results);
        append(&mut self.text.receipts, receipts);
        append(&mut self.text.undelivered, undelivered);
        append(&mut self.text.tokens, tokens);
    }
}

/// Who changes a page may leave the last line without its end.
fn append(all: &mut String, text: &str) {
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    all.push_str(text);
}

async fn read(name: &str, job: &InferenceJob, cluster: &Cluster) -> Result<Option<HeadText>> {
    ensure!(
        is_object_name(name),
        "a page of job {} has no name of an object",
        job.name_any()
    );
    let found = cluster.api::<Secret>().get_opt(name).await;
    let Some(secret) = found.asked(|| format!("read Secret {name}"))? else {
        return Ok(None);
    };
    if !is_of(&secret, job) {
        bail!("Secret {name} does not belong to job {}", job.name_any());
    }
    texts(secret).map(Some)
}

/// Whether a Secret is the job's. Who orphans the results takes their owner away; the mark stays.
fn is_of(secret: &Secret, job: &InferenceJob) -> bool {
    let uid = job.metadata.uid.as_ref();
    let mut owners = secret.owner_references().iter();
    owners.any(|owner| Some(&owner.uid) == uid)
        || (uid.is_some() && secret.annotations().get(JOB_UID_ANNOTATION) == uid)
}

/// A closed page lists none.
fn texts(secret: Secret) -> Result<HeadText> {
    let name = secret.name_any();
    let mut data = secret.data.unwrap_or_default();
    let mut take = |key: &str| -> Result<String> {
        let ByteString(bytes) = data.remove(key).unwrap_or_default();
        String::from_utf8(bytes).with_context(|| format!("{key} in Secret {name} is not text"))
    };
    Ok(HeadText {
        page: PageText {
            results: take(RESULTS_KEY)?,
            receipts: take(RECEIPTS_KEY)?,
            undelivered: take(UNDELIVERED_KEY)?,
            tokens: take(TOKENS_KEY)?,
        },
        pages: take(PAGES_KEY)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "uid": "u"},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .expect("a job")
    }

    fn page(results: &str) -> PageText {
        PageText {
            results: results.to_owned(),
            ..PageText::default()
        }
    }

    #[test]
    fn pages_follow_one_another_and_a_changed_one_is_named() {
        let (first, second) = (page("1\n2"), page("3\n"));
        let mut pages = Pages::default();
        pages.add("j-1", &first, Some(&first.digest().to_string()));
        pages.add("j", &second, None);
        assert_eq!(
            (pages.text.results.as_str(), pages.faults.len()),
            ("1\n2\n3\n", 0)
        );
        pages.add("j-2", &page("forged\n"), Some(&second.digest().to_string()));
        assert_eq!(pages.faults, ["page j-2 is not as the operator wrote it"]);
    }

    #[test]
    fn a_secret_is_the_jobs_by_its_owner_or_by_its_mark() {
        let secret = |metadata: serde_json::Value| -> Secret {
            serde_json::from_value(json!({"metadata": metadata})).expect("a Secret")
        };
        let owned = |uid: &str| {
            secret(
                json!({"name": "j", "ownerReferences": [{"apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
                                                             "name": "j", "uid": uid}]}),
            )
        };
        assert!(is_of(&owned("u"), &job()) && !is_of(&owned("other"), &job()));
        let marked = |uid: &str| secret(json!({"name": "j", "annotations": {JOB_UID_ANNOTATION: uid}}));
        assert!(is_of(&marked("u"), &job()) && !is_of(&marked("other"), &job()));
        assert!(!is_of(&Secret::default(), &job()));
    }
}
