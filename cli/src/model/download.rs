//! What a model at an address is: all of it is downloaded for its digest, and its head alone is kept, for a moment.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use gpu_agent::fetch::{Head, Patience, Progress, Source, from_folder, transfer};
use indicatif::{ProgressBar, ProgressStyle};

use super::facts::{Facts, Wanted};

/// Time between two looks at how far it is.
const TICK: Duration = Duration::from_millis(500);
/// Name of a file whose address names none.
const UNNAMED: &str = "model.gguf";

pub(super) async fn facts(url: &str, headers: Option<&Path>, wanted: Wanted) -> Result<Facts> {
    let patience = Patience::default();
    let headers = headers.map(from_folder).transpose()?.unwrap_or_default();
    let source = Source::new(url, headers, &patience)?;
    let file = tempfile::NamedTempFile::new().context("could not make a file for the model's head")?;
    let mut head = Head::new(
        file.reopen()
            .context("could not open the file for the model's head")?,
    );
    let progress = Arc::new(Progress::default());
    eprintln!("downloading from {} for the digest", source.host());
    let shown = tokio::spawn(show(Arc::clone(&progress)));
    let done = transfer(&source, &mut head, &patience, &progress).await;
    shown.abort();
    done?;
    let sha256 = head.finish().context("could not keep the model's head")?;
    Facts::of_download(file.path(), name(url), sha256, wanted)
        .with_context(|| format!("what {} gives is no model that agents serve", source.host()))
}

/// The last part of an address's path.
fn name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let after_host = path.splitn(4, '/').nth(3).unwrap_or_default();
    let last = after_host.rsplit('/').next().unwrap_or_default();
    if last.is_empty() { UNNAMED } else { last }
}

/// Shows how far it is, where there is a terminal.
async fn show(progress: Arc<Progress>) {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
        bar.set_style(style);
    }
    loop {
        let now = progress.now();
        if let Some(total) = now.total {
            bar.set_length(total);
        }
        bar.set_position(now.bytes);
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_file_by_the_end_of_its_path() {
        for (url, file) in [
            ("https://host/a/m.gguf", "m.gguf"),
            ("https://host/a/m.gguf?x=a/b", "m.gguf"),
            ("https://host/a/", UNNAMED),
            ("https://host", UNNAMED),
        ] {
            assert_eq!(name(url), file);
        }
    }
}
