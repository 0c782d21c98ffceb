//! End-to-end tests against a cluster.
