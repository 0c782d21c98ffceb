//! Attempts at jobs: their requests are read, run on the engine, metered and signed for.
//!
//! ```text
//! rate, live ◀ attempt ◀ registry       served ◀ body ◀ openai ◀ driver ▶ attempt, engine
//! ```
//!
//! Nothing here is HTTP, and nothing counts tokens: the engine's usage is what receipts and answers say. Everything is
//! kept in memory: an agent that dies has delivered only what was read from it.

mod attempt;
mod body;
mod driver;
mod live;
mod openai;
mod outcomes;
mod rate;
mod registry;
mod served;

pub use attempt::{Attempt, AttemptId, Grown};
pub use body::{Body, Defaults, Input, Refusal};
pub use driver::drive;
pub use outcomes::{Outcomes, outcome_name};
pub use registry::{Admission, Registry};
pub use served::{Served, Serving};
