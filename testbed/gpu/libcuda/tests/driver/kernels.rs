//! Kernels through cudarc: modules, launches, graphs of launches, and what stops a launch.

use std::sync::Arc;

use crate::machine::{Outcome, machine};
use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::sys::{
    self, CUfunction_attribute_enum as Attribute, CUgraphInstantiate_flags as Flags, CUresult,
};
use cudarc::driver::{
    CudaContext, CudaModule, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

/// The kernels of these tests.
pub const KERNELS: &str = include_str!("kernels.ptx");

/// A context with the kernels in it, and a stream.
pub fn loaded(place: usize) -> (Arc<CudaContext>, Arc<CudaModule>, Arc<CudaStream>) {
    let context = CudaContext::new(place).expect("a card");
    let module = context.load_module(Ptx::from_src(KERNELS)).expect("loaded");
    let stream = context.default_stream();
    (context, module, stream)
}

pub fn shape(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Launches a kernel that takes an array alone.
pub fn launch(
    module: &Arc<CudaModule>,
    stream: &Arc<CudaStream>,
    name: &str,
    data: &mut CudaSlice<u32>,
    shape: LaunchConfig,
) -> Result<(), DriverError> {
    let function = module.load_function(name)?;
    // SAFETY: what the kernel does wrong, the driver finds.
    unsafe { stream.launch_builder(&function).arg(data).launch(shape) }.map(|_| ())
}

pub fn scale(
    module: &Arc<CudaModule>,
    stream: &Arc<CudaStream>,
    data: &mut CudaSlice<u32>,
    factor: u32,
) -> Result<(), DriverError> {
    let function = module.load_function("scale")?;
    let count = u32::try_from(data.len()).expect("few");
    // SAFETY: the kernel's parameters are an array, a factor and the array's length.
    let launched = unsafe {
        stream
            .launch_builder(&function)
            .arg(data)
            .arg(&factor)
            .arg(&count)
            .launch(LaunchConfig::for_num_elems(count))
    };
    launched.map(|_| ())
}

#[test]
fn a_kernel_runs_and_is_counted() {
    let outcome = machine!("a_kernel_runs_and_is_counted").run(|| {
        let (_context, module, stream) = loaded(0);
        let input: Vec<u32> = (0..1000).collect();
        let mut data = stream.clone_htod(&input).expect("copied");
        scale(&module, &stream, &mut data, 3).expect("launched");
        let expected: Vec<u32> = input.iter().map(|value| value * 3 + 5).collect();
        assert_eq!(stream.clone_dtoh(&data), Ok(expected));
    });
    let Some(outcome) = outcome else { return };
    let launches = outcome.events("launch");
    assert_eq!(launches.len(), 1);
    assert_eq!(launches[0]["kernel"], "scale");
    assert_eq!(launches[0]["card"], "NVIDIA GeForce RTX 3090");
    assert!(launches[0]["counters"]["instructions"].as_u64().expect("counted") > 32 * 10);
    assert_eq!(launches[0]["estimate"]["is_estimate"], true);
}

#[test]
fn variables_of_a_module_are_found_and_can_be_changed() {
    machine!("variables_of_a_module_are_found_and_can_be_changed").run(|| {
        let (_context, module, stream) = loaded(0);
        let mut counter = module.get_global("counter", &stream).expect("found");
        assert_eq!(counter.len(), 4);
        stream
            .memcpy_htod(&100_u32.to_le_bytes(), &mut counter)
            .expect("copied");
        let mut data = stream.clone_htod(&[1_u32]).expect("copied");
        scale(&module, &stream, &mut data, 2).expect("launched");
        assert_eq!(stream.clone_dtoh(&data), Ok(vec![102]));
        let missing = module.load_function("no_such_kernel").err();
        assert_eq!(missing, Some(DriverError(CUresult::CUDA_ERROR_NOT_FOUND)));
        assert_eq!(module.get_global("no_such", &stream).err(), missing);
        // Another module of the same text has variables of its own.
        let (_context, other, _stream) = loaded(0);
        scale(&other, &stream, &mut data, 1).expect("launched");
        assert_eq!(stream.clone_dtoh(&data), Ok(vec![107]));
    });
}

#[test]
fn a_graph_of_kernels_runs_again_on_changed_input() {
    machine!("a_graph_of_kernels_runs_again_on_changed_input").run(|| {
        let (context, module, _) = loaded(0);
        // SAFETY: one stream does it all.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let mut data = stream.clone_htod(&[1_u32, 2, 3]).expect("copied");
        stream
            .begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("begun");
        scale(&module, &stream, &mut data, 10).expect("captured");
        scale(&module, &stream, &mut data, 2).expect("captured");
        let graph = stream.end_capture(Flags(0)).expect("ended").expect("a graph");
        assert_eq!(
            stream.clone_dtoh(&data),
            Ok(vec![1, 2, 3]),
            "a capture only records"
        );
        for start in [1_u32, 7] {
            stream
                .memcpy_htod(&[start, start + 1, start + 2], &mut data)
                .expect("copied");
            graph.launch().expect("launched");
            let expected: Vec<u32> = (start..start + 3).map(|value| (value * 10 + 5) * 2 + 5).collect();
            assert_eq!(stream.clone_dtoh(&data), Ok(expected));
        }
    });
}

#[test]
fn managed_and_pinned_memory_are_reached_by_kernels() {
    machine!("managed_and_pinned_memory_are_reached_by_kernels").run(|| {
        let (context, module, stream) = loaded(0);
        let function = module.load_function("scale").expect("found");
        // SAFETY: the memory is written before it is read.
        let mut managed = unsafe { context.alloc_unified::<u32>(3, true) }.expect("managed");
        managed.as_mut_slice().expect("idle").copy_from_slice(&[1, 2, 3]);
        // SAFETY: the kernel's parameters are an array, a factor and the array's length.
        let launched = unsafe {
            stream
                .launch_builder(&function)
                .arg(&mut managed)
                .arg(&4_u32)
                .arg(&3_u32)
                .launch(shape(1, 32))
        };
        launched.expect("launched");
        stream.synchronize().expect("done");
        assert_eq!(managed.as_slice(), Ok(&[9, 13, 17][..]));
        // SAFETY: as above; the address of page-locked memory is the same for the card.
        let mut pinned = unsafe { context.alloc_pinned::<u32>(2) }.expect("pinned");
        pinned.as_mut_slice().expect("idle").copy_from_slice(&[5, 6]);
        let address = pinned.as_ptr().expect("idle").addr() as u64;
        // SAFETY: as above.
        let launched = unsafe {
            stream
                .launch_builder(&function)
                .arg(&address)
                .arg(&2_u32)
                .arg(&2_u32)
                .launch(shape(1, 32))
        };
        launched.expect("launched");
        stream.synchronize().expect("done");
        assert_eq!(pinned.as_slice(), Ok(&[15, 17][..]));
    });
}

#[test]
fn launches_that_no_card_takes_are_refused() {
    let outcome = machine!("launches_that_no_card_takes_are_refused").run(|| {
        let (context, module, stream) = loaded(0);
        let mut data = stream.alloc_zeros::<u32>(64).expect("room");
        let mut refused = |shape| launch(&module, &stream, "unbounded", &mut data, shape).err();
        let invalid = Some(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE));
        assert_eq!(refused(shape(0, 32)), invalid);
        assert_eq!(refused(shape(1, 0)), invalid);
        assert_eq!(refused(shape(1, 1025)), invalid);
        assert_eq!(
            refused(LaunchConfig {
                grid_dim: (1, 65_536, 1),
                ..shape(1, 1)
            }),
            invalid
        );
        assert_eq!(
            refused(LaunchConfig {
                block_dim: (1, 1, 65),
                ..shape(1, 1)
            }),
            invalid
        );
        assert_eq!(
            refused(LaunchConfig {
                shared_mem_bytes: 48 * 1024 + 1,
                ..shape(1, 1)
            }),
            invalid
        );
        let function = module.load_function("scale").expect("found");
        let nothing = std::ptr::null_mut();
        let mut holes = [std::ptr::null_mut(); 3];
        // SAFETY: the driver refuses arguments that are missing.
        unsafe {
            let handle = function.cu_function();
            let launch =
                |each| sys::cuLaunchKernel(handle, 1, 1, 1, 1, 1, 1, 0, std::ptr::null_mut(), each, nothing);
            assert_eq!(launch(std::ptr::null_mut()), CUresult::CUDA_ERROR_INVALID_VALUE);
            assert_eq!(launch(holes.as_mut_ptr()), CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        // None of it harmed the context.
        context.synchronize().expect("unharmed");
    });
    let Some(Outcome { said, .. }) = outcome else {
        return;
    };
    for words in [
        "the grid [0, 1, 1]",
        "the block [1025, 1, 1]",
        "49153 bytes of dynamic",
        "argument 1 is null",
        "given none",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
}

#[test]
fn shared_memory_beyond_the_default_wants_an_opt_in() {
    machine!("shared_memory_beyond_the_default_wants_an_opt_in").run(|| {
        let (_context, module, stream) = loaded(0);
        let function = module.load_function("dynamic").expect("found");
        let mut data = stream.alloc_zeros::<u32>(1).expect("room");
        let most = 99 * 1024;
        let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(
            function.set_attribute(attribute, most + 1),
            Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE))
        );
        function.set_attribute(attribute, most).expect("a 3090 has it");
        let bytes = u32::try_from(most).expect("positive");
        let config = LaunchConfig {
            shared_mem_bytes: bytes,
            ..shape(1, 1)
        };
        // SAFETY: the kernel's parameters are an array of one and an offset.
        unsafe {
            stream
                .launch_builder(&function)
                .arg(&mut data)
                .arg(&(bytes - 4))
                .launch(config)
        }
        .expect("launched");
        assert_eq!(stream.clone_dtoh(&data), Ok(vec![77]));
    });
}

/// The dynamic shared memory of a block of any size.
extern "C" fn none(_threads: std::ffi::c_int) -> usize {
    0
}

#[test]
fn occupancy_follows_from_threads_and_shared_memory() {
    machine!("occupancy_follows_from_threads_and_shared_memory").run(|| {
        let (_context, module, _stream) = loaded(0);
        let function = module.load_function("scale").expect("found");
        let blocks =
            |threads, shared| function.occupancy_max_active_blocks_per_multiprocessor(threads, shared, None);
        // A multiprocessor of a 3090 has 1,536 threads, 16 blocks, and 100 KiB of which each block costs 1 KiB more.
        assert_eq!(
            (blocks(1024, 0), blocks(256, 0), blocks(32, 0)),
            (Ok(1), Ok(6), Ok(16))
        );
        assert_eq!(
            (
                blocks(32, 24 * 1024),
                blocks(32, 99 * 1024),
                blocks(32, 100 * 1024)
            ),
            (Ok(4), Ok(1), Ok(0))
        );
        let (grid, block) = function
            .occupancy_max_potential_block_size(none, 0, 0, None)
            .expect("suggested");
        assert_eq!(u64::from(grid * block), 1_536 * 82, "the card is full");
        assert_eq!(
            function.occupancy_available_dynamic_smem_per_block(2, 32),
            Ok(49 * 1024)
        );
        assert_eq!(function.max_threads_per_block(), Ok(1024));
        assert_eq!(function.ptx_version(), Ok(86));
    });
}

#[test]
fn kernels_and_events_of_another_context_are_refused() {
    machine!("kernels_and_events_of_another_context_are_refused")
        .cards("rtx-3090*2")
        .run(|| {
            let (_one, module, _) = loaded(0);
            let other = CudaContext::new(1).expect("a card");
            let stream = other.new_stream().expect("a stream");
            let function = module.load_function("empty").expect("found");
            let event = other.new_event(None).expect("an event");
            let nothing = std::ptr::null_mut();
            // SAFETY: the driver looks handles up.
            unsafe {
                let handle = function.cu_function();
                let code = sys::cuLaunchKernel(
                    handle,
                    1,
                    1,
                    1,
                    1,
                    1,
                    1,
                    0,
                    stream.cu_stream(),
                    std::ptr::null_mut(),
                    nothing,
                );
                assert_eq!(code, CUresult::CUDA_ERROR_INVALID_HANDLE);
                loaded(0);
                let code = sys::cuEventRecord(event.cu_event(), std::ptr::null_mut());
                assert_eq!(code, CUresult::CUDA_ERROR_INVALID_HANDLE);
            }
        });
}

#[test]
fn threads_share_a_context() {
    machine!("threads_share_a_context").run(|| {
        let (context, module, _) = loaded(0);
        let work = |seed: u32| {
            let blocking = cudarc::driver::result::stream::StreamKind::Default;
            context.bind_to_thread().expect("bound");
            let own = cudarc::driver::result::stream::create(blocking).expect("a stream");
            // SAFETY: the stream lives as long as the process.
            let streams = [
                context.new_stream().expect("a stream"),
                unsafe { context.wrap_borrowed_stream(own) },
                context.default_stream(),
            ];
            for round in 0..60_u32 {
                let stream = &streams[round as usize % streams.len()];
                let mut data = stream.clone_htod(&[seed, round, 3]).expect("copied");
                scale(&module, stream, &mut data, 2).expect("launched");
                let expected = [seed, round, 3].map(|value| value * 2 + 5).to_vec();
                assert_eq!(stream.clone_dtoh(&data), Ok(expected));
                context.synchronize().expect("done");
            }
        };
        std::thread::scope(|scope| {
            for seed in 0..4 {
                scope.spawn(move || work(seed));
            }
        });
    });
}

#[test]
fn bad_ptx_is_refused_with_its_line() {
    let outcome = machine!("bad_ptx_is_refused_with_its_line").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let refused = |text: &str| context.load_module(Ptx::from_src(text)).expect_err("refused").0;
        assert_eq!(refused(""), CUresult::CUDA_ERROR_INVALID_PTX);
        assert_eq!(refused("this is not PTX"), CUresult::CUDA_ERROR_INVALID_PTX);
        assert_eq!(
            refused(&KERNELS.replace(".version 8.0", ".version 8.3")),
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        );
        assert_eq!(
            refused(&KERNELS.replace("mul.wide.u32", "mul.sideways.u32")),
            CUresult::CUDA_ERROR_INVALID_PTX
        );
        assert_eq!(
            refused("\x7fELF\x02\x01\x01"),
            CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        );
        assert_eq!(
            jit_log(&KERNELS.replace("mul.wide.u32", "mul.sideways.u32")).0,
            CUresult::CUDA_ERROR_INVALID_PTX
        );
        let (_, log) = jit_log(&KERNELS.replace("trap;", "trep;"));
        assert!(log.contains("line") && log.contains("trep"), "{log}");
        assert_eq!(jit_log(KERNELS).0, CUresult::CUDA_SUCCESS);
    });
    let Some(Outcome { said, .. }) = outcome else {
        return;
    };
    assert!(said.contains("PTX line") && said.contains("8.3"), "{said}");
}

/// Loads with a buffer for the JIT's errors, and gives the code with what lies in the buffer.
fn jit_log(text: &str) -> (CUresult, String) {
    use cudarc::driver::sys::CUjit_option_enum as Option;
    let text = std::ffi::CString::new(text).expect("no zero");
    let mut buffer = [0_u8; 512];
    let mut options = [
        Option::CU_JIT_ERROR_LOG_BUFFER,
        Option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    let mut values = [
        buffer.as_mut_ptr().cast(),
        std::ptr::without_provenance_mut(buffer.len()),
    ];
    let mut module = std::ptr::null_mut();
    // SAFETY: the buffer is as long as its size says, and outlives the call.
    let code = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut module,
            text.as_ptr().cast(),
            2,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    assert!(
        values[1].addr() <= buffer.len(),
        "the size is that which was filled"
    );
    let end = buffer
        .iter()
        .position(|byte| *byte == 0)
        .expect("a text in C ends with zero");
    (code, String::from_utf8_lossy(&buffer[..end]).into_owned())
}
