//! Downloads of models: by digest, once for each node, resumed where they broke.
//!
//! Servers are not believed: not what they say of a length, not where they send, and of what they send only the digest
//! counts. No address is quoted, since it may hold a signature: errors name the host.

mod answer;
mod error;
mod head;
mod headers;
mod node;
mod progress;
mod source;
mod transfer;

pub use answer::{Answer, follow};
pub use error::FetchError;
pub use head::Head;
pub use headers::{from_folder, header};
pub use node::{Order, onto_node};
pub use progress::Progress;
pub use source::{Patience, Source};
pub use transfer::{Sink, transfer};

#[cfg(test)]
mod tests;
