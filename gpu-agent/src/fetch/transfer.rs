//! One file from a server into a sink: asked for again where it breaks, from the byte at which it broke.

use cocoon_api::agent::{FetchFault, FetchStage};
use reqwest::{
    Response, Url,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_RANGE, RANGE},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Answer, FetchError, Patience, Progress, Source, answer::validator, source::host};

/// Redirects that are followed for one request: a name, a mirror, a signed address, and twice that.
const MAX_REDIRECTS: usize = 6;
/// Times that a file is begun again because the server has another one than before. One that changes more often is not
/// served.
const MAX_RESTARTS: u32 = 3;
/// Bytes after which a failure is the first in a row.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What takes a file's bytes.
pub trait Sink {
    /// Bytes that it has, from the file's start.
    fn length(&self) -> u64;
    /// The name of the file of which it has them, for `If-Range`, and the file's whole length, as far as they are
    /// known.
    fn known(&self) -> (Option<String>, Option<u64>);
    /// Bytes come: of a file of this length and name, as far as the server says them.
    ///
    /// # Errors
    /// There is no room for it.
    fn expect(&mut self, total: Option<u64>, name: Option<String>) -> Result<(), FetchError>;
    /// Takes bytes.
    ///
    /// # Errors
    /// They cannot be kept.
    fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError>;
    /// Drops all that came.
    ///
    /// # Errors
    /// It cannot.
    fn clear(&mut self) -> Result<(), FetchError>;
}

/// How one request ended.
enum End {
    /// The sink has the whole file, as far as anybody says.
    Whole,
    /// What came is no part of the file any more.
    Restart,
    /// It may go on later.
    Later(FetchError),
}

/// Brings the whole file into the sink. Whether it is the right one is for its digest to say.
///
/// # Errors
/// The server refuses, breaks off or stalls more often than is waited for, or the sink cannot keep what comes.
pub async fn transfer(
    source: &Source,
    sink: &mut impl Sink,
    patience: &Patience,
    progress: &Progress,
) -> Result<(), FetchError> {
    let (mut failures, mut restarts) = (0, 0);
    let mut mark = sink.length();
    loop {
        progress.enter(FetchStage::Downloading, sink.length());
        match request(source, sink, patience, progress).await? {
            End::Whole => return Ok(()),
            End::Restart => {
                restarts += 1;
                if restarts > MAX_RESTARTS {
                    let words = format!("the file at {} changes while it is downloaded", source.host());
                    return Err(FetchError::new(FetchFault::Malformed, words));
                }
                sink.clear()?;
                mark = 0;
            }
            End::Later(error) => {
                if sink.length() >= mark + PROGRESS_BYTES {
                    (failures, mark) = (0, sink.length());
                }
                failures += 1;
                if failures > patience.attempts {
                    return Err(error);
                }
                tracing::warn!(%error, bytes = sink.length(), "the download is taken up again");
                sleep(patience.backoff * 2_u32.pow(failures - 1)).await;
            }
        }
    }
}

/// One request, with the redirects that it meets.
async fn request(
    source: &Source,
    sink: &mut impl Sink,
    patience: &Patience,
    progress: &Progress,
) -> Result<End, FetchError> {
    let mut url = source.url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let asked = sink.length();
        let (name, known) = sink.known();
        let sent = source
            .client
            .get(url.clone())
            .headers(headers(source, &url, asked, name))
            .send();
        let response = match timeout(patience.quiet, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok(End::Later(FetchError::of_client(&host(&url), error))),
            Err(_) => return Ok(End::Later(stalled(&url, patience))),
        };
        let status = response.status().as_u16();
        let refused = |fault: FetchFault| {
            FetchError::new(
                fault,
                format!("{} answers HTTP {status}: {}", host(&url), fault.words()),
            )
        };
        match Answer::read(&url, status, response.headers(), asked, known) {
            Answer::Take { from, total } => {
                if from != asked {
                    sink.clear()?;
                }
                sink.expect(total, validator(response.headers()))?;
                progress.expect(total);
                progress.enter(FetchStage::Downloading, sink.length());
                return body(&url, response, total, sink, patience, progress).await;
            }
            Answer::Restart => return Ok(End::Restart),
            Answer::Redirect(next) => url = next,
            Answer::Later(fault) => return Ok(End::Later(refused(fault))),
            Answer::Refused(fault) => return Err(refused(fault)),
        }
    }
    let words = format!("{} redirects more than {MAX_REDIRECTS} times", source.host());
    Err(FetchError::new(FetchFault::RedirectRefused, words))
}

/// Headers of a request. Those of the Secret go to the server that they were made for, and to no other that it names.
fn headers(source: &Source, url: &Url, asked: u64, name: Option<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if url.origin() == source.url.origin() {
        headers.clone_from(&source.headers);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if asked > 0 {
        headers.extend(HeaderValue::try_from(format!("bytes={asked}-")).map(|value| (RANGE, value)));
        let name = name.and_then(|name| HeaderValue::try_from(name).ok());
        headers.extend(name.map(|name| (IF_RANGE, name)));
    }
    headers
}

/// Takes an answer's body, as long as it comes fast enough.
async fn body(
    url: &Url,
    mut response: Response,
    total: Option<u64>,
    sink: &mut impl Sink,
    patience: &Patience,
    progress: &Progress,
) -> Result<End, FetchError> {
    let mut window = (Instant::now() + patience.quiet, sink.length());
    loop {
        let chunk = match timeout_at(window.0, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                let error = FetchError::of_client(&host(url), error);
                return Ok(End::Later(error));
            }
            Err(_) => return Ok(End::Later(stalled(url, patience))),
        };
        if total.is_some_and(|total| sink.length() + chunk.len() as u64 > total) {
            let words = format!("{} sends more bytes than it says", host(url));
            return Err(FetchError::new(FetchFault::Malformed, words));
        }
        sink.take(&chunk)?;
        progress.add(chunk.len() as u64);
        let now = Instant::now();
        if now >= window.0 && sink.length() < window.1 + patience.least_bytes {
            return Ok(End::Later(stalled(url, patience)));
        }
        if sink.length() >= window.1 + patience.least_bytes {
            window = (now + patience.quiet, sink.length());
        }
    }
    if total.is_some_and(|total| sink.length() < total) {
        let words = format!("{} ended before the file did", host(url));
        return Ok(End::Later(FetchError::new(FetchFault::Broken, words)));
    }
    Ok(End::Whole)
}

fn stalled(url: &Url, patience: &Patience) -> FetchError {
    let words = format!(
        "{} sends fewer than {} bytes in {} s",
        host(url),
        patience.least_bytes,
        patience.quiet.as_secs()
    );
    FetchError::new(FetchFault::Stalled, words)
}
