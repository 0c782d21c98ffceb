//! Any text as a module: an answer, and of its kernels that begin, an end within a bounded number of instructions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testbed_ptx::{Capability, Launch, Limits, Memory, Module, run};

fuzz_target!(|text: &str| {
    let device = Capability { major: 9, minor: 0 };
    let Ok(module) = Module::parse(text, device) else { return };
    let memory = Memory::new(1 << 20);
    let Ok(globals) = module.place(&memory) else { return };
    let limits = Limits { instructions: 10_000, ..Limits::of(device) };
    for kernel in module.kernels() {
        let parameters = vec![0; kernel.parameter_bytes()];
        let (grid, block) = ([1; 3], [33, 1, 1]);
        let launch = Launch { module: &module, kernel, globals: &globals, grid, block, shared_bytes: 0, parameters: &parameters, watched: None };
        let _outcome = run(&launch, &memory, &limits, 1);
    }
});
