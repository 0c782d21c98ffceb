//! Compare-and-swap on the ledger of a channel: the only way a channel's status is written.

use cocoon_api::crd::{PaymentChannel, PaymentChannelStatus};
use cocoon_core::ledger;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, api::PostParams};

use crate::error::{Error, KubeContext as _, Result, describe};

/// Writes tried before giving up: many more than the operator has writers of one channel (the channel's and
/// the settlement's controller, and one task for each attempt that lands at the same moment).
const MAX_WRITES: u32 = 32;

/// Reads the channel, lets `change` edit its status, and writes it if it is still the one that was read; reads
/// and tries again otherwise. `change` runs once for each try and sees the channel as it was read; when it
/// answers `false`, nothing is written. Derived figures follow by themselves.
///
/// Answers the channel as it is afterwards, or `None` where there is none.
pub async fn update<F>(api: &Api<PaymentChannel>, name: &str, mut change: F) -> Result<Option<PaymentChannel>>
where
    F: FnMut(&PaymentChannel, &mut PaymentChannelStatus) -> Result<bool>,
{
    update_with(
        api,
        name,
        |_| std::future::ready(Ok(())),
        |channel, status, ()| change(channel, status),
    )
    .await
}

/// Like [`update`], with a look at the world between reading the channel and changing it: what `look` sees is
/// never older than the channel that is replaced.
pub async fn update_with<T, L, W, F>(
    api: &Api<PaymentChannel>,
    name: &str,
    mut look: L,
    mut change: F,
) -> Result<Option<PaymentChannel>>
where
    L: FnMut(PaymentChannel) -> W,
    W: Future<Output = Result<T>>,
    F: FnMut(&PaymentChannel, &mut PaymentChannelStatus, T) -> Result<bool>,
{
    for _ in 0..MAX_WRITES {
        let Some(mut channel) = api.get_opt(name).await.attempt("read channel", name)? else {
            return Ok(None);
        };
        let seen = look(channel.clone()).await?;
        let mut status = channel.status.clone().unwrap_or_default();
        if !change(&channel, &mut status, seen)? {
            return Ok(Some(channel));
        }
        ledger::recompute(&mut status, Timestamp::now().as_second()).map_err(|source| Error::Money {
            object: describe(&channel),
            source,
        })?;
        if channel.status.as_ref() == Some(&status) {
            return Ok(Some(channel));
        }
        channel.status = Some(status);
        match api.replace_status(name, &PostParams::default(), &channel).await {
            Ok(written) => return Ok(Some(written)),
            Err(kube::Error::Api(response)) if response.code == 409 => {}
            Err(error) => return Err(error).attempt("write the ledger of", describe(&channel)),
        }
    }
    Err(Error::Contended {
        object: format!("PaymentChannel {name}"),
        attempts: MAX_WRITES,
    })
}
