//! Memory: what is free, what is refused, and what is shared by processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::machine::machine;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, DriverError, result};

#[test]
fn memory_is_accounted_and_ends_where_configured() {
    machine!("memory_is_accounted_and_ends_where_configured")
        .cards("rtx-3090:memory=64MiB")
        .run(|| {
            let context = CudaContext::new(0).expect("a card");
            let stream = context.default_stream();
            let held = stream.alloc_zeros::<u8>(40 << 20).expect("fits");
            assert_eq!(context.mem_get_info(), Ok((24 << 20, 64 << 20)));
            let refused = stream.alloc_zeros::<u8>(24 << 20 | 1).err();
            assert_eq!(refused, Some(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
            let rest = stream.alloc_zeros::<u8>(24 << 20).expect("fits exactly");
            drop(held);
            stream.synchronize().expect("done");
            assert_eq!(context.mem_get_info(), Ok((40 << 20, 64 << 20)));
            drop(rest);
            stream.synchronize().expect("done");
            assert_eq!(context.mem_get_info(), Ok((64 << 20, 64 << 20)));
        });
}

#[test]
fn what_a_host_does_wrong_is_refused_and_said() {
    let outcome = machine!("what_a_host_does_wrong_is_refused_and_said").run(|| {
        let _context = CudaContext::new(0).expect("a card");
        let invalid = Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE));
        // SAFETY: every call is one that the driver refuses before it touches memory, or is right.
        unsafe {
            let held = result::malloc_sync(64).expect("allocated");
            let mut bytes = [0_u8; 65];
            assert_eq!(
                result::memcpy_dtoh_sync(&mut bytes, held),
                invalid,
                "beyond the end"
            );
            assert_eq!(
                result::memcpy_htod_sync(held + 1, &bytes[..64]),
                invalid,
                "beyond the end"
            );
            assert_eq!(result::free_sync(held + 8), invalid, "not the start");
            result::free_sync(held).expect("freed");
            assert_eq!(result::free_sync(held), invalid, "freed twice");
            assert_eq!(
                result::memcpy_htod_sync(held, &bytes[..64]),
                invalid,
                "use after free"
            );
            assert_eq!(result::memset_d8_sync(0x7000, 0, 4), invalid, "no memory at all");
            assert_eq!(result::malloc_sync(0).err(), invalid.err(), "no bytes");
            let (one, two) = (
                result::malloc_sync(8).expect("room"),
                result::malloc_sync(8).expect("room"),
            );
            let code = sys::cuMemcpyHtoD_v2(
                one,
                std::ptr::without_provenance(usize::try_from(two).expect("64 bits")),
                8,
            );
            assert_eq!(
                code,
                CUresult::CUDA_ERROR_INVALID_VALUE,
                "a card's address as the host's"
            );
        }
    });
    if let Some(outcome) = outcome {
        for words in [
            "reach beyond the 64 bytes",
            "that was freed",
            "are not device memory",
            "where one of host memory",
        ] {
            assert!(
                outcome.said.contains(words),
                "`{words}` is not in:\n{}",
                outcome.said
            );
        }
        assert!(!outcome.events("refusal").is_empty());
    }
}

#[test]
fn null_pointers_and_foreign_handles_crash_nothing() {
    machine!("null_pointers_and_foreign_handles_crash_nothing").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let null: *mut u8 = std::ptr::null_mut();
        let made_up: *mut u8 = std::ptr::without_provenance_mut(0x1234);
        // SAFETY: the driver promises to look every handle and address up, or to refuse null.
        unsafe {
            use CUresult::{CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_INVALID_VALUE};
            assert_eq!(
                sys::cuMemAlloc_v2(std::ptr::null_mut(), 8),
                CUDA_ERROR_INVALID_VALUE
            );
            assert_eq!(
                sys::cuDeviceGetName(std::ptr::null_mut(), 8, 0),
                CUDA_ERROR_INVALID_VALUE
            );
            assert_eq!(
                sys::cuModuleLoadData(std::ptr::null_mut(), std::ptr::null()),
                CUDA_ERROR_INVALID_VALUE
            );
            assert_eq!(
                sys::cuStreamSynchronize(made_up.cast()),
                CUDA_ERROR_INVALID_HANDLE
            );
            assert_eq!(
                sys::cuEventRecord(made_up.cast(), null.cast()),
                CUDA_ERROR_INVALID_HANDLE
            );
            assert_eq!(sys::cuEventQuery(null.cast()), CUDA_ERROR_INVALID_HANDLE);
            assert_eq!(sys::cuModuleUnload(made_up.cast()), CUDA_ERROR_INVALID_HANDLE);
            assert_eq!(sys::cuCtxSetCurrent(made_up.cast()), CUDA_ERROR_INVALID_CONTEXT);
            assert_eq!(
                sys::cuGraphLaunch(made_up.cast(), null.cast()),
                CUDA_ERROR_INVALID_VALUE
            );
            let launched = sys::cuLaunchKernel(
                made_up.cast(),
                1,
                1,
                1,
                1,
                1,
                1,
                0,
                null.cast(),
                null.cast(),
                null.cast(),
            );
            assert_eq!(launched, CUDA_ERROR_INVALID_HANDLE);
            assert_eq!(
                sys::cuLaunchHostFunc(null.cast(), None, null.cast()),
                CUDA_ERROR_INVALID_VALUE
            );
            assert_eq!(sys::cuMemFree_v2(0), CUresult::CUDA_SUCCESS);
        }
        // A stream is no event, and a handle is dead once it was destroyed.
        let stream = context.new_stream().expect("a stream");
        let handle = stream.cu_stream();
        drop(stream);
        // SAFETY: as above.
        unsafe {
            assert_eq!(
                sys::cuEventQuery(handle.cast()),
                CUresult::CUDA_ERROR_INVALID_HANDLE
            );
            assert_eq!(sys::cuStreamQuery(handle), CUresult::CUDA_ERROR_INVALID_HANDLE);
        }
    });
}

#[test]
fn destroyed_contexts_are_told_from_invalid_ones() {
    machine!("destroyed_contexts_are_told_from_invalid_ones").run(|| {
        let context = CudaContext::new_non_primary(0, 0).expect("a context");
        let handle = context.cu_ctx();
        // SAFETY: the handle is looked up.
        let allocated = unsafe { result::malloc_sync(1 << 20) };
        assert!(allocated.is_ok());
        drop(context);
        // SAFETY: the handle is looked up.
        unsafe {
            assert_eq!(
                sys::cuCtxPushCurrent_v2(handle),
                CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            );
        }
        let context = CudaContext::new(0).expect("the primary context");
        assert_eq!(
            context.mem_get_info(),
            Ok((24 << 30, 24 << 30)),
            "its memory is free again"
        );
    });
}

/// Allocates what its input says, line by line, and answers with what came of it.
fn hold_what_is_asked() {
    let context = CudaContext::new(0).expect("a card");
    let mut held = Vec::new();
    println!("ready");
    for line in std::io::stdin().lines() {
        let bytes: usize = line.expect("a line").trim().parse().expect("a number");
        // SAFETY: the memory is not read.
        match unsafe { context.default_stream().alloc::<u8>(bytes) } {
            Ok(memory) => {
                held.push(memory);
                println!("held");
            }
            Err(DriverError(code)) => println!("{code:?}"),
        }
    }
}

#[test]
fn a_process_that_is_asked_for_nothing_ends() {
    let machine = machine!("a_process_that_is_asked_for_nothing_ends");
    if let Some(outcome) = machine.run(hold_what_is_asked) {
        assert!(
            outcome.said.contains("ready") && !outcome.said.contains("held"),
            "{}",
            outcome.said
        );
    }
}

#[test]
fn two_processes_together_cannot_exceed_a_card() {
    let machine = machine!("a_process_that_is_asked_for_nothing_ends").cards("rtx-3090:memory=96MiB");
    let command: &mut Command = &mut machine.command();
    let mut start = || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut answers = lines.map(|line| line.expect("a line")).filter(|line| {
            // The harness prints around what the body prints, and before its first line on the same line.
            ["ready", "held"].iter().any(|word| line.ends_with(word)) || line.starts_with("CUDA_")
        });
        assert!(answers.next().expect("an answer").ends_with("ready"));
        (child, answers)
    };
    let ((mut one, mut from_one), (mut two, mut from_two)) = (start(), start());
    let ask = |child: &mut std::process::Child, answers: &mut dyn Iterator<Item = String>, bytes: u64| {
        writeln!(child.stdin.as_mut().expect("piped"), "{bytes}").expect("written");
        answers.next().expect("an answer")
    };
    assert_eq!(ask(&mut one, &mut from_one, 64 << 20), "held");
    assert_eq!(ask(&mut two, &mut from_two, 64 << 20), "CUDA_ERROR_OUT_OF_MEMORY");
    assert_eq!(ask(&mut two, &mut from_two, 32 << 20), "held");
    assert_eq!(ask(&mut one, &mut from_one, 1), "CUDA_ERROR_OUT_OF_MEMORY");
    // A process that is killed gives nothing back, and yet its share is free.
    one.kill().expect("killed");
    one.wait().expect("gone");
    assert_eq!(ask(&mut two, &mut from_two, 64 << 20), "held");
    drop(two.stdin.take());
    assert!(two.wait().expect("ended").success());
}
