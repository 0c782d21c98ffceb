//! From what the endpoints said to what a majority says.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::answer::Answer;
use super::ask::{Said, Until, ask_all};
use super::endpoint::Endpoint;
use super::error::{Dissent, QuorumError, Trouble};
use super::tally::{Tally, tally};
use super::{MAX_SPREAD_SECONDS, Quorum, ROUND_WAIT, ROUNDS, Reading};
use crate::ChannelReader;
use crate::client::{ClientError, Head};
use crate::reader::Dated;

impl Quorum {
    /// Asks all, and again where they answer and differ, until a majority agrees.
    pub(super) async fn agree<T, Q, F>(
        &self,
        limit: Duration,
        about: &str,
        question: Q,
    ) -> Result<Reading<T>, QuorumError>
    where
        T: Answer,
        Q: Fn(ChannelReader) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Dated<T>, ClientError>> + Send + 'static,
    {
        let mut round = 1;
        loop {
            let said = ask_all(
                &self.network,
                &self.endpoints,
                limit,
                Until::Majority,
                question.clone(),
            )
            .await;
            let answered = said.iter().filter(|said| said.answer.is_ok()).count();
            match self.judge(about, said) {
                Err(_) if answered >= self.needed() && self.endpoints.len() > 1 && round < ROUNDS => {}
                judged => return judged,
            }
            round += 1;
            sleep(ROUND_WAIT).await;
        }
    }

    fn judge<T: Answer>(&self, about: &str, said: Vec<Said<Dated<T>>>) -> Result<Reading<T>, QuorumError> {
        let endpoints: Vec<Arc<Endpoint>> = said.iter().map(|said| said.endpoint.clone()).collect();
        let (mut votes, mut objections) = (Vec::new(), Vec::new());
        for (place, said) in said.into_iter().enumerate() {
            match said.answer {
                Ok(vote) => votes.push((place, vote)),
                Err((trouble, words)) => objections.push((place, trouble, words)),
            }
        }
        let (value, others) = match tally(votes, self.needed(), self.floor.load(Ordering::Relaxed)) {
            Tally::Agreed { value, others } => (Some(value), others),
            Tally::Split(said) => (None, said),
        };
        objections.extend(others);
        objections.sort_by_key(|(place, ..)| *place);
        for (place, endpoint) in endpoints.iter().enumerate() {
            match objections.iter().find(|(of, ..)| *of == place) {
                None => endpoint.note(None),
                // Of a split vote, nobody knows whose fault it is; and what all refuse is the question's.
                Some((_, Trouble::Disagrees | Trouble::Refused, _)) if value.is_none() => {}
                Some((_, trouble, words)) => endpoint.note(Some((*trouble, words.clone()))),
            }
        }
        let dissent = objections
            .into_iter()
            .map(|(place, trouble, words)| endpoints[place].dissent(trouble, words))
            .collect();
        self.decided(about, value, dissent)
    }

    /// The highest block that a majority has reached.
    pub(super) fn judge_heads(&self, said: Vec<Said<Head>>) -> Result<Reading<Head>, QuorumError> {
        let expected = self.network.global_id();
        let mut heads: Vec<Head> = said
            .iter()
            .filter_map(|said| said.answer.as_ref().ok())
            .filter(|head| head.global_id == expected)
            .copied()
            .collect();
        // Number and time each by a majority: who lies about one of them may be right about the other.
        heads.sort_by_key(|head| Reverse(head.time));
        let time = heads.get(self.needed() - 1).map(|head| head.time);
        heads.sort_by_key(|head| Reverse(head.seqno));
        let seqno = heads.get(self.needed() - 1).map(|head| head.seqno);
        let agreed = time.zip(seqno).map(|(time, seqno)| Head {
            seqno,
            time,
            global_id: expected,
        });
        let mut dissent = Vec::new();
        for said in said {
            let found = match said.answer {
                Err(found) => Some(found),
                Ok(head) => head_trouble(&head, expected, time),
            };
            let is_split = time.is_none() && matches!(found, Some((Trouble::Disagrees, _)));
            if !is_split {
                said.endpoint.note(found.clone());
            }
            dissent.extend(found.map(|(trouble, words)| said.endpoint.dissent(trouble, words)));
        }
        self.decided("the newest block", agreed, dissent)
    }

    fn decided<T>(
        &self,
        about: &str,
        value: Option<T>,
        dissent: Vec<Dissent>,
    ) -> Result<Reading<T>, QuorumError> {
        if let Some(value) = value {
            return Ok(Reading { value, dissent });
        }
        let counts = (self.needed(), self.endpoints.len());
        Err(QuorumError::no_majority(&self.network, about, counts, dissent))
    }
}

fn head_trouble(head: &Head, expected: i32, agreed: Option<u32>) -> Option<(Trouble, String)> {
    let Head {
        seqno,
        time,
        global_id,
    } = *head;
    if global_id != expected {
        let words = format!("global id {global_id} instead of {expected}");
        return Some((Trouble::WrongNetwork, words));
    }
    let words = format!("block {seqno} of time {time}");
    let Some(agreed) = agreed else {
        return Some((Trouble::Disagrees, words));
    };
    if time.saturating_add(MAX_SPREAD_SECONDS) < agreed {
        return Some((Trouble::Lagging, words));
    }
    (time > agreed.saturating_add(MAX_SPREAD_SECONDS)).then_some((Trouble::Disagrees, words))
}
