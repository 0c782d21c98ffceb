//! The channels that pay a provider, wherever they are: payers have namespaces of their own.

use cocoon_api::crd::{FullName, PaymentChannel};
use cocoon_core::settlement::pays;
use kube::api::ListParams;

use crate::{
    context::Context,
    error::{KubeContext as _, Result},
};

/// The channels that name this provider, in all namespaces that this operator acts in, as they are stored now. Whether
/// the provider still allows their namespaces is nothing to them: what they owe is owed.
pub async fn channels(provider: &FullName, ctx: &Context) -> Result<Vec<PaymentChannel>> {
    let named = ListParams::default().fields(&format!("spec.provider.name={}", provider.name));
    let mut found = Vec::new();
    for api in ctx.config.scope().apis::<PaymentChannel>(&ctx.client) {
        let listed = ctx
            .unless_gone(api.namespace().unwrap_or_default(), api.list(&named).await)
            .attempt("list channels of provider", provider)?;
        let channels = listed.into_iter().flat_map(|listed| listed.items);
        found.extend(channels.filter(|channel| pays(channel) == *provider));
    }
    Ok(found)
}
