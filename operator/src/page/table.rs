//! Tables that become cards on a phone, words for states, and the way between the pages of a list.

use maud::{Markup, html};

use super::{listing::Listing, text};

/// A column: its heading, and whether its cells are figures.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// Words, at the left.
    Words(&'static str),
    /// Figures, at the right, digits below digits.
    Figures(&'static str),
    /// Sentences, which take the room that is left.
    Prose(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Words(heading) | Self::Figures(heading) | Self::Prose(heading) => heading,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Words(_) => "words",
            Self::Figures(_) => "figures",
            Self::Prose(_) => "prose",
        }
    }
}

/// A table. On a narrow screen each row is a card, each cell beside its heading; the first cell is the card's title.
pub(super) fn table<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [Markup; N]>,
) -> Markup {
    html! {
        table {
            thead { tr { @for column in columns { th scope="col" class=(column.class()) { (column.heading()) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (column, cell) in columns.into_iter().zip(row) {
                            td class=(column.class()) data-label=(column.heading()) { div { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// How a state is coloured. Its word says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Waits.
    Waits,
    /// Somebody has to do something, or it is lost.
    Bad,
    /// Neither.
    Quiet,
}

/// A state in a word.
pub(super) fn state(tone: Tone, word: &str) -> Markup {
    let class = match tone {
        Tone::Good => "state good",
        Tone::Busy => "state busy",
        Tone::Waits => "state waits",
        Tone::Bad => "state bad",
        Tone::Quiet => "state quiet",
    };
    html! { span class=(class) { (text::plain(word)) } }
}

/// What stands where there is nothing.
pub(super) fn nothing() -> Markup {
    html! { span class="nothing" { "–" } }
}

/// Some text of somebody else, or the sign for nothing.
pub(super) fn words(text: Option<&str>) -> Markup {
    match text {
        Some(text) if !text.is_empty() => html! { (text::plain(text)) },
        _ => nothing(),
    }
}

/// The way to the other pages of a list at `path`; nothing where there is one page.
pub(super) fn pager<T>(path: &str, listing: &Listing<T>) -> Markup {
    let Listing { page, pages, .. } = *listing;
    let link = |page: usize, word: &str, rel: &str| {
        html! { a href={ (path) "?page=" (page) } rel=(rel) { (word) } }
    };
    html! {
        @if pages > 1 {
            nav class="pager" aria-label="Pages" {
                @if page > 1 { (link(page - 1, "← Before", "prev")) } @else { span {} }
                span { "Page " (text::count(page)) " of " (text::count(pages)) }
                @if page < pages { (link(page + 1, "After →", "next")) } @else { span {} }
            }
        }
    }
}
