//! A card in software, and its memory as tests see it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use gpu_agent::backend::cuda::launch::{Argument, Shape};
use gpu_agent::backend::cuda::selftest::plain::Plain;
use testbed_ptx::{Capability, Counters, Fault, Launch, Limits, Memory, Module, RunError, run};

/// More than the largest case needs.
const MEMORY_BYTES: u64 = 1 << 30;
/// A kernel of these sizes needs less than a hundredth of it: a bug that loops for ever ends here.
const INSTRUCTIONS: u64 = 1 << 26;

/// A list of arguments of any types.
#[macro_export]
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$(gpu_agent::backend::cuda::launch::Argument::from($value)),*][..] };
}

/// Launches of one kernel.
#[derive(Debug, Clone)]
pub struct Launched {
    /// What all of them did.
    pub counters: Counters,
    /// The shape of the last one.
    pub shape: Shape,
}

/// A card of one compute capability.
pub struct Card {
    memory: Memory,
    device: Capability,
    launched: RefCell<BTreeMap<String, Launched>>,
    watched: Cell<Option<(u64, u64)>>,
}

impl Card {
    /// Of `sm`, the generation times ten plus the step.
    pub fn new(sm: u32) -> Self {
        Self {
            memory: Memory::new(MEMORY_BYTES),
            device: Capability {
                major: sm / 10,
                minor: sm % 10,
            },
            launched: RefCell::default(),
            watched: Cell::default(),
        }
    }

    /// Copies values to the card.
    pub fn upload<P: Plain>(&self, values: &[P]) -> u64 {
        let mut bytes = Vec::new();
        for value in values {
            value.put(&mut bytes);
        }
        let address = self.memory.allocate(bytes.len() as u64).expect("memory is left");
        self.memory.write(address, &bytes).expect("just allocated");
        address
    }

    /// Writes bytes into memory that was reserved.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes).expect("allocated");
    }

    /// Memory for values that nothing wrote.
    pub fn reserve<P: Plain>(&self, count: usize) -> u64 {
        self.memory
            .allocate((count * P::SIZE) as u64)
            .expect("memory is left")
    }

    /// Reads values, all of which must have been written.
    pub fn download<P: Plain>(&self, address: u64, count: usize) -> Vec<P> {
        let mut bytes = vec![0; count * P::SIZE];
        let written = self.memory.is_written(address, bytes.len() as u64);
        assert_eq!(written, Ok(true), "a kernel left some of its result unwritten");
        self.memory.read(address, &mut bytes).expect("allocated");
        bytes.chunks_exact(P::SIZE).map(P::take).collect()
    }

    /// Parses a module for this card.
    pub fn module(&self, ptx: &str) -> Module {
        Module::parse(ptx, self.device).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a kernel to its end.
    pub fn run(&self, module: &Module, kernel: &str, shape: Shape, arguments: &[Argument]) -> Counters {
        self.try_run(module, kernel, shape, arguments)
            .unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Counts the loads of these bytes apart from now on.
    pub fn watch(&self, address: u64, bytes: usize) {
        self.watched.set(Some((address, bytes as u64)));
    }

    /// Launches so far, by kernel.
    pub fn launched(&self) -> BTreeMap<String, Launched> {
        self.launched.borrow().clone()
    }

    /// As [`Card::run`], for kernels that a checker is to stop.
    pub fn try_run(
        &self,
        module: &Module,
        kernel: &str,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<Counters, Box<Fault>> {
        let kernel = module
            .kernel(kernel)
            .unwrap_or_else(|| panic!("the module has no kernel {kernel}"));
        let mut parameters = vec![0; kernel.parameter_bytes()];
        assert_eq!(kernel.parameters().len(), arguments.len(), "{}", kernel.name());
        for (parameter, bytes) in kernel
            .parameters()
            .iter()
            .zip(arguments.iter().map(Argument::bytes))
        {
            assert_eq!(bytes.len(), parameter.size, "{}", parameter.name);
            parameters[parameter.offset..][..parameter.size].copy_from_slice(bytes);
        }
        let globals = module.place(&self.memory).expect("memory is left");
        let small = |extents: [usize; 3]| extents.map(|extent| u32::try_from(extent).expect("small"));
        let launch = Launch {
            module,
            kernel,
            globals: &globals,
            grid: small(shape.grid),
            block: small(shape.block),
            shared_bytes: u32::try_from(shape.shared_bytes).expect("small"),
            parameters: &parameters,
            watched: self.watched.get(),
        };
        let limits = Limits {
            // What a launch gets without being asked for more.
            shared_bytes: 48 * 1024,
            instructions: INSTRUCTIONS,
            ..Limits::of(self.device)
        };
        let counters = run(&launch, &self.memory, &limits, 2).map_err(|error| match error {
            RunError::Launch(error) => panic!("{error}"),
            RunError::Fault(fault) => fault,
        })?;
        let mut launched = self.launched.borrow_mut();
        let of = launched
            .entry(kernel.name().to_owned())
            .or_insert_with(|| Launched {
                counters: Counters::default(),
                shape,
            });
        of.counters += &counters;
        of.shape = shape;
        Ok(counters)
    }
}

/// The committed PTX of a module, by its name without its ending.
pub fn ptx(module: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/ptx/{module}.ptx"));
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask kernels`", path.display()))
}

/// Compares bit by bit; NaN equals NaN, since its payload is no part of the arithmetic.
#[track_caller]
pub fn assert_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            same(*got, *expected),
            "{what}: value {index} is {got:e}, not {expected:e}"
        );
    }
}

/// Whether two floats have the same bits, or are both NaN.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}
