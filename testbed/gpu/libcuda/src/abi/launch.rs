//! Launches of kernels.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::guard::{In, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::launch::{Launching, Shape};
use crate::log;
use crate::module::Function;
use crate::stream::work::Work;

/// The ways to pass arguments: an address for each parameter, or one block with its size between markers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arguments {
    /// `kernelParams`.
    pub each: In<In<u8>>,
    /// `extra`.
    pub block: In<In<usize>>,
}

/// Markers in `extra`: the end, the block's address, the address of its size.
const END: usize = 0;
const BUFFER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// Entries of `extra` that are read: each marker with its value, twice over; a list without an end is an error.
const MOST_MARKERS: usize = 4;

impl Arguments {
    /// The parameter block of a kernel.
    fn read(self, function: &Function) -> Result<Vec<u8>> {
        let kernel = function.kernel();
        let missing = |what: &str| {
            log::refuse(
                Code::INVALID_VALUE,
                &format!("launch of {}: {what}", kernel.name()),
            )
        };
        let mut parameters = vec![0; kernel.parameter_bytes()];
        if parameters.is_empty() {
            return Ok(parameters);
        }
        if self.each.given() && self.block.given() {
            return Err(missing("arguments are passed in both ways"));
        }
        if self.block.given() {
            let bytes = self
                .buffer()
                .map_err(|_| missing("the list of arguments in `extra` is not complete"))?;
            if bytes.len() < parameters.len() {
                let (given, wanted) = (bytes.len(), parameters.len());
                return Err(missing(&format!(
                    "{given} bytes of arguments are given where the kernel takes {wanted}"
                )));
            }
            let wanted = parameters.len();
            parameters.copy_from_slice(&bytes[..wanted]);
            return Ok(parameters);
        }
        if !self.each.given() {
            return Err(missing(&format!(
                "it takes {} arguments and is given none",
                kernel.parameters().len()
            )));
        }
        for (place, parameter) in kernel.parameters().iter().enumerate() {
            let value = self
                .each
                .at(place)
                .and_then(|address| address.bytes(parameter.size));
            let value =
                value.map_err(|_| missing(&format!("the address of argument {} is null", place + 1)))?;
            parameters[parameter.offset..parameter.offset + parameter.size].copy_from_slice(&value);
        }
        Ok(parameters)
    }

    /// The bytes that `extra` describes.
    fn buffer(self) -> Result<Vec<u8>> {
        let (mut address, mut size) = (None, None);
        for pair in 0..MOST_MARKERS {
            let marker: In<usize> = self.block.at(pair * 2)?;
            match marker.address() {
                END => break,
                BUFFER => address = Some(self.block.at(pair * 2 + 1)?),
                BUFFER_SIZE => size = Some(self.block.at(pair * 2 + 1)?.get()?),
                _ => return Err(Code::INVALID_VALUE),
            }
        }
        match (address, size) {
            (Some(address), Some(size)) => address.bytes(size),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}

/// Checks a launch and takes its arguments along. `context` is that of the stream or graph.
pub fn prepare(
    driver: &Driver,
    function: u64,
    context: u64,
    stream: u64,
    shape: Shape,
    arguments: Arguments,
    cooperative: bool,
) -> Result<Arc<Launching>> {
    let function = driver.functions.get(function)?;
    if function.context != context {
        let name = function.kernel().name();
        let what = format!("launch of {name}: the kernel was loaded in another context than the stream's");
        return Err(log::refuse(Code::INVALID_HANDLE, &what));
    }
    let parameters = arguments.read(&function)?;
    let launching = Launching {
        function,
        shape,
        parameters,
        cooperative,
        stream,
        in_graph: AtomicBool::new(false),
        allocations: Arc::clone(&driver.allocations),
        workers: driver.config.workers,
    };
    launching.check()?;
    Ok(Arc::new(launching))
}

fn launch(
    driver: &Driver,
    function: u64,
    shape: Shape,
    stream: u64,
    arguments: Arguments,
    together: bool,
) -> Result<()> {
    let stream = driver.stream(stream)?;
    let launching = prepare(
        driver,
        function,
        stream.context,
        stream.handle,
        shape,
        arguments,
        together,
    )?;
    driver.submit(&stream, Work::Kernel(launching))
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: u64,
    attributes: In<Attribute>,
    count: u32,
}

/// `CUlaunchAttribute`: a number, and a value of 64 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
struct Attribute {
    id: i32,
    padding: [u8; 4],
    value: [u32; 16],
}

const COOPERATIVE: i32 = 2;
const CLUSTER: i32 = 4;

/// Most attributes of one launch: the API has fewer than 20 kinds, and each is given once.
const MOST_ATTRIBUTES: u32 = 64;

export! {
    enter cuLaunchKernel(
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        each: In<In<u8>>,
        block: In<In<usize>>,
    ) |driver| {
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared };
        launch(driver, function, shape, stream, Arguments { each, block }, false)
    }

    enter cuLaunchCooperativeKernel(
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        each: In<In<u8>>,
    ) |driver| {
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared };
        launch(driver, function, shape, stream, Arguments { each, block: In::null() }, true)
    }

    enter cuLaunchKernelEx(config: In<LaunchConfig>, function: u64, each: In<In<u8>>, block: In<In<usize>>) |driver| {
        let config = config.get()?;
        if config.count > MOST_ATTRIBUTES {
            return Err(Code::INVALID_VALUE);
        }
        let mut together = false;
        for place in 0..config.count as usize {
            let attribute = config.attributes.at(place)?;
            match attribute.id {
                COOPERATIVE => together = attribute.value[0] != 0,
                CLUSTER if attribute.value[..3].iter().any(|side| *side > 1) => {
                    return Err(log::refuse(Code::NOT_SUPPORTED, "cuLaunchKernelEx: clusters of blocks are not simulated"));
                }
                0..=18 => {}
                _ => return Err(Code::INVALID_VALUE),
            }
        }
        let shape = Shape { grid: config.grid, block: config.block, shared: config.shared };
        launch(driver, function, shape, config.stream, Arguments { each, block }, together)
    }
}
