//! What every view stands in: heading, navigation, style.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::text;

/// The style sheet, which stands in each document: one request shows one view.
const STYLE: &str = include_str!("style.css");

/// Seconds after which a browser asks again. Nobody has to press a key to see a job end, and a tab that is forgotten
/// costs little.
const REFRESH_SECONDS: u32 = 30;

/// A place of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Offers,
    Jobs,
    Channels,
    Settlements,
}

impl Place {
    const ALL: [Self; 5] = [
        Self::Overview,
        Self::Offers,
        Self::Jobs,
        Self::Channels,
        Self::Settlements,
    ];

    /// Its path.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Offers => "/offers",
            Self::Jobs => "/jobs",
            Self::Channels => "/channels",
            Self::Settlements => "/settlements",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Offers => "Offers",
            Self::Jobs => "Jobs",
            Self::Channels => "Channels",
            Self::Settlements => "Settlements",
        }
    }
}

/// What a browser may do with a document: apply this style, and nothing else. No script runs, whatever got into a page.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// A whole document. `place` is where in the navigation it is, where it is anywhere.
pub(super) fn document(title: &str, place: Option<Place>, now: Timestamp, content: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { (title) " · Cocoon" }
                // Our own file, compiled in: the one text that is not escaped.
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    div class="bar" {
                        a class="brand" href="/" { "Cocoon" span { "farm" } }
                        nav aria-label="Views" {
                            @for other in Place::ALL {
                                a href=(other.path()) aria-current=[(place == Some(other)).then_some("page")] { (other.title()) }
                            }
                        }
                    }
                }
                main { (content) }
                footer {
                    p { "As of " time datetime=(now.to_string()) { (text::moment(now)) } ". Read again every " (REFRESH_SECONDS) " seconds." }
                    p { "Read-only. Payers' jobs and channels are told by their UID; prompts and answers are never here." }
                }
            }
        }
    };
    markup.into_string()
}

/// A view of one place.
pub(super) fn view(place: Place, now: Timestamp, content: &Markup) -> String {
    document(place.title(), Some(place), now, content)
}

/// A document that says one thing.
pub(super) fn notice(title: &str, now: Timestamp, words: &str) -> String {
    let content = html! { section class="notice" { h1 { (title) } p { (words) } } };
    document(title, None, now, &content)
}
