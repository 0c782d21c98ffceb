//! The subcommands.

pub(crate) mod bench;
pub(crate) mod eval;
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
