//! The run of a launch, and the code of what stopped it.

use testbed_ptx::{FaultKind, Launch, RunError};

use super::Launching;
use super::{estimate, record};
use crate::error::{Code, Result};
use crate::log;
use crate::memory::mirror::Mirror;

impl Launching {
    /// Runs the kernel to its end.
    pub fn run(&self) -> Result<()> {
        let (module, device) = (&self.function.module, &self.function.module.device);
        if device.card.skips.as_deref() == Some(self.function.kernel().name()) {
            device.launched();
            return Ok(());
        }
        let launch = Launch {
            module: &module.ptx,
            kernel: self.function.kernel(),
            globals: &module.variables,
            grid: self.shape.grid,
            block: self.shape.block,
            shared_bytes: self.shape.shared,
            parameters: &self.parameters,
            watched: None,
        };
        let mirror = Mirror::begin(&self.allocations, device, &self.parameters);
        let ran = testbed_ptx::run(&launch, &device.memory, &device.limits, self.workers);
        mirror.end(device);
        match ran {
            Ok(counters) => {
                device.launched();
                let estimate = estimate::of(&device.card, &counters);
                if let Some(estimate) = &estimate {
                    device.clock.advance(estimate.microseconds);
                }
                record::completed(self, &counters, estimate);
                Ok(())
            }
            Err(RunError::Fault(mut fault)) => {
                let mut code = code_of(fault.kind);
                if let Some(said) = module.assertion(&fault) {
                    code = Code::ASSERT;
                    fault.message = said;
                }
                record::stopped(self, &fault, code);
                Err(code)
            }
            Err(RunError::Launch(problem)) => {
                Err(log::refuse(Code::LAUNCH_OUT_OF_RESOURCES, &problem.to_string()))
            }
        }
    }
}

/// The code that a card gives for what a checker found. What a card would not notice at all, such as races and reads of
/// memory that nothing wrote, is `CUDA_ERROR_LAUNCH_FAILED`.
fn code_of(kind: FaultKind) -> Code {
    match kind {
        FaultKind::OutOfBounds | FaultKind::Freed | FaultKind::Null => Code::ILLEGAL_ADDRESS,
        FaultKind::Misaligned => Code::MISALIGNED_ADDRESS,
        FaultKind::WrongSpace => Code::INVALID_ADDRESS_SPACE,
        FaultKind::StackOverflow => Code::HARDWARE_STACK_ERROR,
        FaultKind::Jump => Code::INVALID_PC,
        FaultKind::Timeout => Code::LAUNCH_TIMEOUT,
        _ => Code::LAUNCH_FAILED,
    }
}
