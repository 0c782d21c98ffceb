//! The run of a launch.

use crate::exec::Machine;
use crate::launch::check;
use crate::{Counters, Fault, Launch, LaunchError, Limits, Memory};

/// Why a run ended without counters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It could not begin.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A checker stopped it.
    #[error(transparent)]
    Fault(Box<Fault>),
}

/// Runs a kernel to its end, its blocks on up to `cores` host threads.
///
/// # Errors
/// [`RunError::Launch`] when the launch cannot begin on a device with these limits, [`RunError::Fault`] when a checker
/// stopped it; what the kernel wrote before that stays written.
pub fn run(
    launch: &Launch<'_>,
    memory: &Memory,
    limits: &Limits,
    cores: usize,
) -> Result<Counters, RunError> {
    check(launch, limits)?;
    Machine::new(launch, memory, limits)
        .run(cores)
        .map_err(RunError::Fault)
}
