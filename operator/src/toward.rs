//! The channels that pay a provider, wherever they are: payers have namespaces of their own.

use cocoon_api::crd::{FullName, PaymentChannel};
use cocoon_core::settlement::pays;
use kube::api::ListParams;

use crate::{
    context::Context,
    error::{KubeContext as _, Result},
};

/// The channels that name this provider, in all namespaces that this operator acts in, as they are stored now. Whether
/// the provider still allows their namespaces is nothing to them: what they owe is owed. A listed namespace that is
/// gone has none: it cannot be read, since the rights in it went with it, and nobody else's claims are to wait for it.
pub async fn channels(provider: &FullName, ctx: &Context) -> Result<Vec<PaymentChannel>> {
    let named = ListParams::default().fields(&format!("spec.provider.name={}", provider.name));
    let is_gone = ctx.watches.namespaces.lacks();
    let mut found = Vec::new();
    for api in ctx.config.scope().apis::<PaymentChannel>(&ctx.client) {
        let listed = match api.list(&named).await {
            Err(kube::Error::Api(refused))
                if refused.code == 403 && api.namespace().is_some_and(&is_gone) =>
            {
                continue;
            }
            listed => listed.attempt("list channels of provider", provider)?,
        };
        found.extend(
            listed
                .items
                .into_iter()
                .filter(|channel| pays(channel) == *provider),
        );
    }
    Ok(found)
}
