//! Whoever merely knows a contract's address keeps nobody from using it.

use anyhow::{Result, ensure};
use cocoon_api::{conditions, crd::PaymentChannel};
use e2e::{
    farm::{CHANNEL, Farm, Offer},
    wait,
};
use serde_json::json;

use super::on_stack;

#[test]
fn an_object_that_the_payer_did_not_sign_for_holds_no_contract() -> Result<()> {
    const SQUATTER: &str = "a-squatter";
    on_stack("squatting", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        let channels = farm.api::<PaymentChannel>();
        // Everything that is public of the channel, its voucher and its binding included.
        let spec = serde_json::to_value(&channels.get(CHANNEL).await?.spec)?;
        farm.create::<PaymentChannel>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel", "metadata": {"name": SQUATTER}, "spec": spec,
        }))
        .await?;
        let is_unbound = |channel: &PaymentChannel| {
            let list = channel
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            conditions::find(list, "Funded").is_some_and(|funded| funded.reason == "Unbound")
        };
        wait::object(&channels, SQUATTER, "the squatter is not bound", is_unbound).await?;
        farm.submit("pays", &["Once upon a time"], 300_000_000).await?;
        farm.wait_for("pays", "Settled").await?;
        let squatter = channels.get(SQUATTER).await?.status.unwrap_or_default();
        ensure!(
            squatter.available == "0" && squatter.reservations.is_empty(),
            "{squatter:?}"
        );
        Ok(())
    })
}
