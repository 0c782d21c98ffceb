//! Streams, events, host functions, capture and graphs, with work that needs no kernel.

use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::machine::machine;
use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::sys::CUstreamCaptureStatus as Status;
use cudarc::driver::sys::{self, CUgraphInstantiate_flags as Flags, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};

/// A host function that waits until it is released, and then says that it ran.
struct Gate {
    release: Receiver<()>,
    passed: Sender<()>,
}

extern "C" fn pass(gate: *mut c_void) {
    // SAFETY: the stream was given a leaked gate, and calls its function once.
    let gate = unsafe { Box::from_raw(gate.cast::<Gate>()) };
    gate.release.recv().expect("released");
    gate.passed.send(()).expect("somebody listens");
}

/// Holds a stream up until the sender releases it.
fn hold(stream: &CudaStream) -> (Sender<()>, Receiver<()>) {
    let ((release, opened), (passed, outcome)) = (channel(), channel());
    let gate = Box::into_raw(Box::new(Gate {
        release: opened,
        passed,
    }));
    // SAFETY: the gate lives until the function takes it.
    let code = unsafe { sys::cuLaunchHostFunc(stream.cu_stream(), Some(pass), gate.cast()) };
    assert_eq!(code, CUresult::CUDA_SUCCESS);
    (release, outcome)
}

fn failed<T: std::fmt::Debug>(result: Result<T, DriverError>) -> CUresult {
    result.expect_err("refused").0
}

/// An idle stream, which only its order makes wait, must not read what the program writes afterwards.
#[test]
fn what_a_copy_reads_is_the_programs_again_though_another_stream_holds_it_up() {
    machine!("what_a_copy_reads_is_the_programs_again_though_another_stream_holds_it_up").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: the streams' own rule orders them.
        unsafe { context.disable_event_tracking() };
        let blocking = result::stream::StreamKind::Default;
        let own = result::stream::create(blocking).expect("a stream");
        // SAFETY: the stream lives as long as the process.
        let stream = unsafe { context.wrap_borrowed_stream(own) };
        let mut data = stream.alloc_zeros::<u32>(4).expect("room");
        let (release, passed) = hold(&context.default_stream());
        let mut source = vec![7_u32; 4];
        stream.memcpy_htod(&source, &mut data).expect("queued");
        source.fill(9);
        release.send(()).expect("the function waits");
        passed.recv().expect("the function ran");
        assert_eq!(stream.clone_dtoh(&data), Ok(vec![7; 4]));
    });
}

#[test]
fn work_behind_a_host_function_waits_for_it() {
    machine!("work_behind_a_host_function_waits_for_it").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: one stream does it all.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let mut data = stream.alloc_zeros::<u32>(4).expect("room");
        let (release, passed) = hold(&stream);
        let mut source = vec![7_u32; 4];
        stream.memcpy_htod(&source, &mut data).expect("queued");
        // Memory that is not page-locked is the program's again.
        source.fill(9);
        let event = context.new_event(None).expect("an event");
        event.record(&stream).expect("recorded");
        assert_eq!(event.try_is_complete(), Ok(false));
        // SAFETY: the stream is live.
        assert_eq!(
            unsafe { sys::cuStreamQuery(stream.cu_stream()) },
            CUresult::CUDA_ERROR_NOT_READY
        );
        release.send(()).expect("waiting");
        event.synchronize().expect("reached");
        passed.recv().expect("passed");
        assert_eq!(stream.clone_dtoh(&data), Ok(vec![7; 4]));
    });
}

#[test]
fn a_stream_waits_for_another_ones_event() {
    machine!("a_stream_waits_for_another_ones_event").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: order is what this test makes itself.
        unsafe { context.disable_event_tracking() };
        let (one, two) = (
            context.new_stream().expect("a stream"),
            context.new_stream().expect("a stream"),
        );
        let mut data = one.alloc_zeros::<u8>(1).expect("room");
        let (release, _passed) = hold(&one);
        one.memcpy_htod(&[1], &mut data).expect("queued");
        two.join(&one).expect("waits");
        two.memcpy_htod(&[2], &mut data).expect("queued behind");
        release.send(()).expect("waiting");
        two.synchronize().expect("done");
        assert_eq!(two.clone_dtoh(&data), Ok(vec![2]));
    });
}

#[test]
fn the_legacy_stream_and_blocking_streams_wait_for_each_other() {
    machine!("the_legacy_stream_and_blocking_streams_wait_for_each_other").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: as above.
        unsafe { context.disable_event_tracking() };
        let blocking = result::stream::create(result::stream::StreamKind::Default).expect("a stream");
        // SAFETY: the stream lives as long as the process.
        let blocking = unsafe { context.wrap_borrowed_stream(blocking) };
        let (legacy, apart) = (context.default_stream(), context.new_stream().expect("a stream"));
        let mut data = legacy.alloc_zeros::<u8>(1).expect("room");
        let (release, _passed) = hold(&blocking);
        legacy.memcpy_htod(&[3], &mut data).expect("queued");
        // A non-blocking stream does not wait for either.
        assert_eq!(apart.clone_dtoh(&data), Ok(vec![0]));
        // SAFETY: the stream is live; its handle is null.
        assert_eq!(
            unsafe { sys::cuStreamQuery(legacy.cu_stream()) },
            CUresult::CUDA_ERROR_NOT_READY
        );
        release.send(()).expect("waiting");
        legacy.synchronize().expect("done");
        assert_eq!(apart.clone_dtoh(&data), Ok(vec![3]));
    });
}

extern "C" fn call_the_driver(code: *mut c_void) {
    // SAFETY: the argument is the address of a code that outlives the stream's work.
    unsafe { *code.cast::<CUresult>() = sys::cuCtxSynchronize() };
}

#[test]
fn a_host_function_may_not_call_the_driver() {
    machine!("a_host_function_may_not_call_the_driver").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let stream = context.new_stream().expect("a stream");
        let mut code = CUresult::CUDA_SUCCESS;
        // SAFETY: the code outlives the stream's work, which is waited for.
        let launched = unsafe {
            sys::cuLaunchHostFunc(stream.cu_stream(), Some(call_the_driver), (&raw mut code).cast())
        };
        assert_eq!(launched, CUresult::CUDA_SUCCESS);
        stream.synchronize().expect("done");
        assert_eq!(code, CUresult::CUDA_ERROR_NOT_PERMITTED);
    });
}

#[test]
fn events_measure_what_a_copy_would_take_on_the_card() {
    machine!("events_measure_what_a_copy_would_take_on_the_card")
        .cards("rtx-3090:pcie=1x1")
        .run(|| {
            let context = CudaContext::new(0).expect("a card");
            let stream = context.new_stream().expect("a stream");
            let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            let mut to = stream.alloc_zeros::<u8>(1 << 20).expect("room");
            let start = stream.record_event(timed).expect("recorded");
            stream.memcpy_htod(&vec![1; 1 << 20], &mut to).expect("copied");
            let end = stream.record_event(timed).expect("recorded");
            // A lane of the first generation has 0.25 GB/s.
            let time = start.elapsed_ms(&end).expect("both reached");
            assert!((time - 4.194).abs() < 0.001, "{time}");
        });
}

#[test]
fn events_measure_time_between_them() {
    machine!("events_measure_time_between_them").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let stream = context.new_stream().expect("a stream");
        let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let start = stream.record_event(timed).expect("recorded");
        let (release, _passed) = hold(&stream);
        let end = stream.record_event(timed).expect("recorded");
        // SAFETY: both events are live.
        let elapsed = || unsafe { result::event::elapsed(start.cu_event(), end.cu_event()) };
        assert_eq!(failed(elapsed()), CUresult::CUDA_ERROR_NOT_READY);
        release.send(()).expect("waiting");
        assert!(start.elapsed_ms(&end).expect("both reached") > 0.0);
        let untimed = stream.record_event(None).expect("recorded");
        assert_eq!(
            failed(start.elapsed_ms(&untimed)),
            CUresult::CUDA_ERROR_INVALID_HANDLE
        );
    });
}

#[test]
fn what_a_capture_cannot_record_is_refused_and_spoils_it() {
    machine!("what_a_capture_cannot_record_is_refused_and_spoils_it").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: one stream does it all.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let spoiled_by = |mode: Mode, act: &dyn Fn() -> CUresult| {
            stream.begin_capture(mode).expect("begun");
            assert_eq!(
                stream.capture_status(),
                Ok(Status::CU_STREAM_CAPTURE_STATUS_ACTIVE)
            );
            let code = act();
            let ended = stream.end_capture(Flags(0)).map(|graph| graph.is_some());
            assert_eq!(stream.capture_status(), Ok(Status::CU_STREAM_CAPTURE_STATUS_NONE));
            (code, ended)
        };
        let invalidated = Err(DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
        let unsupported = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        let local = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        assert_eq!(
            spoiled_by(local, &|| failed(stream.synchronize())),
            (unsupported, invalidated)
        );
        assert_eq!(
            spoiled_by(local, &|| failed(context.synchronize())),
            (unsupported, invalidated)
        );
        // SAFETY: what is allocated is never used.
        let allocate = || unsafe { result::malloc_sync(8) };
        assert_eq!(
            spoiled_by(local, &|| failed(allocate())),
            (unsupported, invalidated)
        );
        let relaxed = Mode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let allowed = spoiled_by(relaxed, &|| {
            allocate().map_or_else(|error| error.0, |_| CUresult::CUDA_SUCCESS)
        });
        assert_eq!(allowed, (CUresult::CUDA_SUCCESS, Ok(true)));
        // An event from outside cannot be waited for.
        let outside = context.default_stream().record_event(None).expect("recorded");
        let isolation = CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        assert_eq!(
            spoiled_by(local, &|| failed(stream.wait(&outside))),
            (isolation, invalidated)
        );
        // Another thread's allocation spoils a global capture, and not this thread's.
        let elsewhere = || {
            let bound = || context.bind_to_thread().and_then(|()| allocate()).map(|_| ());
            std::thread::scope(|scope| scope.spawn(bound).join().expect("no panic"))
                .map_or_else(|error| error.0, |()| CUresult::CUDA_SUCCESS)
        };
        assert_eq!(spoiled_by(local, &elsewhere), (CUresult::CUDA_SUCCESS, Ok(true)));
        assert_eq!(
            spoiled_by(Mode::CU_STREAM_CAPTURE_MODE_GLOBAL, &elsewhere),
            (unsupported, invalidated)
        );
    });
}

#[test]
fn a_capture_forks_and_must_be_joined() {
    machine!("a_capture_forks_and_must_be_joined").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: order is what this test makes itself.
        unsafe { context.disable_event_tracking() };
        let (one, two) = (
            context.new_stream().expect("a stream"),
            context.new_stream().expect("a stream"),
        );
        let mut data = one.clone_htod(&[1_u32; 4]).expect("room");
        let mut other = one.clone_htod(&[1_u32; 4]).expect("room");
        for joined in [true, false] {
            one.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
                .expect("begun");
            one.memset_zeros(&mut data).expect("captured");
            two.join(&one).expect("drawn in");
            assert_eq!(two.capture_status(), Ok(Status::CU_STREAM_CAPTURE_STATUS_ACTIVE));
            two.memset_zeros(&mut other).expect("captured");
            assert_eq!(
                failed(two.end_capture(Flags(0)).map(|_| ())),
                CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED
            );
            // To end in the wrong stream spoils the capture; it begins anew.
            assert!(one.end_capture(Flags(0)).is_err());
            one.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
                .expect("begun");
            one.memset_zeros(&mut data).expect("captured");
            two.join(&one).expect("drawn in");
            two.memset_zeros(&mut other).expect("captured");
            if joined {
                one.join(&two).expect("joined");
            }
            let graph = one.end_capture(Flags(0));
            if !joined {
                assert_eq!(
                    failed(graph.map(|_| ())),
                    CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED
                );
                continue;
            }
            assert_eq!(one.clone_dtoh(&other), Ok(vec![1; 4]), "a capture only records");
            graph
                .expect("a graph")
                .expect("not empty")
                .launch()
                .expect("launched");
            assert_eq!(
                (one.clone_dtoh(&data), one.clone_dtoh(&other)),
                (Ok(vec![0; 4]), Ok(vec![0; 4]))
            );
        }
    });
}

#[test]
fn a_graph_copies_what_lies_there_at_its_launch() {
    machine!("a_graph_copies_what_lies_there_at_its_launch").run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: one stream does it all.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        // SAFETY: the memory is written before it is read.
        let mut pinned = unsafe { context.alloc_pinned::<u32>(4) }.expect("pinned");
        let mut data = stream.alloc_zeros::<u32>(4).expect("room");
        let mut copy = stream.alloc_zeros::<u32>(4).expect("room");
        pinned.as_mut_slice().expect("idle").fill(0);
        stream
            .begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("begun");
        // SAFETY: the ring outlives the graph.
        unsafe {
            let (address, _) = cudarc::driver::DevicePtrMut::device_ptr_mut(&mut data, &stream);
            let slice = std::slice::from_raw_parts(pinned.as_ptr().expect("idle"), 4);
            result::memcpy_htod_async(address, slice, stream.cu_stream()).expect("captured");
        }
        stream.memcpy_dtod(&data, &mut copy).expect("captured");
        let graph = stream.end_capture(Flags(0)).expect("ended").expect("a graph");
        for round in 1..4_u32 {
            pinned.as_mut_slice().expect("idle").fill(round);
            graph.launch().expect("launched");
            assert_eq!(stream.clone_dtoh(&copy), Ok(vec![round; 4]));
        }
    });
}
