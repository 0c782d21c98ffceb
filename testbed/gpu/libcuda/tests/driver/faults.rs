//! What stops a launch, and what becomes of the context and the card.

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::kernels::{KERNELS, launch, loaded, scale, shape};
use crate::machine::{Machine, Outcome, machine};

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
