//! Speaks the agent protocol of `cocoon_api::agent` to one agent.

use std::time::Duration;

use cocoon_api::agent::{AttemptProgress, AttemptRequest, ErrorBody, Identity, MAX_RESULT_LINE_BYTES};
use futures::StreamExt as _;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::lines::{LineError, Lines};

/// Seconds for one answer that is not a stream. An agent answers from memory; what takes longer is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that is not a stream at most.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

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
    /// It answered with an error.
    #[error("{url} answered {status}: {message}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// The agent's words.
        message: String,
    },
    /// Its answer is longer than its limit or not what the protocol says.
    #[error("{url} gave an answer that breaks the protocol: {problem}")]
    Protocol {
        /// Where.
        url: String,
        /// What is wrong.
        problem: String,
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
                status: StatusCode::NOT_FOUND,
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

    /// The results from the start, open until the attempt ends.
    pub async fn results(&self, job: &str, attempt: u32) -> Result<ResultStream, ClientError> {
        let url = format!("{}/v1/jobs/{job}/{attempt}/results?from=0", self.base);
        let send = self.http.get(&url).send();
        let response = tokio::time::timeout(ANSWER_TIMEOUT, send)
            .await
            .map_err(|_| ClientError::Protocol {
                url: url.clone(),
                problem: "no answer in time".into(),
            })?
            .map_err(|source| ClientError::Transport {
                url: url.clone(),
                source,
            })?;
        let response = refused(response, &url).await?;
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
        let request = request(&self.http, &self.base).timeout(ANSWER_TIMEOUT);
        let url = self.base.clone();
        let response = request.send().await.map_err(|source| ClientError::Transport {
            url: url.clone(),
            source,
        })?;
        let body = bounded(refused(response, &url).await?, &url).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Protocol {
            url,
            problem: error.to_string(),
        })
    }
}

async fn refused(response: Response, url: &str) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = bounded(response, url).await?;
    let message = serde_json::from_slice::<ErrorBody>(&body)
        .map_or_else(|_| "no reason given".into(), |body| body.message);
    Err(ClientError::Refused {
        url: url.to_owned(),
        status,
        message,
    })
}

async fn bounded(response: Response, url: &str) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.map_err(|source| ClientError::Transport {
            url: url.to_owned(),
            source,
        })?);
        if body.len() > MAX_ANSWER_BYTES {
            let problem = format!("more than {MAX_ANSWER_BYTES} bytes");
            return Err(ClientError::Protocol {
                url: url.to_owned(),
                problem,
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
