//! Asks every endpoint at once, and waits as long as it is worth.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;
use super::error::{Dissent, Trouble};
use crate::client::ClientError;
use crate::{ChannelReader, Network};

/// How long a read that has its majority waits for the other endpoints, so that they are named where they differ. A
/// good endpoint answers in a tenth of it; one that is in trouble is waited for once in [`super::PROBE_INTERVAL`].
pub const STRAGGLER_WAIT: Duration = Duration::from_secs(1);

/// How long the other endpoints have to take a message when one has taken it: a message is sent again after five
/// seconds.
pub const SEND_WAIT: Duration = Duration::from_secs(3);

/// What one endpoint answered.
pub(super) struct Said<T> {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) answer: Result<T, (Trouble, String)>,
}

impl<T> Said<T> {
    /// An endpoint that said nothing; none for one that answered.
    pub(super) fn into_dissent(self) -> Option<Dissent> {
        let (trouble, words) = self.answer.err()?;
        Some(self.endpoint.dissent(trouble, words))
    }
}

/// When asking all is over.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// A majority has answered, and those that are well had [`STRAGGLER_WAIT`] to do so too.
    Majority,
    /// One has answered, and all others had [`SEND_WAIT`] to do so too.
    Everybody,
}

/// Of so many endpoints, the least that are more than half.
pub(super) const fn majority(endpoints: usize) -> usize {
    endpoints / 2 + 1
}

/// Asks all, at most for `limit`. The calls that are not over by then end.
pub(super) async fn ask_all<T, Q, F>(
    network: &Network,
    endpoints: &[Arc<Endpoint>],
    limit: Duration,
    over: Until,
    question: Q,
) -> Vec<Said<T>>
where
    T: Send + 'static,
    Q: Fn(ChannelReader) -> F + Clone + Send + 'static,
    F: Future<Output = Result<T, ClientError>> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for (place, endpoint) in endpoints.iter().cloned().enumerate() {
        let (network, question) = (network.clone(), question.clone());
        calls.spawn(async move {
            let answer = match endpoint.admit(&network).await {
                Ok((reader, _call)) => question(reader).await,
                Err(error) => Err(error),
            };
            (place, answer)
        });
    }
    let mut answers: Vec<Option<Result<T, ClientError>>> = endpoints.iter().map(|_| None).collect();
    let mut until = Instant::now() + limit;
    let mut is_over = false;
    while let Ok(Some(joined)) = timeout_at(until, calls.join_next()).await {
        let (place, answer) = match joined {
            Ok(answered) => answered,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => continue,
        };
        answers[place] = Some(answer);
        let good = answers.iter().flatten().filter(|answer| answer.is_ok()).count();
        let open = answers.iter().filter(|answer| answer.is_none()).count();
        let needed = match over {
            Until::Majority => majority(endpoints.len()),
            Until::Everybody => 1,
        };
        // Where the open ones cannot make a majority any more, they are worth no more than their word.
        if !is_over && (good >= needed || good + open < needed) {
            is_over = true;
            until = Instant::now()
                + match over {
                    Until::Majority => patience(endpoints, &answers),
                    Until::Everybody => SEND_WAIT,
                };
        }
    }
    let said = endpoints.iter().cloned().zip(answers);
    said.map(|(endpoint, answer)| {
        let answer = match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err((Trouble::of(&error), error.to_string())),
            None => Err(silence(&endpoint)),
        };
        Said { endpoint, answer }
    })
    .collect()
}

/// How long those that have not answered yet are worth waiting for.
fn patience<T>(endpoints: &[Arc<Endpoint>], answers: &[Option<T>]) -> Duration {
    let open = endpoints
        .iter()
        .zip(answers)
        .filter(|(_, answer)| answer.is_none());
    let waited_for = open.filter(|(endpoint, _)| endpoint.is_waited_for()).count();
    if waited_for > 0 {
        STRAGGLER_WAIT
    } else {
        Duration::ZERO
    }
}

/// Why an endpoint that was not waited for said nothing: what was wrong with it before, where something was.
fn silence(endpoint: &Endpoint) -> (Trouble, String) {
    match endpoint.trouble() {
        Some(before) => (before.trouble, before.words),
        None => (
            Trouble::Slow,
            "no answer yet when the others had answered".to_owned(),
        ),
    }
}
