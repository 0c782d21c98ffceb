//! One card: its driver, its memory, and the launch of kernels.
#![expect(
    unsafe_code,
    reason = "launches are unsafe, and so are some of the driver's functions"
)]

mod identity;
mod timing;
pub(super) mod transfer;

use std::collections::HashMap;
use std::ffi::{CStr, c_char};
use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr as _, DriverError, result, sys,
};
use cudarc::nvrtc::Ptx;

use super::error::{CAPABILITY, DRIVER_API, OpenError, device_error};
use super::launch::{Argument, Shape};
use super::library;
use super::modules;
use crate::backend::error::{AllocationError, DeviceError, DeviceFault};

/// Bytes of a place on the bus with its final zero, `0000:01:00.0`; the driver's documentation asks for 13 at least.
const BUS_BYTES: usize = 32;
/// The most parameters that a kernel has.
const MOST_ARGUMENTS: usize = 20;

/// An open card.
pub struct Device {
    name: String,
    /// Its number among the visible ones, its name and its place on the bus, as plans and errors name it.
    label: Arc<str>,
    capability: (i32, i32),
    multiprocessors: usize,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    loaded: HashMap<String, Arc<CudaModule>>,
    kernels: HashMap<(String, &'static str), CudaFunction>,
}

/// Device memory that was allocated once.
pub struct Buffer {
    slice: CudaSlice<u8>,
    address: u64,
}

impl Buffer {
    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its bytes.
    pub fn bytes(&self) -> usize {
        self.slice.len()
    }
}

impl Device {
    /// How many cards `CUDA_VISIBLE_DEVICES` leaves.
    ///
    /// # Errors
    /// There is no driver, or it cannot be loaded or is too old.
    pub fn count() -> Result<usize, OpenError> {
        library::ensure_loads()?;
        let driver = |source| OpenError::Driver { ordinal: 0, source };
        let found = driver_version().map_err(driver)?;
        if found < DRIVER_API {
            return Err(OpenError::DriverTooOld { found });
        }
        match result::init() {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
            other => other.map_err(|source| OpenError::Start { source })?,
        }
        let count = CudaContext::device_count().map_err(driver)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Opens card `ordinal` of those that `CUDA_VISIBLE_DEVICES` leaves.
    ///
    /// # Errors
    /// There is no driver or card that the kernels run on.
    pub fn open(ordinal: usize) -> Result<Self, OpenError> {
        let driver = |source| OpenError::Driver { ordinal, source };
        let count = Self::count()?;
        if ordinal >= count {
            let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
            return Err(OpenError::NoDevice {
                ordinal,
                count,
                visible,
            });
        }
        let context = CudaContext::new(ordinal).map_err(driver)?;
        let name = context.name().map_err(driver)?;
        let capability = context.compute_capability().map_err(driver)?;
        if capability < CAPABILITY {
            return Err(OpenError::CardTooOld {
                ordinal,
                name,
                capability,
            });
        }
        let multiprocessors = context
            .attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(driver)?;
        // SAFETY: one stream does all work on this card's memory, so that no event is needed to order it.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(driver)?;
        let label = match bus(&context) {
            Some(bus) => format!("GPU {ordinal} ({name}, {bus})"),
            None => format!("GPU {ordinal} ({name})"),
        };
        Ok(Self {
            name,
            label: label.into(),
            capability,
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1),
            context,
            stream,
            loaded: HashMap::new(),
            kernels: HashMap::new(),
        })
    }

    /// What the driver calls the card.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As errors name it.
    pub(super) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// What a failed call means for this card.
    pub(super) fn failed(&self, what: &str, error: DriverError) -> DeviceError {
        device_error(&self.label, what, error)
    }

    /// Compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// Multiprocessors.
    pub fn multiprocessors(&self) -> usize {
        self.multiprocessors
    }

    /// Bytes of memory that are free, and that the card has; zeros where it does not answer.
    pub fn memory(&self) -> (u64, u64) {
        self.context
            .mem_get_info()
            .map_or((0, 0), |(free, total)| (free as u64, total as u64))
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// All work on this card goes through this stream.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Allocates memory, which is zeros.
    ///
    /// # Errors
    /// The card has not so much left, or failed.
    pub fn allocate(&self, bytes: usize, what: &str) -> Result<Buffer, AllocationError> {
        let refused = |error| AllocationError {
            what: what.to_owned(),
            bytes: bytes as u64,
            available: self.memory().0,
            fault: self.failed(what, error).fault,
        };
        let slice = self.stream.alloc_zeros::<u8>(bytes.max(1)).map_err(refused)?;
        let address = slice.device_ptr(&self.stream).0;
        Ok(Buffer { slice, address })
    }

    /// Copies bytes to the card, behind all work that was given to it before.
    ///
    /// # Errors
    /// The device failed.
    pub fn upload(&self, to: &mut Buffer, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset + bytes.len();
        let mut part = to
            .slice
            .try_slice_mut(offset..end)
            .ok_or_else(|| too_small("a copy to the card", end))?;
        self.stream
            .memcpy_htod(bytes, &mut part)
            .map_err(|error| self.failed("a copy to the card", error))
    }

    /// Waits for all work, and copies bytes from the card.
    ///
    /// # Errors
    /// The device failed, in this or in earlier work.
    pub fn download(&self, from: &Buffer, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let failed = |error| self.failed("a copy from the card", error);
        if !bytes.is_empty() {
            let end = offset + bytes.len();
            let part = from
                .slice
                .try_slice(offset..end)
                .ok_or_else(|| too_small("a copy from the card", end))?;
            self.stream.memcpy_dtoh(&part, bytes).map_err(failed)?;
        }
        self.stream.synchronize().map_err(failed)
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// The device failed, in this or in earlier work.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.stream
            .synchronize()
            .map_err(|error| self.failed("work on the card", error))
    }

    /// Compiles a module for this card, unless that was done.
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn load(&mut self, module: &str) -> Result<(), DeviceError> {
        if self.loaded.contains_key(module) {
            return Ok(());
        }
        let text = modules::text(module).ok_or_else(|| DeviceError {
            fault: DeviceFault::Failed,
            what: format!("loading the kernels of {module}: the program does not hold them"),
        })?;
        self.load_text(module, text)
    }

    /// Compiles this text for this card, in place of the module of that name.
    ///
    /// # Errors
    /// The driver refuses it.
    pub fn load_text(&mut self, module: &str, text: &str) -> Result<(), DeviceError> {
        let what = format!("loading the kernels of {module}");
        let loaded = self
            .context
            .load_module(Ptx::from_src(text))
            .map_err(|error| self.failed(&what, error))?;
        self.loaded.insert(module.to_owned(), loaded);
        Ok(())
    }

    /// Launches a kernel behind all work that was given to the card before.
    ///
    /// # Errors
    /// The device failed, or the driver refuses the launch.
    pub(super) fn launch(
        &mut self,
        module: &str,
        kernel: &'static str,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<(), DeviceError> {
        let label = Arc::clone(&self.label);
        let failed = |error| device_error(&label, kernel, error);
        let key = (module.to_owned(), kernel);
        if !self.kernels.contains_key(&key) {
            self.load(module)?;
            let function = self.loaded[module].load_function(kernel).map_err(failed)?;
            self.kernels.insert(key.clone(), function);
        }
        let function = &self.kernels[&key];
        let mut pointers = [std::ptr::null_mut(); MOST_ARGUMENTS];
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = argument.bytes().as_ptr().cast_mut().cast();
        }
        self.context.bind_to_thread().map_err(failed)?;
        let small = |extents: [usize; 3]| {
            let [x, y, z] = extents.map(|extent| u32::try_from(extent).unwrap_or(u32::MAX));
            (x, y, z)
        };
        let shared = u32::try_from(shape.shared_bytes).unwrap_or(u32::MAX);
        // SAFETY: the arguments are those of the kernel, in order and of its sizes, as the kernels' tests use them;
        // their addresses are of buffers that live as long as this card's operations, and hold what `shape` covers. The
        // driver copies the arguments before it returns.
        unsafe {
            result::launch_kernel(
                function.cu_function(),
                small(shape.grid),
                small(shape.block),
                shared,
                self.stream.cu_stream(),
                &mut pointers[..arguments.len()],
            )
        }
        .map_err(failed)
    }
}

fn too_small(what: &str, end: usize) -> DeviceError {
    DeviceError {
        fault: DeviceFault::Failed,
        what: format!("{what}: {end} bytes are more than its buffer has"),
    }
}

fn driver_version() -> Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

/// A card's place on the PCI bus, in small letters, as the operating system writes it.
fn bus(context: &CudaContext) -> Option<String> {
    let mut text: [c_char; BUS_BYTES] = [0; BUS_BYTES];
    let length = i32::try_from(BUS_BYTES).ok()?;
    // SAFETY: the driver writes at most `length` bytes, the last of them zero, into an array that has as many.
    unsafe { sys::cuDeviceGetPCIBusId(text.as_mut_ptr(), length, context.cu_device()) }
        .result()
        .ok()?;
    // SAFETY: the array was zeros, and the driver ends what it writes with one.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    Some(text.to_str().ok()?.to_ascii_lowercase())
}
