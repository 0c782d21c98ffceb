//! Modules, functions, and how much of them fits on a card.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Instant;

use super::guard::{In, Out, Text, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::launch::occupancy;
use crate::log;
use crate::module::Module;
use crate::stream::capture;

/// First bytes of images that are not PTX: machine code, and bundles of it.
const ELF: &[u8] = b"\x7fELF";
const FAT_BINARY: &[u8] = &[0x50, 0xed, 0x55, 0xba];

/// The options of the JIT that have an effect: where its logs go, and how long it took.
#[derive(Default)]
struct Jit {
    info: Log,
    error: Log,
    wall_time: Option<Out<u64>>,
}

/// A log buffer of the caller's, and where its filled length goes.
#[derive(Default)]
struct Log {
    buffer: Option<Out<c_char>>,
    size: usize,
    filled: Option<Out<u64>>,
}

impl Jit {
    /// Reads options and their values, which are numbers or addresses in the place of pointers.
    fn read(count: u32, options: In<i32>, values: Out<u64>) -> Result<Self> {
        let mut jit = Self::default();
        for place in 0..count as usize {
            let (option, value) = (options.at(place)?, values.at(place));
            let number = value.read()?;
            match option {
                2 => jit.wall_time = Some(value),
                3 => jit.info.buffer = Some(value.cast::<Out<c_char>>().read()?),
                4 => (jit.info.size, jit.info.filled) = (low(number), Some(value)),
                5 => jit.error.buffer = Some(value.cast::<Out<c_char>>().read()?),
                6 => (jit.error.size, jit.error.filled) = (low(number), Some(value)),
                0..=35 => {}
                _ => return Err(Code::INVALID_VALUE),
            }
        }
        Ok(jit)
    }
}

/// A size is an `unsigned int` in the place of a pointer.
fn low(number: u64) -> usize {
    (number & 0xffff_ffff) as usize
}

impl Log {
    /// Writes the text with its final zero as far as the buffer goes, and the length that was filled.
    fn write(&self, text: &str) {
        let mut filled = 0;
        if let Some(buffer) = self.buffer.filter(|buffer| buffer.given() && self.size > 0) {
            for (place, byte) in text.bytes().take(self.size - 1).chain([0]).enumerate() {
                buffer.at(place).maybe(byte.cast_signed());
                filled = place + 1;
            }
        }
        if let Some(length) = self.filled {
            length.maybe(filled as u64);
        }
    }
}

fn load(driver: &Driver, module: Out<u64>, image: Text, jit: &Jit) -> Result<()> {
    module.wanted()?;
    let context = driver.current()?;
    capture::forbid_unsafe("cuModuleLoadData")?;
    let image = image.get()?.to_bytes();
    if image.starts_with(ELF) || image.starts_with(FAT_BINARY) {
        jit.error
            .write("error: the image is machine code for a card; this driver executes PTX text alone");
        return Err(log::refuse(
            Code::NO_BINARY_FOR_GPU,
            "cuModuleLoadData: the image is machine code, not PTX text",
        ));
    }
    let begun = Instant::now();
    let text = String::from_utf8_lossy(image);
    match Module::load(&driver.allocations, context.handle, context.device(), &text) {
        Ok(loaded) => {
            jit.info.write("info: decoded for the interpreter");
            jit.error.write("");
            if let Some(time) = jit.wall_time {
                time.cast::<f32>().maybe(begun.elapsed().as_secs_f32() * 1_000.0);
            }
            module.set(driver.modules.add(loaded))
        }
        Err(problem) => {
            jit.info.write("");
            jit.error.write(&problem.message);
            Err(log::refuse(
                problem.code,
                &format!("cuModuleLoadData: {}", problem.message),
            ))
        }
    }
}

fn function(driver: &Driver, function: Out<u64>, module: u64, name: Text) -> Result<()> {
    function.wanted()?;
    driver.current()?;
    let (module, name) = (driver.modules.get(module)?, name.utf8()?);
    function.set(module.function(&driver.functions, name).map_err(|code| {
        let known: Vec<_> = module
            .ptx
            .kernels()
            .iter()
            .map(testbed_ptx::Kernel::name)
            .collect();
        log::refuse(
            code,
            &format!(
                "cuModuleGetFunction: no kernel is named {name}; the module has {}",
                known.join(", ")
            ),
        )
    })?)
}

/// A block size as the API gives it.
fn threads(block: i32) -> Result<u32> {
    u32::try_from(block)
        .ok()
        .filter(|threads| *threads > 0)
        .ok_or(Code::INVALID_VALUE)
}

fn shared(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn resident(driver: &Driver, blocks: Out<i32>, function: u64, block: i32, dynamic: usize) -> Result<()> {
    blocks.wanted()?;
    let function = driver.functions.get(function)?;
    let found = occupancy::blocks(&function, threads(block)?, shared(dynamic));
    blocks.set(i32::try_from(found).unwrap_or(i32::MAX))
}

/// `CUoccupancyB2DSize`.
type SharedOfBlock = Option<extern "C" fn(i32) -> usize>;

fn suggest(
    driver: &Driver,
    results: (Out<i32>, Out<i32>),
    function: u64,
    of_block: SharedOfBlock,
    dynamic: usize,
    limit: i32,
) -> Result<()> {
    results.0.wanted()?;
    results.1.wanted()?;
    let function = driver.functions.get(function)?;
    let limit = u32::try_from(limit).map_err(|_| Code::INVALID_VALUE)?;
    let (grid, block) = occupancy::suggest(&function, limit, |block| {
        shared(of_block.map_or(dynamic, |of_block| {
            of_block(i32::try_from(block).unwrap_or(i32::MAX))
        }))
    });
    results.0.set(i32::try_from(grid).unwrap_or(i32::MAX))?;
    results.1.set(i32::try_from(block).unwrap_or(i32::MAX))
}

export! {
    enter cuModuleLoad(module: Out<u64>, path: Text) |driver| {
        module.wanted()?;
        driver.current()?;
        let path = path.utf8()?;
        let image = std::fs::read(path).map_err(|problem| {
            log::refuse(Code::FILE_NOT_FOUND, &format!("cuModuleLoad: cannot read {path}: {problem}"))
        })?;
        let end = image.iter().position(|byte| *byte == 0).unwrap_or(image.len());
        let image = std::ffi::CString::new(&image[..end]).map_err(|_| Code::INVALID_IMAGE)?;
        load(driver, module, Text::of(&image), &Jit::default())
    }

    enter cuModuleLoadData(module: Out<u64>, image: Text) |driver| { load(driver, module, image, &Jit::default()) }

    enter cuModuleLoadDataEx(module: Out<u64>, image: Text, count: u32, options: In<i32>, values: Out<u64>) |driver| {
        load(driver, module, image, &Jit::read(count, options, values)?)
    }

    enter cuModuleLoadFatBinary(_module: Out<u64>, _image: Text) |driver| {
        driver.current()?;
        Err(log::refuse(Code::NO_BINARY_FOR_GPU, "cuModuleLoadFatBinary: the image is machine code, not PTX text"))
    }

    enter cuModuleUnload(module: u64) |driver| {
        let context = driver.current()?;
        capture::forbid_unsafe("cuModuleUnload")?;
        for stream in context.streams(&driver.streams) {
            stream.drain();
        }
        driver.modules.remove(module)?.unload(&driver.functions, &driver.allocations);
        Ok(())
    }

    enter cuModuleGetFunction(found: Out<u64>, module: u64, name: Text) |driver| { function(driver, found, module, name) }

    enter cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: u64, name: Text) |driver| {
        driver.current()?;
        if !address.given() && !bytes.given() {
            return Err(Code::INVALID_VALUE);
        }
        let (start, size) = driver.modules.get(module)?.variable(name.utf8()?)?;
        address.maybe(start);
        bytes.maybe(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(())
    }

    enter cuModuleGetLoadingMode(mode: Out<i32>) |_driver| { mode.set(1) }

    enter cuFuncGetAttribute(value: Out<i32>, attribute: i32, function: u64) |driver| {
        value.wanted()?;
        value.set(driver.functions.get(function)?.attribute(attribute)?)
    }

    enter cuFuncSetAttribute(function: u64, attribute: i32, value: i32) |driver| {
        driver.functions.get(function)?.set_attribute(attribute, value)
    }

    enter cuFuncSetCacheConfig(function: u64, config: i32) |driver| {
        driver.functions.get(function)?;
        if (0..=3).contains(&config) { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    enter cuFuncSetSharedMemConfig(function: u64, config: i32) |driver| {
        driver.functions.get(function)?;
        if (0..=2).contains(&config) { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    enter cuFuncGetModule(module: Out<u64>, function: u64) |driver| {
        module.wanted()?;
        let function = driver.functions.get(function)?;
        module.set(driver.modules.find(|other| Arc::ptr_eq(other, &function.module)).ok_or(Code::INVALID_HANDLE)?)
    }

    enter cuFuncGetParamInfo(function: u64, place: usize, offset: Out<usize>, size: Out<usize>) |driver| {
        offset.wanted()?;
        let function = driver.functions.get(function)?;
        let parameter = function.kernel().parameters().get(place).ok_or(Code::INVALID_VALUE)?;
        size.maybe(parameter.size);
        offset.set(parameter.offset)
    }

    enter cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: Out<i32>, function: u64, block: i32, dynamic: usize) |driver| {
        resident(driver, blocks, function, block, dynamic)
    }

    enter cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: Out<i32>,
        function: u64,
        block: i32,
        dynamic: usize,
        flags: u32,
    ) |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        resident(driver, blocks, function, block, dynamic)
    }

    enter cuOccupancyMaxPotentialBlockSize(
        grid: Out<i32>,
        block: Out<i32>,
        function: u64,
        of_block: SharedOfBlock,
        dynamic: usize,
        limit: i32,
    ) |driver| {
        suggest(driver, (grid, block), function, of_block, dynamic, limit)
    }

    enter cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<i32>,
        block: Out<i32>,
        function: u64,
        of_block: SharedOfBlock,
        dynamic: usize,
        limit: i32,
        flags: u32,
    ) |driver| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        suggest(driver, (grid, block), function, of_block, dynamic, limit)
    }

    enter cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: u64, blocks: i32, block: i32) |driver| {
        bytes.wanted()?;
        let function = driver.functions.get(function)?;
        if threads(block)? > function.max_threads() {
            return Err(Code::INVALID_VALUE);
        }
        bytes.set(occupancy::available_shared(&function, threads(blocks)?) as usize)
    }

    enter cuOccupancyMaxPotentialClusterSize(_size: Out<i32>, function: u64, _configuration: In<u8>) |driver| {
        driver.functions.get(function)?;
        Err(log::refuse(Code::NOT_SUPPORTED, "cuOccupancyMaxPotentialClusterSize: clusters of blocks are not simulated"))
    }

    enter cuOccupancyMaxActiveClusters(_count: Out<i32>, function: u64, _configuration: In<u8>) |driver| {
        driver.functions.get(function)?;
        Err(log::refuse(Code::NOT_SUPPORTED, "cuOccupancyMaxActiveClusters: clusters of blocks are not simulated"))
    }
}
