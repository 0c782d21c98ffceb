//! Planted mistakes: each is stopped, with kernel, line, block and thread, and in the right words.

mod support;

use support::Argument::{Int, Pointer};
use support::Card;
use testbed_ptx::{Fault, FaultKind, LaunchError};

/// A kernel of one body, whose first line is line 5 of the text.
fn kernel(body: &str) -> Card {
    let head = ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n) { .reg .b64 %d<9>; .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b16 %h<9>; .reg .pred %p<9>; .shared .align 16 .b8 tile[256]; .local .align 16 .b8 own[64];\n";
    Card::new(&format!("{head}{body}\nret;\n}}\n"))
}

/// Runs a body over one block of 64 threads and an initialised buffer of 256 bytes; it must be stopped.
fn fault(body: &str) -> Fault {
    let card = kernel(body);
    let buffer = card.put(&(0..64).collect::<Vec<u32>>());
    card.fault("k", [2, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(64)])
}

fn assert_fault(body: &str, kind: FaultKind, line: u32, thread: u32, words: &[&str]) {
    let fault = fault(body);
    let said = fault.to_string();
    assert_eq!(
        (fault.kind, fault.line, fault.thread, fault.block),
        (kind, line, [thread, 0, 0], [0; 3]),
        "{said}"
    );
    assert_eq!(fault.kernel, "k");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing in: {said}");
    }
}

/// %r1 is the thread, %d2 the address of its word.
const PLACE: &str = "ld.param.u64 %d1, [p]; mov.u32 %r1, %tid.x; mad.wide.u32 %d2, %r1, 4, %d1;\n";

#[test]
fn a_read_beyond_the_end_is_out_of_bounds() {
    assert_fault(
        &format!("{PLACE}ld.global.u32 %r2, [%d2+64];"),
        FaultKind::OutOfBounds,
        6,
        48,
        &[
            "Invalid __global__ read of size 4 bytes",
            "out of bounds",
            "4 bytes beyond",
            "ld.global.u32 %r2, [%d2+64]",
            "block (0,0,0)",
            "kernel k",
        ],
    );
}

#[test]
fn a_write_beyond_the_end_is_out_of_bounds() {
    assert_fault(
        &format!("{PLACE}st.global.u32 [%d2+256], %r1;"),
        FaultKind::OutOfBounds,
        6,
        0,
        &["Invalid __global__ write"],
    );
}

#[test]
fn a_null_pointer_is_named() {
    assert_fault(
        "mov.u64 %d1, 0;\nld.global.u32 %r2, [%d1+8];",
        FaultKind::Null,
        6,
        0,
        &["null pointer", "0x8"],
    );
}

#[test]
fn a_misaligned_access_is_named() {
    assert_fault(
        &format!("{PLACE}ld.global.u32 %r2, [%d1+2];"),
        FaultKind::Misaligned,
        6,
        0,
        &["misaligned"],
    );
    assert_fault(
        &format!("{PLACE}ld.global.v4.u32 {{%r2,%r3,%r4,%r5}}, [%d1+8];"),
        FaultKind::Misaligned,
        6,
        0,
        &["16 bytes"],
    );
    assert_fault(
        "st.shared.u32 [tile+2], 0;",
        FaultKind::Misaligned,
        5,
        0,
        &["Misaligned access of 4 bytes at shared address 0x2"],
    );
    assert_fault(
        "st.local.u64 [own+4], 0;",
        FaultKind::Misaligned,
        5,
        0,
        &["local address"],
    );
}

#[test]
fn freed_memory_is_named() {
    let card = kernel(&format!("{PLACE}ld.global.u32 %r2, [%d2];"));
    let buffer = card.put(&[0_u32; 64]);
    card.memory.free(buffer).expect("live");
    let fault = card.fault("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
    assert_eq!(fault.kind, FaultKind::Freed);
    assert!(fault.message.contains("were freed"), "{fault}");
}

#[test]
fn reads_of_what_nobody_wrote_are_named() {
    let card = kernel(&format!("{PLACE}ld.global.u32 %r2, [%d2];"));
    let buffer = card.room(256);
    card.memory.write(buffer, &[0; 20]).expect("within");
    let fault = card.fault("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
    assert_eq!((fault.kind, fault.thread), (FaultKind::Uninitialised, [5, 0, 0]));
    assert!(
        fault.message.contains("Uninitialized __global__ memory read"),
        "{fault}"
    );
    assert_fault(
        "ld.shared.u32 %r1, [tile];",
        FaultKind::Uninitialised,
        5,
        0,
        &["Uninitialized read of 4 bytes at shared address 0x0"],
    );
    assert_fault(
        "ld.local.u32 %r1, [own+4];",
        FaultKind::Uninitialised,
        5,
        0,
        &["local address 0x4"],
    );
    assert_fault(
        "add.u32 %r1, %r2, 1;",
        FaultKind::Uninitialised,
        5,
        0,
        &["register that was never written"],
    );
    assert_fault(
        "atom.shared.add.u32 %r1, [tile], 1;",
        FaultKind::Uninitialised,
        5,
        0,
        &["atomic"],
    );
}

#[test]
fn a_register_written_by_some_lanes_is_unknown_to_the_others() {
    let body = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 3; @%p1 mov.u32 %r2, 5;\nadd.u32 %r3, %r2, 1;";
    assert_fault(body, FaultKind::Uninitialised, 6, 3, &["add.u32 %r3, %r2, 1"]);
}

#[test]
fn copies_of_an_unwritten_register_are_no_reads() {
    let card = kernel("mov.u32 %r2, %r1; mov.b64 %d1, %d2;");
    card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(0), Int(0)]);
}

#[test]
fn shared_memory_has_an_end() {
    assert_fault(
        "st.shared.u32 [tile+256], 0;",
        FaultKind::OutOfBounds,
        5,
        0,
        &["the block has 256 bytes"],
    );
    assert_fault(
        "mov.u64 %d1, 0x780000000200; st.u32 [%d1], 0;",
        FaultKind::OutOfBounds,
        5,
        0,
        &["shared address 0x200"],
    );
    assert_fault(
        "ld.local.u32 %r1, [own+64];",
        FaultKind::OutOfBounds,
        5,
        0,
        &["the thread has 64 bytes"],
    );
    assert_fault(
        "mov.u32 %r1, 16; ld.param.u32 %r2, [%r1];",
        FaultKind::OutOfBounds,
        5,
        0,
        &["the launch gave 12 bytes"],
    );
}

#[test]
fn addresses_stay_in_their_space() {
    let shared_as_global = "mov.u64 %d1, tile; cvta.shared.u64 %d1, %d1;\nst.global.u32 [%d1], 0;";
    assert_fault(
        shared_as_global,
        FaultKind::OutOfBounds,
        6,
        0,
        &["Invalid __global__ write"],
    );
    assert_fault(
        "mov.u64 %d1, own; cvta.local.u64 %d1, %d1;\natom.add.u32 %r1, [%d1], 1;",
        FaultKind::WrongSpace,
        6,
        0,
        &["local"],
    );
}

#[test]
fn constant_memory_is_not_written() {
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n.const .align 4 .u32 c = 5;\n.visible .entry k() { .reg .b64 %d1;\nmov.u64 %d1, c;\nst.global.u32 [%d1], 1; ret; }";
    let fault = Card::new(text).fault("k", [1, 1, 1], [1, 1, 1], 0, &[]);
    assert_eq!((fault.kind, fault.line), (FaultKind::WrongSpace, 7));
}

#[test]
fn a_read_before_the_barrier_races_with_the_write() {
    let body = "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, tile; add.u32 %r3, %r3, %r2;\nst.shared.u32 [%r3], %r1;\nmov.u32 %r4, tile; xor.b32 %r2, %r2, 4; add.u32 %r4, %r4, %r2;\nld.shared.u32 %r5, [%r4];";
    assert_fault(
        body,
        FaultKind::Race,
        8,
        0,
        &[
            "Race: read of 4 bytes at shared address 0x4 after a write by thread 1",
            "no barrier between",
        ],
    );
}

#[test]
fn a_write_before_the_barrier_races_with_the_read() {
    let body = "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 40; @%p1 st.shared.u32 [tile], 5; bar.sync 0; ld.shared.u32 %r2, [tile]; setp.eq.u32 %p2, %r1, 7;\n@%p2 st.shared.u32 [tile], 6;";
    assert_fault(
        body,
        FaultKind::Race,
        6,
        7,
        &["Race: write of 4 bytes at shared address 0x0 after a read by thread"],
    );
}

#[test]
fn two_writes_of_different_values_race_and_of_the_same_do_not() {
    assert_fault(
        "mov.u32 %r1, %tid.x;\nst.shared.u32 [tile], %r1;",
        FaultKind::Race,
        6,
        1,
        &["after a write by thread 0"],
    );
    let card = kernel("st.shared.u32 [tile], 5;");
    card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(0), Int(0)]);
}

#[test]
fn a_warp_needs_its_own_synchronisation() {
    let exchange = |between: &str| {
        format!(
            "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, tile; add.u32 %r4, %r3, %r2; xor.b32 %r5, %r2, 4; add.u32 %r5, %r3, %r5;\nst.shared.u32 [%r4], %r1;\n{between}\nld.shared.u32 %r6, [%r5];"
        )
    };
    assert_fault(
        &exchange("shfl.sync.idx.b32 %r7, %r1, 0, 31, -1;"),
        FaultKind::Race,
        8,
        0,
        &["Race"],
    );
    let card = kernel(&exchange("bar.warp.sync -1;"));
    card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(0), Int(0)]);
}

#[test]
fn a_copy_is_not_read_before_it_is_waited_for() {
    let copy = |wait: &str| {
        format!(
            "{PLACE}setp.eq.u32 %p1, %r1, 0;\n@%p1 cp.async.ca.shared.global [tile], [%d1], 4;\n@%p1 cp.async.commit_group;\n{wait}\n@%p1 ld.shared.u32 %r3, [tile];"
        )
    };
    assert_fault(
        &copy(""),
        FaultKind::Race,
        10,
        0,
        &["cp.async of thread 0", "not waited for"],
    );
    assert_fault(
        &copy("cp.async.wait_group 1;"),
        FaultKind::Race,
        10,
        0,
        &["not waited for"],
    );
    let card = kernel(&copy("cp.async.wait_group 0;"));
    let buffer = card.put(&[0_u32; 64]);
    card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
}

#[test]
fn a_barrier_that_some_threads_miss_is_named() {
    let exited = "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 50; @%p1 ret;\nbar.sync 0;";
    assert_fault(
        exited,
        FaultKind::Barrier,
        6,
        0,
        &["Divergent threads in block", "thread 50 of the block has exited"],
    );
    let other = "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 32; @%p1 bra OTHER;\nbar.sync 0; bra END;\nOTHER: bar.sync 1;\nEND:";
    assert_fault(
        other,
        FaultKind::Barrier,
        6,
        0,
        &["thread 32 of the block waits elsewhere, at line 7"],
    );
    let within_warp = "mov.u32 %r1, %tid.x; and.b32 %r1, %r1, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra EVEN;\nbar.sync 0; bra END;\nEVEN: bar.sync 0;\nEND:";
    let fault = fault(within_warp);
    assert_eq!(fault.kind, FaultKind::Barrier, "{fault}");
    assert!(fault.message.contains("Divergent threads in warp"), "{fault}");
}

#[test]
fn arguments_of_barriers_are_checked() {
    assert_fault("bar.sync 16;", FaultKind::Barrier, 5, 0, &["below 16"]);
    assert_fault(
        "bar.sync 0, 33;",
        FaultKind::Barrier,
        5,
        0,
        &["multiple of the warp size"],
    );
}

#[test]
fn masks_are_checked() {
    assert_fault(
        "mov.u32 %r1, 0;\nshfl.sync.idx.b32 %r2, %r1, 0, 31, 0xfffffffe;",
        FaultKind::Mask,
        6,
        0,
        &["lane 0", "does not name it"],
    );
    let exited =
        "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 16; @%p1 exit;\nshfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;";
    assert_fault(
        exited,
        FaultKind::Mask,
        6,
        0,
        &["reads lane 16, which has exited"],
    );
    let elsewhere = "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 16; @%p1 bra HIGH;\nvote.sync.ballot.b32 %r2, %p1, -1;\nHIGH: bar.sync 0;";
    assert_fault(elsewhere, FaultKind::Mask, 6, 0, &["wait for lanes 0xffff0000"]);
    let partial = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 31; mov.u32 %r2, 0; mov.u32 %r3, 0;\n@%p1 mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r4,%r5}, {%r1}, {%r1}, {%r2,%r3};";
    assert_fault(partial, FaultKind::Mask, 6, 0, &["mma", "needs all 32"]);
}

#[test]
fn traps_breakpoints_and_bad_jumps_are_named() {
    assert_fault("trap;", FaultKind::Trap, 5, 0, &["Trap"]);
    assert_fault("brkpt;", FaultKind::Breakpoint, 5, 0, &["Breakpoint"]);
    assert_fault(
        "T: .branchtargets A; mov.u32 %r1, %tid.x;\nbrx.idx %r1, T; A:",
        FaultKind::Jump,
        6,
        1,
        &["index 1 in a table of 1"],
    );
}

#[test]
fn endless_loops_and_recursions_are_stopped() {
    let mut card = kernel("LOOP: bra LOOP;");
    card.limits.instructions = 100_000;
    let fault = card.fault("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(0), Int(0)]);
    assert_eq!(fault.kind, FaultKind::Timeout);
    assert!(fault.message.contains("100000 warp instructions"), "{fault}");
    let text = ".version 8.0\n.target sm_90\n.address_size 64\n.func again()\n{\ncall again;\nret;\n}\n.visible .entry k() {\ncall again; ret; }";
    let fault = Card::new(text).fault("k", [1, 1, 1], [1, 1, 1], 0, &[]);
    assert_eq!((fault.kind, fault.line), (FaultKind::StackOverflow, 6));
}

#[test]
fn lanes_that_wait_in_a_loop_let_the_others_come() {
    let body = "mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; setp.ne.u32 %p1, %r1, 63; @%p1 bra WAIT; st.shared.u32 [tile], 0; bra GO; WAIT: GO: bar.sync 0; setp.eq.u32 %p2, %r1, 63; @%p2 bra SET; LOOP: atom.shared.add.u32 %r3, [tile], 0; setp.eq.u32 %p3, %r3, 0; @%p3 bra LOOP; bra END; SET: atom.shared.exch.b32 %r4, [tile], 1; END:";
    let mut card = kernel(body);
    card.limits.instructions = 10_000_000;
    card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(0), Int(0)]);
}

#[test]
fn the_first_block_in_order_is_reported() {
    let body =
        format!("{PLACE}mov.u32 %r2, %ctaid.x; setp.ge.u32 %p1, %r2, 3; @%p1 st.global.u32 [%d1+256], 0;");
    for _ in 0..20 {
        let card = kernel(&body);
        let buffer = card.put(&[0_u32; 64]);
        let fault = card.fault("k", [64, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
        assert_eq!(fault.block, [3, 0, 0]);
    }
}

#[test]
fn launches_that_cannot_begin_are_refused() {
    let card = kernel("");
    let refused = |grid, block, shared| card.refused("k", grid, block, shared, &[Pointer(0), Int(0)]);
    assert!(matches!(
        refused([0, 1, 1], [1, 1, 1], 0),
        LaunchError::Grid { .. }
    ));
    assert!(matches!(
        refused([1, 65_536, 1], [1, 1, 1], 0),
        LaunchError::Grid { .. }
    ));
    assert!(matches!(
        refused([1, 1, 1], [0, 1, 1], 0),
        LaunchError::Block { .. }
    ));
    assert!(matches!(
        refused([1, 1, 1], [1, 1, 65], 0),
        LaunchError::Block { .. }
    ));
    assert!(matches!(
        refused([1, 1, 1], [1_025, 1, 1], 0),
        LaunchError::Block { .. }
    ));
    assert!(matches!(
        refused([1, 1, 1], [64, 32, 1], 0),
        LaunchError::Threads {
            threads: 2_048,
            limit: 1_024,
            ..
        }
    ));
    assert!(matches!(
        refused([1, 1, 1], [1, 1, 1], 227 * 1_024),
        LaunchError::Shared { .. }
    ));
    card.run(
        "k",
        [1, 1, 1],
        [1, 1, 1],
        227 * 1_024 - 256,
        &[Pointer(0), Int(0)],
    );
    let bounded = Card::new(
        ".version 8.0\n.target sm_90\n.address_size 64\n.entry k() .reqntid 32, 2 { ret; }\n.entry m() .maxntid 64 { ret; }",
    );
    assert!(matches!(
        bounded.refused("k", [1, 1, 1], [64, 1, 1], 0, &[]),
        LaunchError::RequiredBlock { .. }
    ));
    assert!(matches!(
        bounded.refused("m", [1, 1, 1], [65, 1, 1], 0, &[]),
        LaunchError::Threads { limit: 64, .. }
    ));
    bounded.run("k", [1, 1, 1], [32, 2, 1], 0, &[]);
}

#[test]
fn missing_parameters_are_refused() {
    use testbed_ptx::{Launch, RunError, run};
    let card = kernel("");
    let kernel = card.module.kernel("k").expect("the kernel");
    let (grid, block) = ([1; 3], [1; 3]);
    let launch = Launch {
        module: &card.module,
        kernel,
        globals: &card.globals,
        grid,
        block,
        shared_bytes: 0,
        parameters: &[0; 11],
        watched: None,
    };
    let refused = run(&launch, &card.memory, &card.limits, 1);
    assert!(
        matches!(
            refused,
            Err(RunError::Launch(LaunchError::Parameters {
                given: 11,
                wanted: 12,
                ..
            }))
        ),
        "{refused:?}"
    );
}

#[test]
fn loads_of_watched_memory_are_counted_apart_and_shared_bytes_once() {
    // Lanes two by two read the same word of the first buffer; all of them read one word of the second, which is not
    // watched.
    let mut card = kernel(&format!(
        "{PLACE}shr.u32 %r3, %r1, 1; mul.wide.u32 %d3, %r3, 4; add.u64 %d3, %d3, %d1; ld.global.u32 %r2, [%d3]; ld.global.u32 %r3, [%d1+4096];"
    ));
    let buffer = card.put(&[0_u32; 2048]);
    let arguments = [Pointer(buffer), Int(0)];
    let counted = card.run("k", [1, 1, 1], [64, 1, 1], 0, &arguments);
    assert_eq!(counted.watched_loads, testbed_ptx::Traffic::default());
    card.watched = Some((buffer, 4096));
    let counted = card.run("k", [1, 1, 1], [64, 1, 1], 0, &arguments);
    let (all, watched) = (counted.global_loads, counted.watched_loads);
    assert_eq!((all.requests, all.sectors, all.bytes), (4, 4 + 2, 512));
    assert_eq!((watched.requests, watched.sectors, watched.bytes), (2, 4, 128));
}

#[test]
fn sectors_and_bank_conflicts_are_counted() {
    let card = kernel(&format!(
        "{PLACE}ld.global.u32 %r2, [%d2]; mul.lo.u32 %r3, %r1, 4; mov.u32 %r4, tile; add.u32 %r4, %r4, %r3; st.shared.u32 [%r4], %r2;"
    ));
    let buffer = card.put(&[0_u32; 64]);
    let counters = card.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
    assert_eq!(
        (
            counters.global_loads.requests,
            counters.global_loads.sectors,
            counters.global_loads.bytes
        ),
        (2, 8, 256)
    );
    assert_eq!(
        (
            counters.shared.requests,
            counters.shared.wavefronts,
            counters.shared.conflicts
        ),
        (2, 2, 0)
    );
    let strided = kernel(&format!(
        "{PLACE}and.b32 %r3, %r1, 1; mul.lo.u32 %r3, %r3, 128; mov.u32 %r4, tile; add.u32 %r4, %r4, %r3; st.shared.u32 [%r4], 7;"
    ));
    let counters = strided.run("k", [1, 1, 1], [64, 1, 1], 0, &[Pointer(buffer), Int(0)]);
    assert_eq!(
        (
            counters.shared.requests,
            counters.shared.wavefronts,
            counters.shared.conflicts
        ),
        (2, 4, 2)
    );
}
