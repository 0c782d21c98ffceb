//! Decisions about one job: what its input asks, what has landed, and what to do next.

pub mod certificate;
pub mod follower;
pub mod input;
pub mod landing;
pub mod plan;
pub mod validate;
