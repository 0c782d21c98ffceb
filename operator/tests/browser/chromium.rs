//! Headless Chromium, as a program that is run.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Names the program.
const PROGRAM: &str = "COCOON_CHROMIUM";
/// Begins the line with what was measured.
const MARK: &str = "measured:";

pub(super) struct Chromium {
    program: PathBuf,
}

/// A picture of a view.
pub(super) struct Picture {
    pub(super) name: &'static str,
    path: &'static str,
    size: (u32, u32),
    dark: bool,
}

impl Picture {
    pub(super) fn of(name: &'static str, path: &'static str, size: (u32, u32)) -> Self {
        Self {
            name,
            path,
            size,
            dark: false,
        }
    }

    /// As who prefers dark sees it.
    pub(super) fn dark(self) -> Self {
        Self { dark: true, ..self }
    }
}

impl Chromium {
    pub(super) fn find() -> Result<Self> {
        let program = std::env::var_os(PROGRAM)
            .with_context(|| format!("{PROGRAM} is not set: run this with `./x page check`"))?;
        Ok(Self {
            program: program.into(),
        })
    }

    /// Runs it, with a profile of its own; answers what it printed, and what it said.
    fn run(&self, arguments: &[String]) -> Result<(String, String)> {
        let profile = tempfile::tempdir()?;
        let output = Command::new(&self.program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--hide-scrollbars",
                "--enable-logging=stderr",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "Chromium ended with {}: {said}",
            output.status
        );
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), said))
    }

    /// Takes a picture; answers what the browser said.
    pub(super) fn picture(&self, address: SocketAddr, picture: &Picture, folder: &Path) -> Result<String> {
        let Picture {
            name,
            path,
            size,
            dark,
        } = picture;
        let (width, height) = size;
        let file = folder.join(format!("{name}.png"));
        let arguments = [
            format!("--window-size={width},{height}"),
            format!("--screenshot={}", file.display()),
            // 0 is dark, 1 is light, as in Blink's PreferredColorScheme.
            format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)),
            format!("http://{address}{path}"),
        ];
        Ok(self.run(&arguments)?.1)
    }

    /// The views that are wider than a window of each width, with what sticks out.
    ///
    /// The page lets no script run and no frame show it, so its text is laid into frames of a document that does the
    /// measuring.
    pub(super) fn overflows(&self, views: &[(&str, String)], widths: &[u32]) -> Result<Vec<String>> {
        let mut frames = String::new();
        for (path, html) in views {
            let text = html.replace('&', "&amp;").replace('"', "&quot;");
            for width in widths {
                writeln!(
                    frames,
                    "<iframe title=\"{path} at {width}\" width={width} height=800 style=\"border:0\" srcdoc=\"{text}\"></iframe>"
                )?;
            }
        }
        let script = "addEventListener('load', () => {
            const said = [];
            for (const frame of document.querySelectorAll('iframe')) {
                const page = frame.contentDocument, width = frame.contentWindow.innerWidth;
                const out = [...page.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > width + 0.5);
                const what = out.slice(0, 3).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40));
                const styled = getComputedStyle(page.querySelector('.brand')).fontWeight === '700';
                const wide = page.documentElement.scrollWidth > width || out.length > 0;
                said.push([frame.title, wide ? 'WIDE ' + page.documentElement.scrollWidth + ' ' + what.join(', ') : styled ? 'fits' : 'BARE']);
            }
            document.title = JSON.stringify(said);
        });";
        let document = format!("<!DOCTYPE html><title></title>{frames}<script>{script}</script>");
        let file = tempfile::Builder::new().suffix(".html").tempfile()?;
        std::fs::write(file.path(), document)?;
        let (printed, said) = self.run(&[
            "--dump-dom".to_owned(),
            format!("file://{}", file.path().display()),
        ])?;
        let title = printed
            .split_once("<title>")
            .and_then(|(_, rest)| rest.split_once("</title>"));
        let (title, _) = title.with_context(|| format!("no title in what was measured: {said}"))?;
        let title = title
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let measured: Vec<(String, String)> =
            serde_json::from_str(&title).with_context(|| format!("{MARK} {title:?}"))?;
        ensure!(
            measured.len() == views.len() * widths.len(),
            "{} frames were measured",
            measured.len()
        );
        let wrong = measured.into_iter().filter(|(_, found)| found != "fits");
        Ok(wrong.map(|(frame, found)| format!("{frame}: {found}")).collect())
    }
}

/// The text of a view.
pub(super) async fn fetch(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    ensure!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
    Ok(body.to_owned())
}
