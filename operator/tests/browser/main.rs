//! The page in a browser: it fits a phone, its style is applied, and pictures of it are for the documentation.
//!
//! `./x page check` and `./x page screenshots` find or install Chromium and run this.

mod chromium;
mod farm;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use cocoon_operator::page::{Page, serve};
use k8s_openapi::jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use chromium::{Chromium, Picture};

/// Folder that pictures are put into, where somebody wants them.
const PICTURES: &str = "COCOON_PAGE_PICTURES";

const PATHS: [&str; 5] = ["/", "/offers", "/jobs", "/channels", "/settlements"];
/// Widths of a small phone, a phone, a tablet and a screen, in CSS pixels.
const WIDTHS: [u32; 4] = [360, 390, 768, 1280];

/// The page of a farm's busy day, on a free port.
async fn page() -> Result<SocketAddr> {
    let page = Arc::new(Page::default());
    page.show(farm::stores(Timestamp::now())?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, page, CancellationToken::new()));
    Ok(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_view_is_wider_than_its_window_on_a_phone_or_a_screen() -> Result<()> {
    let address = page().await?;
    let chromium = Chromium::find()?;
    let mut views = Vec::new();
    for path in PATHS {
        views.push((path, chromium::fetch(address, path).await?));
    }
    let overflows = tokio::task::spawn_blocking(move || chromium.overflows(&views, &WIDTHS)).await??;
    ensure!(
        overflows.is_empty(),
        "wider than their windows:\n{}",
        overflows.join("\n")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_the_page_under_its_policy() -> Result<()> {
    let address = page().await?;
    let chromium = Chromium::find()?;
    let folder = tempfile::tempdir()?;
    let wanted = std::env::var_os(PICTURES).map(PathBuf::from);
    let folder = wanted.unwrap_or_else(|| folder.path().to_owned());
    let pictures = [
        Picture::of("page-overview", "/", (1280, 1180)),
        Picture::of("page-jobs", "/jobs", (1280, 800)),
        Picture::of("page-phone", "/", (390, 1500)),
        Picture::of("page-dark", "/", (390, 1500)).dark(),
    ];
    tokio::task::spawn_blocking(move || -> Result<()> {
        for picture in &pictures {
            let said = chromium.picture(address, picture, &folder)?;
            // Chromium's console says so where a policy forbids something, such as a style whose digest is another.
            ensure!(
                !said.contains("Content Security Policy"),
                "{}: {said}",
                picture.name
            );
            let file = folder.join(format!("{}.png", picture.name));
            let size = std::fs::metadata(&file)
                .with_context(|| format!("read {}", file.display()))?
                .len();
            ensure!(
                (10_000..400_000).contains(&size),
                "{} has {size} bytes",
                file.display()
            );
        }
        Ok(())
    })
    .await?
}
