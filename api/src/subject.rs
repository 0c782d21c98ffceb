//! What is billed: attempts of jobs, and interactive sessions.
//!
//! As JSON a job's attempt is `"job": UID, "attempt": NUMBER`, and a session is `"session": ID`, among the fields of
//! what carries it. What has both, or neither, or a half, is refused: nothing can be read as the one and as the other.

use serde::{Deserialize, Serialize};

/// What one chain of receipts and one counter bill: an attempt of a job, or a session. In the order of jobs and their
/// attempts, and then of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SubjectFields", into = "SubjectFields")]
pub enum Subject {
    /// One attempt of a job.
    Job {
        /// UID of the job.
        uid: String,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// An interactive session, which has no attempts.
    Session {
        /// Unique among all sessions; at most as long as a UID, 36 characters.
        id: String,
    },
}

impl Subject {
    /// An attempt of a job.
    pub fn job(uid: impl Into<String>, attempt: u32) -> Self {
        Self::Job {
            uid: uid.into(),
            attempt,
        }
    }

    /// A session.
    pub fn session(id: impl Into<String>) -> Self {
        Self::Session { id: id.into() }
    }

    /// Number of the attempt; a session has none.
    pub fn attempt(&self) -> Option<u32> {
        match self {
            Self::Job { attempt, .. } => Some(*attempt),
            Self::Session { .. } => None,
        }
    }

    /// What it is billed with, under one budget.
    pub fn bill(&self) -> Bill {
        match self {
            Self::Job { uid, .. } => Bill::Job { uid: uid.clone() },
            Self::Session { id } => Bill::Session { id: id.clone() },
        }
    }
}

/// What has one budget: a job with all its attempts, or a session. In the order of [`Subject`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "BillFields", into = "BillFields")]
pub enum Bill {
    /// A job.
    Job {
        /// UID of the job.
        uid: String,
    },
    /// An interactive session.
    Session {
        /// As in [`Subject::Session`].
        id: String,
    },
}

impl Bill {
    /// Of a job.
    pub fn job(uid: impl Into<String>) -> Self {
        Self::Job { uid: uid.into() }
    }

    /// Of a session.
    pub fn session(id: impl Into<String>) -> Self {
        Self::Session { id: id.into() }
    }

    /// Whether the subject's usage belongs on it.
    pub fn holds(&self, subject: &Subject) -> bool {
        match (self, subject) {
            (Self::Job { uid }, Subject::Job { uid: other, .. }) => uid == other,
            (Self::Session { id }, Subject::Session { id: other }) => id == other,
            _ => false,
        }
    }

    /// UID of the job; a session has none.
    pub fn job_uid(&self) -> Option<&str> {
        match self {
            Self::Job { uid } => Some(uid),
            Self::Session { .. } => None,
        }
    }
}

/// `job UID` or `session ID`.
impl std::fmt::Display for Bill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job { uid } => write!(f, "job {uid}"),
            Self::Session { id } => write!(f, "session {id}"),
        }
    }
}

/// `attempt N of job UID` or `session ID`.
impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job { uid, attempt } => write!(f, "attempt {attempt} of job {uid}"),
            Self::Session { id } => write!(f, "session {id}"),
        }
    }
}

/// Fields that name no subject, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is billed is either a job, with the number of an attempt where it is one, or a session")]
pub struct SubjectError;

/// A subject as JSON carries it.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubjectFields {
    /// UID of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 36)))]
    job: Option<String>,
    /// Number of the job's attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// The session, where no job is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 36)))]
    session: Option<String>,
}

impl From<Subject> for SubjectFields {
    fn from(subject: Subject) -> Self {
        let (job, attempt, session) = match subject {
            Subject::Job { uid, attempt } => (Some(uid), Some(attempt), None),
            Subject::Session { id } => (None, None, Some(id)),
        };
        Self {
            job,
            attempt,
            session,
        }
    }
}

impl TryFrom<SubjectFields> for Subject {
    type Error = SubjectError;

    fn try_from(fields: SubjectFields) -> Result<Self, SubjectError> {
        match (fields.job, fields.attempt, fields.session) {
            (Some(uid), Some(attempt), None) => Ok(Self::Job { uid, attempt }),
            (None, None, Some(id)) => Ok(Self::Session { id }),
            _ => Err(SubjectError),
        }
    }
}

/// A bill as JSON carries it.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct BillFields {
    /// UID of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 36)))]
    job: Option<String>,
    /// The session, where no job is billed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = 36)))]
    session: Option<String>,
}

impl From<Bill> for BillFields {
    fn from(bill: Bill) -> Self {
        let (job, session) = match bill {
            Bill::Job { uid } => (Some(uid), None),
            Bill::Session { id } => (None, Some(id)),
        };
        Self { job, session }
    }
}

impl TryFrom<BillFields> for Bill {
    type Error = SubjectError;

    fn try_from(fields: BillFields) -> Result<Self, SubjectError> {
        match (fields.job, fields.session) {
            (Some(uid), None) => Ok(Self::Job { uid }),
            (None, Some(id)) => Ok(Self::Session { id }),
            _ => Err(SubjectError),
        }
    }
}

#[cfg(test)]
mod tests;
