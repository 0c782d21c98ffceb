//! Whose agents worked on a job: the word of the provider's wallet on each agent's key, kept beside the key in the
//! job's status.
//!
//! It lies with the job and not with the provider, since it is needed as long as the receipts are: long after the
//! agent, and perhaps the provider's object, is gone.

use cocoon_api::{
    crd::{
        FullName,
        job::{AgentCertificate, Assignment},
    },
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
    provider: &FullName,
    network: &Network,
    wallet: &dyn Signer,
) -> Result<AgentCertificate, SignError> {
    let certificate = Certificate {
        global_id: network.global_id(),
        namespace: &provider.namespace,
        provider: &provider.name,
        agent: agent.0,
    };
    Ok(AgentCertificate {
        global_id: network.global_id(),
        wallet_key: wallet.public_key().to_string(),
        signature: certificate.sign(wallet)?.to_string(),
    })
}

/// Whether the wallet at `wallet` signed that the assignment's agent is the provider's. `home` is the namespace of the
/// job.
pub fn verify(assignment: &Assignment, home: &str, wallet: &Address) -> Result<(), Uncertified> {
    let held = assignment.certificate.as_ref().ok_or(Uncertified::Missing)?;
    let agent: AgentKey = assignment.agent.parse().map_err(|_| Uncertified::Agent)?;
    let FullName { namespace, name } = FullName::parse(&assignment.provider, home);
    let certificate = Certificate {
        global_id: held.global_id,
        namespace: &namespace,
        provider: &name,
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

    fn gpus() -> FullName {
        FullName::new("farm", "gpus")
    }

    #[test]
    fn a_job_of_another_namespace_names_the_provider_in_full() {
        let (key, network) = (SecretKey::from_seed(&[7; 32]), Network::TESTBED);
        let wallet = Wallet::new(key.public_key(), &network).address();
        let good = certify(AgentKey([9; 32]), &gpus(), &network, &key).unwrap();
        let mut named = assignment(Some(good));
        named.provider = "farm/gpus".into();
        verify(&named, "team", &wallet).unwrap();
        named.provider = "team/gpus".into();
        assert!(matches!(
            verify(&named, "farm", &wallet),
            Err(Uncertified::Refused(CertificateError::Signature))
        ));
    }

    #[test]
    fn an_agent_is_the_providers_by_the_word_of_its_wallet_alone() {
        let (key, network) = (SecretKey::from_seed(&[7; 32]), Network::TESTBED);
        let wallet = Wallet::new(key.public_key(), &network).address();
        let good = certify(AgentKey([9; 32]), &gpus(), &network, &key).unwrap();
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
            &gpus(),
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
