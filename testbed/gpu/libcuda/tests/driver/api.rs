//! Parts of the API that cudarc's safe layer does not reach, called as a C program would.

use std::ffi::CStr;

use cudarc::driver::sys::{self, CUmemPool_attribute as Attribute, CUpointer_attribute as Pointer, CUresult};
use cudarc::driver::{CudaContext, DriverError, result};

use crate::machine::machine;

const OK: CUresult = CUresult::CUDA_SUCCESS;

#[test]
fn errors_have_their_documented_names_and_texts() {
    machine!("errors_have_their_documented_names_and_texts").run(|| {
        // Texts are there before cuInit.
        let error = DriverError(CUresult::CUDA_ERROR_ECC_UNCORRECTABLE);
        assert_eq!(error.error_name(), Ok(c"CUDA_ERROR_ECC_UNCORRECTABLE"));
        assert_eq!(error.error_string(), Ok(c"uncorrectable ECC error encountered"));
        // SAFETY: a null address for the result is refused.
        let code = unsafe { sys::cuGetErrorName(CUresult::CUDA_SUCCESS, std::ptr::null_mut()) };
        assert_eq!(code, CUresult::CUDA_ERROR_INVALID_VALUE);
    });
}

/// The address of a function by its plain name and a version, and how the search ended.
fn find(name: &CStr, version: i32) -> (usize, CUresult) {
    let mut address = std::ptr::null_mut();
    let mut status = sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS;
    // SAFETY: both results may be written.
    let code =
        unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &raw mut address, version, 0, &raw mut status) };
    (address.addr(), code)
}

#[test]
fn functions_are_found_by_name_and_version() {
    machine!("functions_are_found_by_name_and_version").run(|| {
        let (address, code) = find(c"cuMemAlloc", 12_020);
        assert_eq!(code, OK);
        let allocate = address as *const ();
        // SAFETY: the address is that of the latest `cuMemAlloc`, whose type this is.
        let allocate: extern "C" fn(*mut u64, usize) -> CUresult = unsafe { std::mem::transmute(allocate) };
        assert_eq!(
            allocate(std::ptr::null_mut(), 8),
            CUresult::CUDA_ERROR_NOT_INITIALIZED
        );
        assert_ne!(find(c"cuMemAdvise", 12_010).0, find(c"cuMemAdvise", 12_020).0);
        assert_eq!(
            find(c"cuNoSuchThing", 12_020),
            (0, CUresult::CUDA_ERROR_NOT_FOUND)
        );
        let mut table = std::ptr::null();
        let id = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: the table's address may be written; its first word is its size.
        unsafe {
            assert_eq!(sys::cuGetExportTable(&raw mut table, &raw const id), OK);
            assert!(*table.cast::<usize>() >= 8);
            assert_eq!(
                sys::cuGetExportTable(&raw mut table, std::ptr::null()),
                CUresult::CUDA_ERROR_INVALID_VALUE
            );
        }
    });
}

#[test]
fn pointers_say_what_they_are() {
    machine!("pointers_say_what_they_are").cards("h100*2").run(|| {
        let _first = CudaContext::new(0).expect("a card");
        let second = CudaContext::new(1).expect("a card");
        // SAFETY: each result is at least as large as the attribute's value.
        unsafe {
            let held = result::malloc_sync(1000).expect("room");
            let ask = |attribute, pointer| {
                let mut value = 0_u64;
                (
                    sys::cuPointerGetAttribute((&raw mut value).cast(), attribute, pointer),
                    value,
                )
            };
            assert_eq!(ask(Pointer::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, held), (OK, 2));
            assert_eq!(
                ask(Pointer::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, held + 10),
                (OK, 1)
            );
            assert_eq!(
                ask(Pointer::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, held + 10),
                (OK, held)
            );
            assert_eq!(ask(Pointer::CU_POINTER_ATTRIBUTE_RANGE_SIZE, held), (OK, 1000));
            assert_eq!(
                ask(Pointer::CU_POINTER_ATTRIBUTE_CONTEXT, held),
                (OK, second.cu_ctx().addr() as u64)
            );
            assert_eq!(
                ask(Pointer::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 64).0,
                CUresult::CUDA_ERROR_INVALID_VALUE
            );
            let managed =
                result::malloc_managed(8, sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL).expect("room");
            assert_eq!(ask(Pointer::CU_POINTER_ATTRIBUTE_IS_MANAGED, managed), (OK, 1));
            assert_eq!(ask(Pointer::CU_POINTER_ATTRIBUTE_IS_MANAGED, held), (OK, 0));
            let (mut base, mut size) = (0, 0);
            assert_eq!(
                sys::cuMemGetAddressRange_v2(&raw mut base, &raw mut size, held + 999),
                OK
            );
            assert_eq!((base, size), (held, 1000));
            assert_ne!(
                sys::cuMemGetAddressRange_v2(&raw mut base, &raw mut size, held + 1000),
                OK
            );
        }
    });
}

#[test]
fn registered_memory_is_known_until_it_is_not() {
    machine!("registered_memory_is_known_until_it_is_not").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let stream = context.default_stream();
        let mut memory = vec![3_u8; 4096];
        let start = memory.as_mut_ptr().cast();
        let mut pointer = 0;
        // SAFETY: the memory lives until the end and is registered meanwhile.
        unsafe {
            assert_eq!(sys::cuMemHostRegister_v2(start, 4096, 0), OK);
            let again = sys::cuMemHostRegister_v2(start, 16, 0);
            assert_eq!(again, CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
            assert_eq!(sys::cuMemHostGetDevicePointer_v2(&raw mut pointer, start, 0), OK);
            let copy = stream.alloc::<u8>(16).expect("room");
            let (address, _sync) = cudarc::driver::DevicePtr::device_ptr(&copy, &stream);
            result::memcpy_dtod_sync(address, pointer + 8, 16).expect("copied from the host");
            let mut back = [0_u8; 16];
            result::memcpy_dtoh_sync(&mut back, address).expect("copied");
            assert_eq!(back, [3; 16]);
            assert_eq!(sys::cuMemHostUnregister(start), OK);
            assert_eq!(
                sys::cuMemHostUnregister(start),
                CUresult::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
            );
            assert_eq!(
                result::memcpy_dtod_sync(address, pointer, 8),
                Err(DriverError(CUresult::CUDA_ERROR_INVALID_VALUE))
            );
        }
    });
}

#[test]
fn rows_are_copied_and_filled_with_their_pitch() {
    machine!("rows_are_copied_and_filled_with_their_pitch").run(|| {
        let _context = CudaContext::new(0).expect("a card");
        let source: Vec<u8> = (0..12).collect();
        // SAFETY: the copy's description names memory that lives, and says its extent.
        unsafe {
            let mut target = 0;
            let mut pitch = 0;
            assert_eq!(
                sys::cuMemAllocPitch_v2(&raw mut target, &raw mut pitch, 4, 3, 4),
                OK
            );
            assert_eq!(pitch, 512);
            assert_eq!(sys::cuMemsetD2D8_v2(target, pitch, 9, 4, 3), OK);
            let mut copy = sys::CUDA_MEMCPY2D {
                srcXInBytes: 1,
                srcY: 0,
                srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
                srcHost: source.as_ptr().cast(),
                srcDevice: 0,
                srcArray: std::ptr::null_mut(),
                srcPitch: 4,
                dstXInBytes: 0,
                dstY: 1,
                dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                dstHost: std::ptr::null_mut(),
                dstDevice: target,
                dstArray: std::ptr::null_mut(),
                dstPitch: pitch,
                WidthInBytes: 3,
                Height: 2,
            };
            assert_eq!(sys::cuMemcpy2D_v2(&raw const copy), OK);
            let mut row = [0_u8; 4];
            for (place, expected) in [[9, 9, 9, 9], [1, 2, 3, 9], [5, 6, 7, 9]].into_iter().enumerate() {
                result::memcpy_dtoh_sync(&mut row, target + (place * pitch) as u64).expect("copied");
                assert_eq!(row, expected);
            }
            copy.srcPitch = 3;
            assert_eq!(
                sys::cuMemcpy2D_v2(&raw const copy),
                CUresult::CUDA_ERROR_INVALID_VALUE,
                "a row wider than its pitch"
            );
            copy.srcPitch = 4;
            copy.Height = 3;
            assert_eq!(
                sys::cuMemcpy2D_v2(&raw const copy),
                CUresult::CUDA_ERROR_INVALID_VALUE,
                "beyond the end"
            );
        }
    });
}

#[test]
fn graphs_are_built_node_by_node_and_updated() {
    machine!("graphs_are_built_node_by_node_and_updated").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let stream = context.default_stream();
        let data = stream.alloc_zeros::<u32>(4).expect("room");
        // SAFETY: nodes, graphs and memory live until the end; parameters say what is there.
        unsafe {
            let (address, _sync) = cudarc::driver::DevicePtr::device_ptr(&data, &stream);
            let mut parameters: sys::CUDA_MEMSET_NODE_PARAMS = std::mem::zeroed();
            (
                parameters.dst,
                parameters.elementSize,
                parameters.width,
                parameters.height,
            ) = (address, 4, 4, 1);
            let build = |value, dependent: bool| {
                let (mut graph, mut empty, mut node) =
                    (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
                assert_eq!(sys::cuGraphCreate(&raw mut graph, 0), OK);
                assert_eq!(
                    sys::cuGraphAddEmptyNode(&raw mut empty, graph, std::ptr::null(), 0),
                    OK
                );
                let parameters = sys::CUDA_MEMSET_NODE_PARAMS { value, ..parameters };
                let added = sys::cuGraphAddMemsetNode(
                    &raw mut node,
                    graph,
                    &raw const empty,
                    usize::from(dependent),
                    &raw const parameters,
                    context.cu_ctx(),
                );
                assert_eq!(added, OK);
                (graph, node)
            };
            let (graph, node) = build(5, true);
            let mut count = 0;
            assert_eq!(
                sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &raw mut count),
                OK
            );
            assert_eq!(count, 2);
            let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
            assert_eq!(sys::cuGraphNodeGetType(node, &raw mut kind), OK);
            assert_eq!(kind, sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEMSET);
            let mut exec = std::ptr::null_mut();
            assert_eq!(sys::cuGraphInstantiateWithFlags(&raw mut exec, graph, 0), OK);
            let launched = || {
                assert_eq!(sys::cuGraphLaunch(exec, stream.cu_stream()), OK);
                stream.clone_dtoh(&data).expect("copied")
            };
            assert_eq!(launched(), [5; 4]);
            let changed = sys::CUDA_MEMSET_NODE_PARAMS {
                value: 6,
                ..parameters
            };
            let set = sys::cuGraphExecMemsetNodeSetParams(exec, node, &raw const changed, context.cu_ctx());
            assert_eq!((set, launched()), (OK, vec![6; 4]));
            let mut outcome: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
            assert_eq!(
                sys::cuGraphExecUpdate_v2(exec, build(7, true).0, &raw mut outcome),
                OK
            );
            assert_eq!(launched(), [7; 4]);
            let refused = sys::cuGraphExecUpdate_v2(exec, build(8, false).0, &raw mut outcome);
            assert_eq!(refused, CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
            assert_eq!(
                outcome.result,
                sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED
            );
            assert_eq!(launched(), [7; 4]);
            assert_eq!(sys::cuGraphExecDestroy(exec), OK);
            assert_eq!(
                sys::cuGraphLaunch(exec, stream.cu_stream()),
                CUresult::CUDA_ERROR_INVALID_VALUE
            );
        }
    });
}

#[test]
fn pools_count_what_is_used() {
    machine!("pools_count_what_is_used").run(|| {
        let context = CudaContext::new(0).expect("a card");
        let stream = context.default_stream();
        let held = stream.alloc_zeros::<u8>(4096).expect("room");
        // SAFETY: results are as wide as the attributes' values.
        unsafe {
            let pool = result::device::get_default_mem_pool(context.cu_device()).expect("a pool");
            assert_eq!(result::device::get_mem_pool(context.cu_device()), Ok(pool));
            let ask = |attribute| {
                let mut value = 0_u64;
                result::mem_pool::get_attribute(pool, attribute, (&raw mut value).cast())
                    .expect("an attribute");
                value
            };
            assert_eq!(ask(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 4096);
            drop(held);
            stream.synchronize().expect("done");
            assert_eq!(ask(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
            assert_eq!(ask(Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH), 4096);
            let mut kept = 1_u64 << 20;
            let threshold = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, threshold, (&raw mut kept).cast()).expect("set");
            assert_eq!(ask(threshold), 1 << 20);
            let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
            properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
            properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
            properties.maxSize = 1000;
            let own = result::mem_pool::create(&raw const properties).expect("a pool");
            assert!(result::mem_pool::alloc_async(own, 1000, stream.cu_stream()).is_ok());
            let beyond = result::mem_pool::alloc_async(own, 1, stream.cu_stream());
            assert_eq!(beyond, Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)));
            assert_eq!(result::mem_pool::destroy(own), Ok(()));
            assert!(result::mem_pool::destroy(pool).is_err(), "the default pool stays");
        }
    });
}
