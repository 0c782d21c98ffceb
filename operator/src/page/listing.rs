//! One page of a list that may be long.

/// Rows of one page: a screen or two, and at most 100 KiB of HTML whatever is in them.
pub(super) const ROWS: usize = 50;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing<T> {
    /// What is on it.
    pub(super) rows: Vec<T>,
    /// Its number, from 1.
    pub(super) page: usize,
    /// How many there are, at least one.
    pub(super) pages: usize,
    /// Rows of all pages.
    pub(super) total: usize,
}

impl<T> Listing<T> {
    /// The page of this number, or the last one where there are fewer, as after a deletion.
    pub(super) fn of(mut all: Vec<T>, page: usize, size: usize) -> Self {
        let total = all.len();
        let pages = total.div_ceil(size).max(1);
        let page = page.clamp(1, pages);
        let rows = all.drain((page - 1) * size..total.min(page * size)).collect();
        Self {
            rows,
            page,
            pages,
            total,
        }
    }
}
