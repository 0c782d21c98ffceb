//! Who did not say what the others say, and why there is no majority.

use std::fmt;

use crate::Network;
use crate::client::ClientError;

/// What is wrong with an endpoint's answer, or with the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// It answers from an older block than the majority.
    Lagging,
    /// It says something else than the majority.
    Disagrees,
    /// It had not answered when the majority had.
    Slow,
    /// It does not answer, or says that it cannot.
    Unavailable,
    /// It wants fewer requests.
    RateLimited,
    /// Its answer is none that its interface allows.
    BadAnswer,
    /// It refuses the question.
    Refused,
    /// It serves another network.
    WrongNetwork,
}

impl Trouble {
    /// One word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Lagging => "lagging",
            Self::Disagrees => "disagrees",
            Self::Slow => "slow",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::BadAnswer => "bad_answer",
            Self::Refused => "refused",
            Self::WrongNetwork => "wrong_network",
        }
    }

    pub(super) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::EndpointUnavailable { .. } => Self::Unavailable,
            ClientError::RateLimited { .. } => Self::RateLimited,
            ClientError::BadResponse { .. } => Self::BadAnswer,
            ClientError::WrongNetwork { .. } => Self::WrongNetwork,
            ClientError::InvalidEndpoint { .. }
            | ClientError::Rejected { .. }
            | ClientError::OtherContract { .. }
            | ClientError::SearchLimit { .. } => Self::Refused,
        }
    }
}

/// One endpoint that does not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dissent {
    /// The endpoint's name.
    pub endpoint: String,
    /// What is wrong.
    pub trouble: Trouble,
    /// What it said, or why it said nothing. Holds no key and no path.
    pub words: String,
}

impl Dissent {
    /// Who, and what is wrong, without the words: the same from read to read, for what is stored or compared.
    pub fn brief(&self) -> String {
        let how = match self.trouble {
            Trouble::Disagrees => "says something else",
            other => other.verb(),
        };
        format!("{} {how}", self.endpoint)
    }
}

impl fmt::Display for Dissent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}: {}",
            self.endpoint,
            self.trouble.verb(),
            self.words
        )
    }
}

impl Trouble {
    fn verb(self) -> &'static str {
        match self {
            Self::Lagging => "lags behind",
            Self::Disagrees => "says",
            Self::Slow => "is slow",
            Self::Unavailable => "is unavailable",
            Self::RateLimited => "is asked too often",
            Self::BadAnswer => "answers nothing usable",
            Self::Refused => "refuses",
            Self::WrongNetwork => "serves another network",
        }
    }
}

/// No majority of the endpoints says the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Too few endpoints agree. Nothing may be signed or given up on its account.
    #[error(
        "no {needed} of {configured} endpoints of network {network} agree about {about}: {}",
        list(said)
    )]
    NoMajority {
        /// Name of the network.
        network: String,
        /// What was asked.
        about: String,
        /// Endpoints that must agree.
        needed: usize,
        /// Endpoints of the network.
        configured: usize,
        /// What each of them said.
        said: Vec<Dissent>,
    },
    /// No endpoint took a message.
    #[error("no endpoint of network {network} took the message: {}", list(said))]
    NotTaken {
        /// Name of the network.
        network: String,
        /// What each endpoint said.
        said: Vec<Dissent>,
    },
    /// So many endpoints serve another network that no majority is possible. Somebody must correct the configuration.
    #[error("network {network} is not what its endpoints serve: {}", list(said))]
    WrongNetwork {
        /// Name of the network.
        network: String,
        /// What each endpoint said.
        said: Vec<Dissent>,
    },
}

impl QuorumError {
    pub(super) fn no_majority(
        network: &Network,
        about: &str,
        (needed, configured): (usize, usize),
        said: Vec<Dissent>,
    ) -> Self {
        let network = network.name().to_owned();
        let foreign = said
            .iter()
            .filter(|it| it.trouble == Trouble::WrongNetwork)
            .count();
        if configured - foreign < needed {
            return Self::WrongNetwork { network, said };
        }
        Self::NoMajority {
            network,
            about: about.to_owned(),
            needed,
            configured,
            said,
        }
    }

    /// What each endpoint said.
    pub fn said(&self) -> &[Dissent] {
        match self {
            Self::NoMajority { said, .. } | Self::NotTaken { said, .. } | Self::WrongNetwork { said, .. } => {
                said
            }
        }
    }

    /// What is wrong, without what the endpoints said: the same from read to read, for what is stored or compared.
    pub fn brief(&self) -> String {
        let said: Vec<String> = self.said().iter().map(Dissent::brief).collect();
        let said = said.join(", ");
        match self {
            Self::NoMajority {
                network,
                about,
                needed,
                configured,
                ..
            } => format!(
                "no {needed} of {configured} endpoints of network {network} agree about {about}: {said}"
            ),
            Self::NotTaken { network, .. } => {
                format!("no endpoint of network {network} took the message: {said}")
            }
            Self::WrongNetwork { network, .. } => {
                format!("network {network} is not what its endpoints serve: {said}")
            }
        }
    }

    /// Whether asking again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            // Where all refuse, they will do so again.
            Self::NoMajority { said, .. } | Self::NotTaken { said, .. } => {
                said.iter().any(|it| it.trouble != Trouble::Refused)
            }
            Self::WrongNetwork { .. } => false,
        }
    }
}

fn list(said: &[Dissent]) -> String {
    let said: Vec<String> = said.iter().map(Dissent::to_string).collect();
    said.join("; ")
}
