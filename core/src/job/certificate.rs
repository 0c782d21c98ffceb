//! Whose agents worked on a job: the word of the provider's wallet on each agent's key, kept beside the key in the job's status.
//!
//! It lies with the job and not with the provider, since it is needed as long as the receipts are: long after the agent, and
//! perhaps the provider's object, is gone.

use cocoon_api::{
    crd::job::{AgentCertificate, Assignment},
    receipt::AgentKey,
};
use cocoon_ton::{
    Address, Certificate, Network, Signer,
    certificate::CertificateError,
    key::{KeyError, SignError},
};

/// Why an agent is not known to be its provider's.
#[derive(Debug, thiserror::Error)]
pub enum Uncertified {
    /// Nobody signed for its key.
    #[error("no wallet signed for its key")]
    Missing,
    /// A key or signature cannot be read.
    #[error("its certificate is damaged: {0}")]
    Damaged(#[from] KeyError),
    /// The agent's key cannot be read.
    #[error("its key is no key")]
    Agent,
    /// It is not the provider's wallet that signed for it.
    #[error(transparent)]
    Refused(#[from] CertificateError),
}

/// Signs that `agent` is an agent of this provider.
pub fn certify(
    agent: AgentKey,
    namespace: &str,
    provider: &str,
    network: &Network,
    wallet: &dyn Signer,
) -> Result<AgentCertificate, SignError> {
    let certificate = Certificate {
        global_id: network.global_id(),
        namespace,
        provider,
        agent: agent.0,
    };
    Ok(AgentCertificate {
        global_id: network.global_id(),
        wallet_key: wallet.public_key().to_string(),
        signature: certificate.sign(wallet)?.to_string(),
    })
}

/// Whether the wallet at `wallet` signed that the assignment's agent is the provider's.
pub fn verify(assignment: &Assignment, namespace: &str, wallet: &Address) -> Result<(), Uncertified> {
    let held = assignment.certificate.as_ref().ok_or(Uncertified::Missing)?;
    let agent: AgentKey = assignment.agent.parse().map_err(|_| Uncertified::Agent)?;
    let certificate = Certificate {
        global_id: held.global_id,
        namespace,
        provider: &assignment.provider,
        agent: agent.0,
    };
    certificate.verify(&held.wallet_key.parse()?, &held.signature.parse()?, wallet)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cocoon_api::{NanoTon, Prices, crd::job::AssignmentState};
    use cocoon_ton::{SecretKey, Wallet};

    use super::*;

    fn assignment(certificate: Option<AgentCertificate>) -> Assignment {
        Assignment {
            attempt: 1,
            provider: "gpus".into(),
            pod: "pod".into(),
            pod_uid: "uid".into(),
            agent: AgentKey([9; 32]).to_string(),
            certificate,
            prices: Prices::default(),
            requests: 0,
            completion_tokens: 0,
            nano: NanoTon::ZERO,
            state: AssignmentState::Active,
        }
    }

    #[test]
    fn an_agent_is_the_providers_by_the_word_of_its_wallet_alone() {
        let (key, network) = (SecretKey::from_seed(&[7; 32]), Network::TESTBED);
        let wallet = Wallet::new(key.public_key(), &network).address();
        let good = certify(AgentKey([9; 32]), "farm", "gpus", &network, &key).unwrap();
        verify(&assignment(Some(good.clone())), "farm", &wallet).unwrap();
        let refused =
            |assignment: &Assignment, namespace| verify(assignment, namespace, &wallet).unwrap_err();
        assert!(matches!(refused(&assignment(None), "farm"), Uncertified::Missing));
        assert!(matches!(
            refused(&assignment(Some(good.clone())), "elsewhere"),
            Uncertified::Refused(CertificateError::Signature)
        ));
        let of_stranger = certify(
            AgentKey([9; 32]),
            "farm",
            "gpus",
            &network,
            &SecretKey::from_seed(&[8; 32]),
        )
        .unwrap();
        assert!(matches!(
            refused(&assignment(Some(of_stranger)), "farm"),
            Uncertified::Refused(CertificateError::ForeignWallet { .. })
        ));
        let mut invented = assignment(Some(good.clone()));
        invented.agent = AgentKey([8; 32]).to_string();
        assert!(matches!(
            refused(&invented, "farm"),
            Uncertified::Refused(CertificateError::Signature)
        ));
        let damaged = AgentCertificate {
            signature: "zz".into(),
            ..good
        };
        assert!(matches!(
            refused(&assignment(Some(damaged)), "farm"),
            Uncertified::Damaged(_)
        ));
    }
}
