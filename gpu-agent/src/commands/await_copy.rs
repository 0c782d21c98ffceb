//! `gpu-agent await`: waits until the node has a copy of a model.

use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, SystemTime},
};

use gpu_agent::{
    cache::{Cache, ROOT},
    fetch::FetchError,
};

/// Time between two looks: a download takes minutes, and a look reads one small file.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's folder of models.
    #[arg(long)]
    cache: PathBuf,
    /// SHA-256 of the model, in hexadecimal.
    #[arg(long, value_parser = super::parse_digest)]
    sha256: [u8; 32],
}

/// Ends once the copy is there, and notes that it is used.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    super::start_logs();
    let cache = Cache::open(&arguments.cache, ROOT).map_err(FetchError::from)?;
    let mut has_told = false;
    while cache.find(&arguments.sha256).map_err(FetchError::from)?.is_none() {
        if !has_told {
            tracing::info!("the node has no copy of the model; waiting for its download");
            has_told = true;
        }
        sleep(INTERVAL);
    }
    cache
        .touch(&arguments.sha256, SystemTime::now())
        .map_err(FetchError::from)?;
    Ok(())
}
