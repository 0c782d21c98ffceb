//! Cards as cudarc sees them.

use crate::machine::machine;
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, result};

#[test]
fn cards_answer_with_what_was_configured() {
    machine!("cards_answer_with_what_was_configured")
        .cards("rtx-4090, cmp-90hx:name=Rig card:memory=3GiB:cc=7.5:sms=7")
        .run(|| {
            let early = result::device::get_count();
            assert_eq!(
                early,
                Err(result::DriverError(CUresult::CUDA_ERROR_NOT_INITIALIZED))
            );
            let first = CudaContext::new(0).expect("a card");
            assert_eq!(CudaContext::device_count(), Ok(2));
            assert_eq!(first.name().expect("named"), "NVIDIA GeForce RTX 4090");
            assert_eq!(first.compute_capability(), Ok((8, 9)));
            assert_eq!(first.total_mem(), Ok(24 << 30));
            assert_eq!(first.mem_get_info(), Ok((24 << 30, 24 << 30)));
            assert!(first.has_async_alloc());
            assert_eq!(
                first.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
                Ok(128)
            );
            let second = CudaContext::new(1).expect("another card");
            assert_eq!(second.name().expect("named"), "Rig card");
            assert_eq!(second.compute_capability(), Ok((7, 5)));
            assert_eq!(second.total_mem(), Ok(3 << 30));
            assert_ne!(
                first.uuid().expect("one").bytes,
                second.uuid().expect("one").bytes
            );
            let third = CudaContext::new(2).err();
            assert_eq!(
                third,
                Some(result::DriverError(CUresult::CUDA_ERROR_INVALID_DEVICE))
            );
        });
}

#[test]
fn cuda_visible_devices_chooses_and_orders() {
    machine!("cuda_visible_devices_chooses_and_orders")
        .cards("rtx-3090, rtx-4090, h100")
        .set("CUDA_VISIBLE_DEVICES", "2,0,9,1")
        .run(|| {
            let names: Vec<_> = (0..2)
                .map(|place| CudaContext::new(place).expect("a card").name())
                .collect();
            assert_eq!(
                names,
                [
                    Ok("NVIDIA H100 80GB HBM3".into()),
                    Ok("NVIDIA GeForce RTX 3090".into())
                ]
            );
            assert_eq!(CudaContext::device_count(), Ok(2));
        });
}

#[test]
fn without_a_visible_card_there_is_no_device() {
    machine!("without_a_visible_card_there_is_no_device")
        .set("CUDA_VISIBLE_DEVICES", "")
        .run(|| {
            assert_eq!(
                result::init(),
                Err(result::DriverError(CUresult::CUDA_ERROR_NO_DEVICE))
            );
        });
}

#[test]
fn a_bad_configuration_is_said_on_standard_error() {
    let outcome = machine!("a_bad_configuration_is_said_on_standard_error")
        .cards("voodoo-2")
        .run(|| {
            assert_eq!(
                result::init(),
                Err(result::DriverError(CUresult::CUDA_ERROR_UNKNOWN))
            );
        });
    if let Some(outcome) = outcome {
        assert!(
            outcome
                .said
                .contains("TESTBED_CUDA_DEVICES: there is no card `voodoo-2`"),
            "{}",
            outcome.said
        );
    }
}

#[test]
fn peers_reach_each_other_on_cards_that_can() {
    machine!("peers_reach_each_other_on_cards_that_can")
        .cards("h100*2, rtx-3090")
        .run(|| {
            let contexts: Vec<_> = (0..3)
                .map(|place| CudaContext::new(place).expect("a card"))
                .collect();
            let can = |from: usize, to: usize| {
                let mut can = -1;
                // SAFETY: `can` may be written, and the ordinals are those of cards.
                let code = unsafe {
                    sys::cuDeviceCanAccessPeer(
                        &raw mut can,
                        contexts[from].cu_device(),
                        contexts[to].cu_device(),
                    )
                };
                assert_eq!(code, CUresult::CUDA_SUCCESS);
                can
            };
            assert_eq!(
                (can(0, 1), can(1, 0), can(0, 2), can(2, 0), can(0, 0)),
                (1, 1, 0, 0, 0)
            );
            contexts[0].bind_to_thread().expect("bound");
            // SAFETY: the handles are those of live contexts.
            let enable = |to: usize| unsafe { sys::cuCtxEnablePeerAccess(contexts[to].cu_ctx(), 0) };
            assert_eq!(enable(1), CUresult::CUDA_SUCCESS);
            assert_eq!(enable(1), CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
            assert_eq!(enable(2), CUresult::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
            // Copies between cards need no access.
            let (one, two) = (contexts[0].default_stream(), contexts[2].default_stream());
            let there = two.clone_htod(&[1_u32, 2, 3]).expect("copied");
            assert_eq!(
                one.clone_dtoh(&one.clone_dtod(&there).expect("copied")),
                Ok(vec![1, 2, 3])
            );
        });
}
