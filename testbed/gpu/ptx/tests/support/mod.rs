//! A small driver over the machine for tests: memory of one card, one module, launches with typed arguments.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::redundant_closure_for_method_calls,
    reason = "each test binary uses its own part"
)]

use testbed_ptx::{Capability, Counters, Fault, Launch, LaunchError, Limits, Memory, Module, RunError, run};

/// The capability that tests run on unless they say otherwise: the newest.
pub const NEWEST: Capability = Capability { major: 9, minor: 0 };

/// A card with one module loaded.
pub struct Card {
    pub memory: Memory,
    pub module: Module,
    pub globals: Vec<u64>,
    pub limits: Limits,
    pub cores: usize,
    pub watched: Option<(u64, u64)>,
}

/// An argument of a launch.
pub enum Argument {
    Pointer(u64),
    Int(i32),
    Float(f32),
    Bytes(Vec<u8>),
}

impl Card {
    /// Loads a module on a fresh card of 64 MiB.
    pub fn new(text: &str) -> Self {
        let module = Module::parse(text, NEWEST).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let memory = Memory::new(64 << 20);
        let globals = module.place(&memory).expect("room for the module's variables");
        Self {
            memory,
            module,
            globals,
            limits: Limits::of(NEWEST),
            cores: 2,
            watched: None,
        }
    }

    /// Device memory that holds these values.
    pub fn put<T: Copy + Value>(&self, values: &[T]) -> u64 {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.bytes()).collect();
        let address = self.memory.allocate(bytes.len() as u64).expect("room");
        self.memory.write(address, &bytes).expect("within");
        address
    }

    /// Device memory that nobody wrote.
    pub fn room(&self, bytes: u64) -> u64 {
        self.memory.allocate(bytes).expect("room")
    }

    /// Values of device memory.
    pub fn get<T: Copy + Value>(&self, address: u64, count: usize) -> Vec<T> {
        let mut bytes = vec![0; count * size_of::<T>()];
        self.memory.read(address, &mut bytes).expect("within");
        bytes.chunks(size_of::<T>()).map(T::from_bytes).collect()
    }

    /// Runs a kernel.
    pub fn try_run(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        arguments: &[Argument],
    ) -> Result<Counters, RunError> {
        let kernel = self
            .module
            .kernel(name)
            .unwrap_or_else(|| panic!("no kernel {name}"));
        let mut parameters = vec![0; kernel.parameter_bytes()];
        for (parameter, argument) in kernel.parameters().iter().zip(arguments) {
            let bytes = match argument {
                Argument::Pointer(address) => address.to_le_bytes().to_vec(),
                Argument::Int(value) => value.to_le_bytes().to_vec(),
                Argument::Float(value) => value.to_le_bytes().to_vec(),
                Argument::Bytes(bytes) => bytes.clone(),
            };
            assert_eq!(bytes.len(), parameter.size, "size of {}", parameter.name);
            parameters[parameter.offset..parameter.offset + parameter.size].copy_from_slice(&bytes);
        }
        assert_eq!(arguments.len(), kernel.parameters().len(), "arguments of {name}");
        let launch = Launch {
            module: &self.module,
            kernel,
            globals: &self.globals,
            grid,
            block,
            shared_bytes,
            parameters: &parameters,
            watched: self.watched,
        };
        run(&launch, &self.memory, &self.limits, self.cores)
    }

    /// Runs a kernel that must succeed.
    pub fn run(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        arguments: &[Argument],
    ) -> Counters {
        self.try_run(name, grid, block, shared_bytes, arguments)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a kernel that a checker must stop.
    pub fn fault(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        arguments: &[Argument],
    ) -> Fault {
        match self.try_run(name, grid, block, shared_bytes, arguments) {
            Err(RunError::Fault(fault)) => *fault,
            other => panic!("{name} was not stopped: {other:?}"),
        }
    }

    /// Runs a kernel that must not begin.
    pub fn refused(
        &self,
        name: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        arguments: &[Argument],
    ) -> LaunchError {
        match self.try_run(name, grid, block, shared_bytes, arguments) {
            Err(RunError::Launch(error)) => error,
            other => panic!("{name} was not refused: {other:?}"),
        }
    }
}

/// A value that lies in device memory.
pub trait Value {
    fn bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! values {
    ($($t:ty),*) => { $(
        impl Value for $t {
            fn bytes(&self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn from_bytes(bytes: &[u8]) -> Self { Self::from_le_bytes(bytes.try_into().expect("its size")) }
        }
    )* };
}
values!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

/// Numbers that look random and are the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Between -1 and 1.
    pub fn float(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    pub fn bytes(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| (self.next() % 255) as i64 as i8).collect()
    }
}
