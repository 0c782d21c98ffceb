//! Decisions about one job.
