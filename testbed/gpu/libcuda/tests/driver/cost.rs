//! What the driver adds to a launch.

use std::time::{Duration, Instant};

use cudarc::driver::sys::{CUgraphInstantiate_flags as Flags, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaContext, CudaStream, LaunchConfig};
use cudarc::nvrtc::Ptx;

use crate::machine::machine;

const LAUNCHES: u32 = 2_000;
const ROUNDS: u32 = 7;

/// The least time of a launch over some rounds.
fn least(stream: &CudaStream, mut launch: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        for _ in 0..LAUNCHES {
            launch();
        }
        stream.synchronize().expect("done");
        begun.elapsed() / LAUNCHES
    });
    rounds.min().expect("rounds")
}

#[test]
#[ignore = "it prints times: `cargo test -p testbed-libcuda --test driver -- --ignored --nocapture cost`"]
fn a_launch_of_an_empty_kernel() {
    let machine = machine!("a_launch_of_an_empty_kernel").set("TESTBED_CUDA_LOG", "");
    let outcome = machine.run(|| {
        let context = CudaContext::new(0).expect("a card");
        // SAFETY: one stream does it all.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let module = context
            .load_module(Ptx::from_src(include_str!("kernels.ptx")))
            .expect("loaded");
        let function = module.load_function("empty").expect("found");
        let shape = LaunchConfig {
            grid_dim: (1, 1, 1),
            block_dim: (1, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the kernel does nothing.
        let launch = || {
            unsafe { stream.launch_builder(&function).launch(shape) }
                .map(|_| ())
                .expect("launched");
        };
        println!("launch of an empty kernel: {:?}", least(&stream, launch));
        let data = (0..500)
            .map(|_| stream.alloc_zeros::<u8>(1 << 10).expect("room"))
            .collect::<Vec<_>>();
        println!(
            "the same beside {} allocations: {:?}",
            data.len(),
            least(&stream, launch)
        );
        let mut one = stream.alloc_zeros::<u8>(64).expect("room");
        println!(
            "fill of 64 bytes: {:?}",
            least(&stream, || stream.memset_zeros(&mut one).expect("filled"))
        );
        println!(
            "copy of 64 bytes to the card: {:?}",
            least(&stream, || stream
                .memcpy_htod(&[1; 64], &mut one)
                .expect("copied"))
        );
        stream
            .begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .expect("begun");
        launch();
        let graph = stream.end_capture(Flags(0)).expect("ended").expect("a graph");
        println!(
            "the same launch as a graph: {:?}",
            least(&stream, || graph.launch().expect("launched"))
        );
    });
    if let Some(outcome) = outcome {
        print!("{}", outcome.said);
    }
}
