//! Speaks the agent protocol of `cocoon_api::agent` to one agent.

use std::time::Duration;

use cocoon_api::{
    agent::{AttemptProgress, AttemptRequest, Identity, MAX_RESULT_LINE_BYTES, RefusalCode},
    json::{self, Fault},
    receipt::ChainId,
};
use cocoon_core::job::follower::AgentFault;
use futures::StreamExt as _;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::lines::{LineError, Lines};

/// Time for one answer that is not a stream. An agent answers from memory; what takes longer is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that is not a stream at most.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Bytes of the names of all attempts of an agent at most: a thousand of 300 bytes each.
const MAX_ATTEMPTS_BYTES: usize = 320 * 1024;

/// Why an agent did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It cannot be reached, or the connection broke.
    #[error("no answer from {url}")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It gave no answer in time.
    #[error("no answer from {url} within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent {
        /// Where.
        url: String,
    },
    /// It refuses. What it says beside the code may hold anything, and is dropped.
    #[error("{url} answered {status}: {code}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it means.
        code: RefusalCode,
    },
    /// Its answer is not what the protocol says.
    #[error("the answer of {url} breaks the protocol")]
    Shape {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Fault,
    },
    /// Its answer is longer than its limit.
    #[error("the answer of {url} has more than {limit} bytes")]
    TooLong {
        /// Where.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A line of results is too long or not what the protocol says.
    #[error("results of {url}")]
    Line {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: LineError,
    },
}

impl ClientError {
    /// What it means for whoever follows the agent.
    pub fn fault(&self) -> AgentFault {
        match self {
            Self::Transport { .. } | Self::Silent { .. } => AgentFault::Unreachable,
            Self::Refused { code, .. } => AgentFault::Refused(*code),
            Self::Shape { .. } | Self::TooLong { .. } | Self::Line { .. } => AgentFault::Broken,
        }
    }
}

/// One agent.
#[derive(Debug, Clone)]
pub struct AgentClient {
    http: reqwest::Client,
    base: String,
}

impl AgentClient {
    /// `http` presents the operator's certificate and trusts its authority; `base` is like `https://name:8443`.
    pub fn new(http: reqwest::Client, base: String) -> Self {
        Self { http, base }
    }

    /// Who answers there.
    pub async fn identity(&self) -> Result<Identity, ClientError> {
        self.call(|http, base| http.get(format!("{base}/v1/identity")))
            .await
    }

    /// Starts the attempt, or finds it started.
    pub async fn start(
        &self,
        job: &str,
        attempt: u32,
        body: &AttemptRequest,
    ) -> Result<AttemptProgress, ClientError> {
        self.call(|http, base| http.put(format!("{base}/v1/jobs/{job}/{attempt}")).json(body))
            .await
    }

    /// Where the attempt stands; `None` where the agent does not know it.
    pub async fn progress(&self, job: &str, attempt: u32) -> Result<Option<AttemptProgress>, ClientError> {
        match self
            .call(|http, base| http.get(format!("{base}/v1/jobs/{job}/{attempt}")))
            .await
        {
            Ok(progress) => Ok(Some(progress)),
            Err(ClientError::Refused {
                code: RefusalCode::Unknown,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops what is not finished.
    pub async fn cancel(&self, job: &str, attempt: u32) -> Result<AttemptProgress, ClientError> {
        self.call(|http, base| http.delete(format!("{base}/v1/jobs/{job}/{attempt}")))
            .await
    }

    /// Every attempt that it knows.
    pub async fn attempts(&self) -> Result<Vec<ChainId>, ClientError> {
        self.call_for(MAX_ATTEMPTS_BYTES, |http, base| {
            http.get(format!("{base}/v1/attempts"))
        })
        .await
    }

    /// The results from the start, open until the attempt ends.
    pub async fn results(&self, job: &str, attempt: u32) -> Result<ResultStream, ClientError> {
        let url = format!("{}/v1/jobs/{job}/{attempt}/results?from=0", self.base);
        let send = self.http.get(&url).send();
        let response = tokio::time::timeout(ANSWER_TIMEOUT, send)
            .await
            .map_err(|_| ClientError::Silent { url: url.clone() })?
            .map_err(|source| ClientError::Transport {
                url: url.clone(),
                source,
            })?;
        let response = refused(response, &url)?;
        Ok(ResultStream {
            response,
            lines: Lines::new(MAX_RESULT_LINE_BYTES),
            url,
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        self.call_for(MAX_ANSWER_BYTES, request).await
    }

    async fn call_for<T: DeserializeOwned>(
        &self,
        limit: usize,
        request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let request = request(&self.http, &self.base).timeout(ANSWER_TIMEOUT);
        let url = self.base.clone();
        let response = request.send().await.map_err(|source| ClientError::Transport {
            url: url.clone(),
            source,
        })?;
        let body = bounded(refused(response, &url)?, &url, limit).await?;
        json::read(&body).map_err(|source| ClientError::Shape { url, source })
    }
}

fn refused(response: Response, url: &str) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let status = status.as_u16();
    Err(ClientError::Refused {
        url: url.to_owned(),
        status,
        code: RefusalCode::of_status(status),
    })
}

async fn bounded(response: Response, url: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.map_err(|source| ClientError::Transport {
            url: url.to_owned(),
            source,
        })?);
        if body.len() > limit {
            return Err(ClientError::TooLong {
                url: url.to_owned(),
                limit,
            });
        }
    }
    Ok(body)
}

/// A stream of results.
pub struct ResultStream {
    response: Response,
    lines: Lines,
    url: String,
}

impl ResultStream {
    /// The next result; `None` at the end of the stream, and `Some(None)` for a sign of life.
    pub async fn next(&mut self) -> Result<Option<Option<cocoon_api::agent::ResultLine>>, ClientError> {
        loop {
            let line = self.lines.next().map_err(|source| ClientError::Line {
                url: self.url.clone(),
                source,
            })?;
            if let Some(line) = line {
                return Ok(Some(line));
            }
            let chunk = self
                .response
                .chunk()
                .await
                .map_err(|source| ClientError::Transport {
                    url: self.url.clone(),
                    source,
                })?;
            match chunk {
                Some(bytes) => self.lines.push(&bytes),
                None => return Ok(None),
            }
        }
    }
}
