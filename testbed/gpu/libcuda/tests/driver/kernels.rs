//! Kernels through cudarc: modules, launches, graphs of launches, and what stops a launch.

use std::sync::Arc;

use crate::machine::{Machine, Outcome, machine};
use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::sys::{
    self, CUfunction_attribute_enum as Attribute, CUgraphInstantiate_flags as Flags, CUresult,
};
use cudarc::driver::{
    CudaContext, CudaModule, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

const KERNELS: &str = include_str!("kernels.ptx");

/// A context with the kernels in it, and a stream.
fn loaded(place: usize) -> (Arc<CudaContext>, Arc<CudaModule>, Arc<CudaStream>) {
    let context = CudaContext::new(place).expect("a card");
    let module = context.load_module(Ptx::from_src(KERNELS)).expect("loaded");
    let stream = context.default_stream();
    (context, module, stream)
}

fn shape(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid, 1, 1),
        block_dim: (block, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// Launches a kernel that takes an array alone.
fn launch(
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

fn scale(
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

/// Launches a faulty kernel, and gives what the driver said and logged of it.
fn faulty(test: &'static str, kernel: &'static str, threads: u32, code: CUresult) -> Option<Outcome> {
    Machine::new(test).run(|| {
        let (context, module, stream) = loaded(0);
        let mut data = stream.alloc_zeros::<u32>(32).expect("room");
        launch(&module, &stream, kernel, &mut data, shape(1, threads))
            .expect("the launch itself is accepted");
        // From here on every call gives the same error.
        for _ in 0..2 {
            assert_eq!(context.synchronize(), Err(DriverError(code)));
            assert_eq!(stream.alloc_zeros::<u8>(1).err(), Some(DriverError(code)));
            assert_eq!(scale(&module, &stream, &mut data, 1), Err(DriverError(code)));
        }
    })
}

fn told(outcome: Option<Outcome>, kernel: &str, code: i64, words: &[&str]) {
    let Some(outcome) = outcome else { return };
    let faults = outcome.events("fault");
    assert_eq!(faults.len(), 1, "{}", outcome.said);
    assert_eq!(
        (&faults[0]["kernel"], &faults[0]["code"]),
        (&kernel.into(), &code.into())
    );
    assert!(faults[0]["ptx_line"].as_u64().expect("a line") > 5);
    assert!(faults[0]["at_thread"].is_array() && faults[0]["at_block"].is_array());
    let said = outcome.said.to_lowercase();
    for words in words.iter().chain(&[kernel, "thread (", "block (", "ptx line"]) {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
}

#[test]
fn an_access_out_of_bounds_stops_the_launch() {
    let outcome = faulty(
        concat!(module_path!(), "::an_access_out_of_bounds_stops_the_launch"),
        "unbounded",
        33,
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    );
    told(outcome, "unbounded", 700, &["out of bounds", "thread (32,0,0)"]);
}

#[test]
fn a_misaligned_access_stops_the_launch() {
    let outcome = faulty(
        concat!(module_path!(), "::a_misaligned_access_stops_the_launch"),
        "misaligned",
        1,
        CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    );
    told(outcome, "misaligned", 716, &["misaligned"]);
}

#[test]
fn a_race_on_shared_memory_stops_the_launch() {
    let outcome = faulty(
        concat!(module_path!(), "::a_race_on_shared_memory_stops_the_launch"),
        "race",
        64,
        CUresult::CUDA_ERROR_LAUNCH_FAILED,
    );
    let Some(outcome) = outcome else { return };
    // Which is seen first depends on which warp runs first: the neighbour's element unwritten, or written unordered.
    assert_eq!(outcome.events("fault")[0]["code"], 719);
    let said = outcome.said.to_lowercase();
    assert!(
        said.contains("race") || said.contains("written") || said.contains("uninitiali"),
        "{said}"
    );
}

#[test]
fn a_read_of_what_nobody_wrote_stops_the_launch() {
    let outcome = faulty(
        concat!(module_path!(), "::a_read_of_what_nobody_wrote_stops_the_launch"),
        "unwritten",
        1,
        CUresult::CUDA_ERROR_LAUNCH_FAILED,
    );
    told(outcome, "unwritten", 719, &[]);
}

#[test]
fn a_barrier_that_some_threads_miss_stops_the_launch() {
    let outcome = faulty(
        concat!(
            module_path!(),
            "::a_barrier_that_some_threads_miss_stops_the_launch"
        ),
        "divergent",
        64,
        CUresult::CUDA_ERROR_LAUNCH_FAILED,
    );
    told(outcome, "divergent", 719, &["barrier"]);
}

#[test]
fn a_trap_stops_the_launch() {
    told(
        faulty(
            concat!(module_path!(), "::a_trap_stops_the_launch"),
            "trapped",
            1,
            CUresult::CUDA_ERROR_LAUNCH_FAILED,
        ),
        "trapped",
        719,
        &["trap"],
    );
}

#[test]
fn a_failed_assertion_stops_the_launch_with_its_words() {
    let outcome = machine!("a_failed_assertion_stops_the_launch_with_its_words").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let module = context
            .load_module(Ptx::from_src(include_str!("assertion.ptx")))
            .expect("loaded");
        let function = module.load_function("busy").expect("found");
        // SAFETY: the kernel takes nothing and touches nothing of ours.
        unsafe {
            context
                .default_stream()
                .launch_builder(&function)
                .launch(shape(1, 3))
        }
        .expect("accepted");
        assert_eq!(context.synchronize(), Ok(()), "three threads keep to it");
        // SAFETY: as above.
        unsafe {
            context
                .default_stream()
                .launch_builder(&function)
                .launch(shape(1, 4))
        }
        .expect("accepted");
        assert_eq!(
            context.synchronize(),
            Err(DriverError(CUresult::CUDA_ERROR_ASSERT))
        );
    });
    told(
        outcome,
        "busy",
        710,
        &["assertion `i < 3` failed in busy at a.cu:42", "thread (3,0,0)"],
    );
}

#[test]
fn a_use_after_free_stops_the_launch() {
    let outcome = machine!("a_use_after_free_stops_the_launch").run(|| {
        let (context, module, stream) = loaded(0);
        let function = module.load_function("unbounded").expect("found");
        let data = stream.alloc_zeros::<u32>(8).expect("room");
        let address = {
            let (address, _sync) = cudarc::driver::DevicePtr::device_ptr(&data, &stream);
            address
        };
        drop(data);
        stream.synchronize().expect("freed");
        // SAFETY: the driver finds what the kernel does.
        unsafe { stream.launch_builder(&function).arg(&address).launch(shape(1, 1)) }.expect("accepted");
        assert_eq!(
            context.synchronize(),
            Err(DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS))
        );
    });
    told(outcome, "unbounded", 700, &["freed"]);
}

#[test]
fn a_fault_leaves_other_cards_and_new_contexts_unharmed() {
    machine!("a_fault_leaves_other_cards_and_new_contexts_unharmed")
        .cards("rtx-3090*2")
        .run(|| {
            let (other, other_module, other_stream) = loaded(1);
            let context = CudaContext::new_non_primary(0, 0).expect("a context");
            let module = context.load_module(Ptx::from_src(KERNELS)).expect("loaded");
            let stream = context.default_stream();
            let mut data = stream.alloc_zeros::<u32>(1).expect("room");
            launch(&module, &stream, "trapped", &mut data, shape(1, 1)).expect("accepted");
            assert!(context.synchronize().is_err());
            let mut fine = other_stream.clone_htod(&[1_u32]).expect("copied");
            scale(&other_module, &other_stream, &mut fine, 1).expect("another card works");
            assert_eq!(other_stream.clone_dtoh(&fine), Ok(vec![6]));
            assert_eq!(other.synchronize(), Ok(()));
            let (_context, module, stream) = loaded(0);
            let mut fine = stream.clone_htod(&[1_u32]).expect("copied");
            scale(&module, &stream, &mut fine, 1).expect("a new context works");
            assert_eq!(stream.clone_dtoh(&fine), Ok(vec![6]));
        });
}

#[test]
fn one_cards_kernel_cannot_read_another_cards_memory() {
    let outcome = machine!("one_cards_kernel_cannot_read_another_cards_memory")
        .cards("rtx-3090*2")
        .run(|| {
            let (context, module, stream) = loaded(0);
            let other = CudaContext::new(1).expect("a card").default_stream();
            let mut data = other.alloc_zeros::<u32>(1).expect("room");
            other.synchronize().expect("done");
            let address = {
                let (address, _sync) = cudarc::driver::DevicePtrMut::device_ptr_mut(&mut data, &other);
                address
            };
            let function = module.load_function("unbounded").expect("found");
            // SAFETY: the driver finds what the kernel does.
            unsafe { stream.launch_builder(&function).arg(&address).launch(shape(1, 1)) }.expect("accepted");
            assert_eq!(
                context.synchronize(),
                Err(DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS))
            );
            std::mem::forget(data);
        });
    told(outcome, "unbounded", 700, &[]);
}

#[test]
fn a_card_is_lost_after_its_launches() {
    let outcome = machine!("a_card_is_lost_after_its_launches")
        .cards("rtx-3090:lost-after=2, rtx-3090")
        .run(|| {
            let (context, module, stream) = loaded(0);
            let mut data = stream.clone_htod(&[1_u32]).expect("copied");
            scale(&module, &stream, &mut data, 1).expect("launched");
            assert_eq!(stream.clone_dtoh(&data), Ok(vec![6]));
            scale(&module, &stream, &mut data, 1).expect("launched");
            let lost = DriverError(CUresult::CUDA_ERROR_UNKNOWN);
            assert_eq!(stream.clone_dtoh(&data).err(), Some(lost));
            assert_eq!(scale(&module, &stream, &mut data, 1), Err(lost));
            assert_eq!(context.synchronize(), Err(lost));
            assert_eq!(
                CudaContext::new_non_primary(0, 0).err(),
                Some(lost),
                "a lost card takes no new context"
            );
            let (_other, module, stream) = loaded(1);
            let mut data = stream.clone_htod(&[1_u32]).expect("the other card works");
            scale(&module, &stream, &mut data, 1).expect("launched");
            assert_eq!(stream.clone_dtoh(&data), Ok(vec![6]));
        });
    let Some(outcome) = outcome else { return };
    assert!(
        outcome.said.contains("the card has fallen off the bus"),
        "{}",
        outcome.said
    );
}

#[test]
fn a_card_breaks_when_a_file_appears() {
    let machine = machine!("a_card_breaks_when_a_file_appears");
    let file = machine.path("broken");
    let cards = format!("rtx-3090:ecc-when={}", file.display());
    machine.cards(&cards).run(|| {
        let (context, module, stream) = loaded(0);
        let mut data = stream.clone_htod(&[1_u32]).expect("copied");
        scale(&module, &stream, &mut data, 1).expect("launched");
        context.synchronize().expect("works");
        std::fs::write(&file, "").expect("written");
        assert_eq!(
            context.synchronize(),
            Err(DriverError(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE))
        );
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(
            context.synchronize(),
            Err(DriverError(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE))
        );
    });
}
