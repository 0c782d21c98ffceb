//! An agent as it is dialled, and what comes of it.

use std::{net::IpAddr, sync::Arc};

use cocoon_core::agents::recognition::{Stranger, Wanted};
use rustls::pki_types::CertificateDer;

use crate::error::Error;

/// An agent as it is to be dialled.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Name of its pod.
    pub pod: String,
    /// UID of its pod.
    pub uid: String,
    /// Address of its pod.
    pub address: IpAddr,
    /// What it must be.
    pub wanted: Arc<Wanted>,
}

/// Why an agent cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub enum Unrecognised {
    /// It is none.
    #[error("it is no agent of its provider")]
    Stranger(#[source] Stranger),
    /// It does not answer.
    #[error("it does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server could not be asked about it.
    #[error("nobody could be asked about it")]
    Unasked(#[source] Box<Error>),
}

/// How an agent is spoken to.
#[derive(Debug, Clone)]
pub struct Line {
    /// Takes the agent's certificate alone.
    pub http: reqwest::Client,
    /// `https://name:port`
    pub base: String,
    /// The certificate.
    pub certificate: CertificateDer<'static>,
}

impl From<Stranger> for Unrecognised {
    fn from(why: Stranger) -> Self {
        Self::Stranger(why)
    }
}

impl From<Error> for Unrecognised {
    fn from(error: Error) -> Self {
        Self::Unasked(Box::new(error))
    }
}
