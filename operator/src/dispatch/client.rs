//! Speaks the agent protocol of `cocoon_api::agent` to one agent.

use std::{sync::Arc, time::Duration};

use cocoon_api::{
    agent::{AttemptProgress, AttemptRequest, Identity, MAX_RESULT_LINE_BYTES, RefusalCode},
    json::{self, Fault},
    receipt::ChainId,
};
use cocoon_core::job::follower::AgentFault;
use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use reqwest::Response;
use serde::de::DeserializeOwned;

use super::lines::{LineError, Lines};
use crate::agents::{Agent, Agents, RECOGNITION_LIMIT, Unrecognised};

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
    /// It is no agent of its provider, or whether it is one could not be learnt.
    #[error("could not recognise agent {agent}")]
    Unrecognised {
        /// Its pod.
        agent: String,
        /// Why.
        #[source]
        source: Unrecognised,
    },
    /// It gave no answer in time.
    #[error("no answer from {url} in time")]
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
            Self::Unrecognised { .. } | Self::Transport { .. } | Self::Silent { .. } => {
                AgentFault::Unreachable
            }
            Self::Refused { code, .. } => AgentFault::Refused(*code),
            Self::Shape { .. } | Self::TooLong { .. } | Self::Line { .. } => AgentFault::Broken,
        }
    }
}

/// One agent.
#[derive(Clone)]
pub struct AgentClient(Way);

#[derive(Clone)]
enum Way {
    /// To who is known to be the agent.
    Known { http: reqwest::Client, base: String },
    /// To a pod that is recognised before it is told anything.
    Recognised { agents: Arc<Agents>, agent: Agent },
}

impl AgentClient {
    /// An agent that is known: `http` takes nobody else for it; `base` is like `https://name:8443`.
    pub fn new(http: reqwest::Client, base: String) -> Self {
        Self(Way::Known { http, base })
    }

    /// The agent in this pod. It is recognised when it is first asked anything, and anew after it was started again.
    pub fn of(agents: Arc<Agents>, agent: Agent) -> Self {
        Self(Way::Recognised { agents, agent })
    }

    /// Sends a request, with where it was sent.
    async fn send(
        &self,
        request: impl FnOnce(&reqwest::Client, &str) -> reqwest::RequestBuilder,
    ) -> Result<(Response, String), ClientError> {
        let (request, url, known) = match &self.0 {
            Way::Known { http, base } => (request(http, base), base.clone(), None),
            Way::Recognised { agents, agent } => {
                let line = agents.line(agent, Timestamp::now()).await;
                let line = line.map_err(|source| ClientError::Unrecognised {
                    agent: agent.pod.clone(),
                    source,
                })?;
                let known = (agents, &agent.uid, line.certificate);
                (request(&line.http, &line.base), line.base, Some(known))
            }
        };
        let sent = request.send().await;
        if let (Err(error), Some((agents, uid, certificate))) = (&sent, known)
            && error.is_connect()
        {
            agents.forget(uid, &certificate);
        }
        match sent {
            Ok(response) => Ok((refused(response, &url)?, url)),
            Err(source) => Err(ClientError::Transport { url, source }),
        }
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
        // Recognition has limits of its own, and nothing else may take longer than an answer.
        let send = self.send(|http, base| http.get(format!("{base}/v1/jobs/{job}/{attempt}/results?from=0")));
        let limit = ANSWER_TIMEOUT + RECOGNITION_LIMIT;
        let (response, url) =
            tokio::time::timeout(limit, send)
                .await
                .map_err(|_| ClientError::Silent {
                    url: format!("results of job {job}"),
                })??;
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
        let (response, url) = self
            .send(|http, base| request(http, base).timeout(ANSWER_TIMEOUT))
            .await?;
        let body = bounded(response, &url, limit).await?;
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
