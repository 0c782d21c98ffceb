//! The word of a provider's wallet on the keys of its agents: signed once for each, when an agent takes its first job.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cocoon_api::{
    crd::{CocoonProvider, FullName, job::AgentCertificate},
    receipt::AgentKey,
};
use cocoon_core::job::certificate::certify;
use kube::Api;

use crate::{
    context::Context,
    error::{Error, KubeContext as _, Result},
    settlement::Account,
};

/// Certificates in memory at most, of 0.5 kB each: the agents of a thousand GPUs. Beyond that all are forgotten, and
/// signed again when they are asked for.
const MAX_KEPT: usize = 1024;

/// By provider, the address of its wallet, and its agent's key.
type Kept = BTreeMap<(FullName, String, AgentKey), AgentCertificate>;

/// What was signed so far.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<Kept>);

impl Certificates {
    /// The word of the provider's wallet on this key; none where the provider has no wallet that can sign.
    pub(super) async fn of(
        &self,
        agent: AgentKey,
        provider: &FullName,
        ctx: &Context,
    ) -> Result<Option<AgentCertificate>> {
        // A provider that takes another wallet has its agents certified again.
        let known = ctx.watches.providers.get(&provider.namespace, &provider.name);
        let wallet = known.map(|known| known.spec.payout.signer().to_owned());
        let key = (provider.clone(), wallet.unwrap_or_default(), agent);
        if let Some(kept) = self.kept().get(&key) {
            return Ok(Some(kept.clone()));
        }
        let providers: Api<CocoonProvider> = Api::namespaced(ctx.client.clone(), &provider.namespace);
        let found = providers
            .get_opt(&provider.name)
            .await
            .attempt("read CocoonProvider", provider)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let Ok(account) = Account::of(&found, ctx).await? else {
            return Ok(None);
        };
        let network = account.chain.network();
        let signed = certify(agent, provider, network, &account.key).map_err(|source| Error::Chain {
            action: "certify an agent",
            network: network.name().to_owned(),
            source: Box::new(source),
        })?;
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, signed.clone());
        Ok(Some(signed))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
