//! The subcommands.

pub(crate) mod await_copy;
pub(crate) mod bench;
pub(crate) mod eval;
pub(crate) mod fetch;
pub(crate) mod info;
pub(crate) mod random_model;
pub(crate) mod selftest;
pub(crate) mod serve;

use std::num::NonZeroUsize;

use anyhow::Context as _;

/// The number of threads asked for, or of the cores that this process may use.
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> anyhow::Result<NonZeroUsize> {
    match asked {
        Some(threads) => Ok(threads),
        None => std::thread::available_parallelism()
            .context("cannot find out the number of cores; pass --threads"),
    }
}

/// A digest in hexadecimal.
pub(crate) fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|_| "must be 64 hexadecimal digits".to_owned())?;
    Ok(digest)
}

/// Log lines as JSON.
pub(crate) fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
}
