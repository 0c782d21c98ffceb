//! What is wrong with one request of an input. It names the field, and quotes nothing.

use cocoon_api::{agent::Endpoint, json::Fault};

/// Characters of a `custom_id` at most, as in the `OpenAI` API.
pub(super) const MAX_CUSTOM_ID_CHARS: usize = 512;

/// What is wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("it {0}")]
    Fault(Fault),
    /// The line is no object.
    #[error("it must be a JSON object with `custom_id`, `method`, `url` and `body`")]
    Line,
    /// There is no body, as where a line is the body itself.
    #[error("`body` is missing: a line has `custom_id`, `method`, `url` and `body`, which is the request")]
    NoBody,
    /// A field that no line has.
    #[error("it has a field beside `custom_id`, `method`, `url` and `body`")]
    Field,
    /// Two fields of one name.
    #[error("it has a field twice")]
    TwiceNamed,
    /// `method` is not POST.
    #[error("`method` must be POST")]
    Method,
    /// `url` is another endpoint's.
    #[error("`url` must be the job's endpoint {}", .0.path())]
    Url(Endpoint),
    /// `custom_id` is no text, empty or too long.
    #[error("`custom_id` must be a text of 1 to {MAX_CUSTOM_ID_CHARS} characters")]
    CustomId,
    /// Another request has the same `custom_id`.
    #[error("its `custom_id` is that of request {0} as well")]
    Twice(u32),
    /// The body is no object.
    #[error("the body must be a JSON object")]
    Body,
    /// The body is JSON that no agent can read as values.
    #[error(
        "the body cannot be read at its byte {0}: half of a surrogate pair, a number beyond all ranges, or brackets \
         that are too deep"
    )]
    Unreadable(usize),
}
