//! Modules and their functions.

mod assertion;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use testbed_ptx::{ParseErrorKind, Space};

use crate::config::presets::SHARED_PER_BLOCK;
use crate::device::Device;
use crate::error::{Code, Result};
use crate::handle::Table;
use crate::log;
use crate::memory::{Allocations, Kind};

/// A loaded module.
#[derive(Debug)]
pub struct Module {
    /// Its context.
    pub context: u64,
    /// The card of its context.
    pub device: Arc<Device>,
    /// The PTX, decoded for the card.
    pub ptx: testbed_ptx::Module,
    /// Addresses of its variables, in the order of the text.
    pub variables: Vec<u64>,
    functions: Mutex<HashMap<String, u64>>,
    /// Where `__assertfail` traps, if the module can.
    assertion_line: Option<u32>,
}

/// A kernel of a module.
#[derive(Debug)]
pub struct Function {
    /// Its context.
    pub context: u64,
    /// Its module.
    pub module: Arc<Module>,
    /// Its place among the module's kernels.
    pub place: usize,
    /// Dynamic shared memory that it may be launched with.
    pub dynamic_shared: AtomicI32,
    /// What it prefers, which has no effect.
    pub carveout: AtomicI32,
}

/// Why a module could not be loaded: the code, and what the JIT's log says.
#[derive(Debug, PartialEq, Eq)]
pub struct Unloadable {
    /// The code of the call.
    pub code: Code,
    /// For the log buffer.
    pub message: String,
}

impl Module {
    /// Loads PTX into a context, which is on this card.
    pub fn load(
        allocations: &Allocations,
        context: u64,
        device: &Arc<Device>,
        text: &str,
    ) -> std::result::Result<Self, Unloadable> {
        let (text, assertion_line) = assertion::provide(text);
        let ptx = testbed_ptx::Module::parse(&text, device.capability()).map_err(|problem| Unloadable {
            code: match problem.kind {
                ParseErrorKind::UnsupportedVersion => Code::UNSUPPORTED_PTX_VERSION,
                _ => Code::INVALID_PTX,
            },
            message: format!("error: {problem}"),
        })?;
        let full = |code| Unloadable {
            code,
            message: "error: the card's memory cannot hold the module's variables".into(),
        };
        let bytes = |variable: &testbed_ptx::Variable| variable.size.max(1);
        let give_back = |variables: &[testbed_ptx::Variable]| {
            for variable in variables {
                device.give(bytes(variable));
            }
        };
        for (place, variable) in ptx.globals().iter().enumerate() {
            if let Err(code) = device.take(bytes(variable)) {
                give_back(&ptx.globals()[..place]);
                return Err(full(code));
            }
        }
        let Ok(variables) = ptx.place(&device.memory) else {
            give_back(ptx.globals());
            return Err(full(Code::OUT_OF_MEMORY));
        };
        for (variable, address) in ptx.globals().iter().zip(&variables) {
            allocations.add(*address, bytes(variable), context, device, Kind::Variable);
        }
        let functions = Mutex::default();
        Ok(Self {
            context,
            device: Arc::clone(device),
            ptx,
            variables,
            functions,
            assertion_line,
        })
    }

    /// The handle of a kernel in the table of all kernels.
    pub fn function(self: &Arc<Self>, all: &Table<Function>, name: &str) -> Result<u64> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = functions.get(name) {
            return Ok(*handle);
        }
        let place = self
            .ptx
            .kernels()
            .iter()
            .position(|kernel| kernel.name() == name)
            .ok_or(Code::NOT_FOUND)?;
        let fixed = i32::try_from(self.ptx.kernels()[place].shared_bytes()).unwrap_or(i32::MAX);
        let default = i32::try_from(SHARED_PER_BLOCK).unwrap_or(i32::MAX);
        let handle = all.add(Function {
            context: self.context,
            module: Arc::clone(self),
            place,
            dynamic_shared: AtomicI32::new((default - fixed).max(0)),
            carveout: AtomicI32::new(-1),
        });
        functions.insert(name.to_owned(), handle);
        Ok(handle)
    }

    /// Address and bytes of a variable.
    pub fn variable(&self, name: &str) -> Result<(u64, u64)> {
        let mut variables = self.ptx.globals().iter().zip(&self.variables);
        let found = variables.find(|(variable, _)| variable.name == name);
        found
            .map(|(variable, address)| (*address, variable.size))
            .ok_or(Code::NOT_FOUND)
    }

    /// Unloads it with its functions and variables.
    pub fn unload(self: &Arc<Self>, all: &Table<Function>, allocations: &Allocations) {
        all.remove_all(|function| Arc::ptr_eq(&function.module, self));
        for address in &self.variables {
            let variable = |kind: &Kind| matches!(kind, Kind::Variable);
            if let Err(code) = allocations.release(*address, variable, "cuModuleUnload") {
                log::say(&format!(
                    "a variable of a module was gone before the module: {code}"
                ));
            }
        }
    }
}

impl Function {
    /// The kernel.
    pub fn kernel(&self) -> &testbed_ptx::Kernel {
        &self.module.ptx.kernels()[self.place]
    }

    /// Most threads of a block.
    pub fn max_threads(&self) -> u32 {
        self.kernel()
            .max_threads()
            .unwrap_or(u32::MAX)
            .min(self.module.device.limits.threads)
    }

    /// 32-bit registers of a thread: what a compiler to machine code could do with, which is at most 255.
    pub fn registers(&self) -> u32 {
        self.kernel().registers().clamp(1, 255)
    }

    /// The value of a `CUfunction_attribute`.
    pub fn attribute(&self, attribute: i32) -> Result<i32> {
        let kernel = self.kernel();
        let (major, minor) = self.module.device.card.capability;
        let version = major * 10 + minor;
        let constants = |variable: &&testbed_ptx::Variable| variable.space == Space::Constant;
        let value = match attribute {
            0 => u64::from(self.max_threads()),
            1 => u64::from(kernel.shared_bytes()),
            2 => self
                .module
                .ptx
                .globals()
                .iter()
                .filter(constants)
                .map(|variable| variable.size)
                .sum(),
            3 => u64::from(kernel.local_bytes()),
            4 => u64::from(self.registers()),
            5 | 6 => u64::from(version),
            7 | 10..=15 => 0,
            8 => return Ok(self.dynamic_shared.load(Ordering::Relaxed)),
            9 => return Ok(self.carveout.load(Ordering::Relaxed)),
            _ => return Err(Code::INVALID_VALUE),
        };
        Ok(i32::try_from(value).unwrap_or(i32::MAX))
    }

    /// Sets an attribute; only two can be set.
    pub fn set_attribute(&self, attribute: i32, value: i32) -> Result<()> {
        match attribute {
            8 => {
                let opt_in = crate::config::presets::limits(self.module.device.card.capability).shared_opt_in;
                let most = i64::from(opt_in) - i64::from(self.kernel().shared_bytes());
                if value < 0 || i64::from(value) > most {
                    return Err(log::refuse(
                        Code::INVALID_VALUE,
                        &format!(
                            "cuFuncSetAttribute: kernel {} may have at most {most} bytes of dynamic shared memory on {}, not {value}",
                            self.kernel().name(),
                            self.module.device.card.name,
                        ),
                    ));
                }
                self.dynamic_shared.store(value, Ordering::Relaxed);
            }
            9 if (-1..=100).contains(&value) => self.carveout.store(value, Ordering::Relaxed),
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }
}
