//! What an agent of a provider must be, for whoever dials it.

use cocoon_api::crd::CocoonProvider;
use cocoon_core::agents::recognition::Wanted;
use kube::ResourceExt;

use super::{children, validate};
use crate::config::Config;

/// What the agents of this model must be. Where there is no such provider, or nothing valid is offered, no pod is
/// recognised that is not known already.
pub(crate) fn wanted(
    provider: Option<&CocoonProvider>,
    namespace: &str,
    model: &str,
    config: &Config,
) -> Wanted {
    let spec = provider.and_then(|provider| {
        let valid = validate::validate(provider).ok()?;
        let offered = valid.models.iter().find(|offered| offered.name == model)?;
        serde_json::from_value(children::pod_spec(&valid, offered, config)).ok()
    });
    Wanted {
        provider: provider.and_then(ResourceExt::uid).unwrap_or_default(),
        namespace: namespace.to_owned(),
        model: model.to_owned(),
        spec,
    }
}
