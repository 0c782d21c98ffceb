//! Records of launches: what they counted, what they would cost, or what stopped them.

use std::sync::atomic::Ordering;

use serde::Serialize;
use testbed_ptx::{Counters, Estimate, Fault};

use super::Launching;
use crate::error::Code;
use crate::log;

/// One line of the log: a launch that has completed.
#[derive(Serialize)]
struct Completed<'a> {
    event: &'static str,
    pid: u32,
    device: i32,
    card: &'a str,
    kernel: &'a str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: u64,
    graph: bool,
    counters: &'a Counters,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

/// One line of the log: a launch that a checker has stopped.
#[derive(Serialize)]
struct Stopped<'a> {
    event: &'static str,
    pid: u32,
    device: i32,
    card: &'a str,
    kernel: &'a str,
    grid: [u32; 3],
    block: [u32; 3],
    code: i32,
    fault: String,
    ptx_line: u32,
    instruction: &'a str,
    at_block: [u32; 3],
    at_thread: [u32; 3],
    message: &'a str,
}

/// Records a launch that has completed.
pub fn completed(launching: &Launching, counters: &Counters, estimate: Option<Estimate>) {
    if !log::wanted() {
        return;
    }
    let device = &launching.function.module.device;
    log::record(&Completed {
        event: "launch",
        pid: std::process::id(),
        device: device.ordinal,
        card: &device.card.name,
        kernel: launching.function.kernel().name(),
        grid: launching.shape.grid,
        block: launching.shape.block,
        shared_bytes: launching.shape.shared,
        stream: launching.stream,
        graph: launching.in_graph.load(Ordering::Relaxed),
        counters,
        estimate,
    });
}

/// Records a launch that a checker has stopped, and says so on standard error.
pub fn stopped(launching: &Launching, fault: &Fault, code: Code) {
    let device = &launching.function.module.device;
    log::say(&format!("{code} on device {}: {fault}", device.ordinal));
    log::record(&Stopped {
        event: "fault",
        pid: std::process::id(),
        device: device.ordinal,
        card: &device.card.name,
        kernel: &fault.kernel,
        grid: launching.shape.grid,
        block: launching.shape.block,
        code: code.number(),
        fault: format!("{:?}", fault.kind),
        ptx_line: fault.line,
        instruction: &fault.instruction,
        at_block: fault.block,
        at_thread: fault.thread,
        message: &fault.message,
    });
}
