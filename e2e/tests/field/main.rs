//! Clusters as people have them: upgrades and rollbacks under work, drained nodes, guarded namespaces, quotas, two
//! operators, either family of addresses.
//!
//! They run as the other end-to-end tests do, one after the other, on a stack that is there. Those that change the
//! stack put it back, whatever happens.

mod definitions;
mod drain;
mod families;
mod operators;
mod quota;
mod restricted;
mod upgrade;
mod when_all_is_done;

use anyhow::Result;
use e2e::{
    farm::Farm,
    run::{and_then_restore, on_bare_stack, on_stack},
};

/// Enough requests that a job still runs while the world around it is changed.
const REQUESTS: usize = 140;
/// What they may cost at most, in nanoTON: each answer of 32 tokens costs a hundredth of a TON.
const BUDGET: u64 = 1_600_000_000;

/// Submits a job, and waits until it has delivered some of its requests and not all.
async fn run_to_the_middle(farm: &Farm<'_>, name: &str) -> Result<()> {
    farm.submit(name, &e2e::farm::prompts(REQUESTS), BUDGET).await?;
    farm.wait_for_the_middle_of(name).await?;
    Ok(())
}
