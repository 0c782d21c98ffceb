//! The pages of one job: which are closed, which is to be written next and under which name.
//!
//! ```text
//! answers ─▶ open page ──full──▶ closing ──create, immutable──▶ closed ──▶ listed in the open page, then in the status
//! ```
//!
//! A page is closed by what landed and never by the clock, and its name follows from what it holds. So whoever reads
//! the same results again after a crash between two writes closes the same page, finds it, and goes on. The open page,
//! which is replaced only by who read it last, is the one that says what counts: a closed page that it does not list
//! has not landed.

use std::{collections::VecDeque, sync::Arc};

use cocoon_api::{
    crd::output::{MAX_PAGES, OutputPage},
    names::is_object_name,
    receipt::Sha256Digest,
};
use sha2::{Digest as _, Sha256};

use super::{
    error::LandingError,
    page::Page,
    text::{HeadText, PageText, lines},
};

const NAME_TAG: &[u8] = b"cocoon.farm/page-name/v1";
/// Hexadecimal digits in the name of a page: enough that nobody meets one by chance.
const NAME_DIGITS: usize = 16;
/// Names that are tried for one page. Who puts an object in the way of each must know what the page holds before it is
/// written.
pub(super) const MAX_NAMES: u32 = 8;

/// A page to write: once, and immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPage {
    /// Name of the object.
    pub name: String,
    /// What it holds.
    pub text: Arc<PageText>,
    /// Its digest.
    pub sha256: Sha256Digest,
}

/// A page that is full and was not written yet.
#[derive(Debug, Clone)]
struct Closing {
    text: Arc<PageText>,
    sha256: Sha256Digest,
    /// Names at which something else was.
    taken: u32,
}

/// All pages but the open one.
#[derive(Debug, Clone, Default)]
pub(super) struct Pages {
    closed: Vec<OutputPage>,
    closing: VecDeque<Closing>,
    /// Of both.
    bytes: usize,
}

impl Pages {
    /// Takes what is full.
    pub(super) fn close(&mut self, page: &Page) {
        let text = page.render();
        self.bytes += text.len();
        self.closing.push_back(Closing {
            sha256: text.digest(),
            text: Arc::new(text),
            taken: 0,
        });
    }

    /// Takes a page that was read.
    pub(super) fn add(&mut self, page: OutputPage, bytes: usize) {
        self.bytes += bytes;
        self.closed.push(page);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn closed(&self) -> &[OutputPage] {
        &self.closed
    }

    pub(super) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The page to write next, of the job with this name and UID.
    pub(super) fn next(&self, job: &str, uid: &str) -> Option<ClosedPage> {
        let Closing { text, sha256, taken } = self.closing.front()?;
        Some(ClosedPage {
            name: name(job, uid, self.closed.len(), *sha256, *taken),
            text: text.clone(),
            sha256: *sha256,
        })
    }

    /// The next page is stored under this name.
    pub(super) fn written(&mut self, name: String) {
        if let Some(Closing { sha256, .. }) = self.closing.pop_front() {
            self.closed.push(OutputPage {
                name,
                sha256: sha256.to_string(),
            });
        }
    }

    /// Something else has the name of the next page. Answers whether there is another name for it.
    pub(super) fn is_taken(&mut self) -> bool {
        let Some(next) = self.closing.front_mut() else {
            return false;
        };
        next.taken += 1;
        next.taken < MAX_NAMES
    }
}

/// The name of a page; `number` counts the pages before it.
fn name(job: &str, uid: &str, number: usize, sha256: Sha256Digest, taken: u32) -> String {
    let mut hasher = Sha256::new();
    let (number, taken) = ((number as u64).to_be_bytes(), taken.to_be_bytes());
    for part in [NAME_TAG, uid.as_bytes(), &number, &sha256.0, &taken] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digits: String = Sha256Digest(hasher.finalize().into())
        .to_string()
        .chars()
        .take(NAME_DIGITS)
        .collect();
    format!("{job}-{digits}")
}

/// The closed pages that the open page lists. What the job's status lists must be where it was: nobody but the operator
/// writes there, and it only adds. Without an open page, which somebody removed, the status alone counts.
pub fn closed_pages(head: Option<&HeadText>, known: &[OutputPage]) -> Result<Vec<OutputPage>, LandingError> {
    let list: Vec<OutputPage> = match head {
        Some(head) => lines("pages", &head.pages).collect::<Result<_, _>>()?,
        None => known.to_vec(),
    };
    let is_right = list.starts_with(known)
        && list.len() <= MAX_PAGES
        && list.iter().all(|page| is_object_name(&page.name));
    if is_right {
        Ok(list)
    } else {
        Err(LandingError::Pages)
    }
}
