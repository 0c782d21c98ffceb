//! Nodes of graphs, added and changed one by one.

use std::ffi::c_void;

use super::copy::fill;
use super::graph::name;
use super::guard::{In, Out, export};
use super::host::HostCall;
use super::launch::{Arguments, prepare};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::graph::node_type;
use crate::launch::Shape;
use crate::stream::work::Work;

/// `CUDA_KERNEL_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct KernelParams {
    function: u64,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    arguments: Arguments,
    kernel: u64,
    context: u64,
}

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FillParams {
    to: u64,
    pitch: usize,
    value: u32,
    element: u32,
    width: usize,
    height: usize,
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct HostParams {
    function: Option<extern "C" fn(*mut c_void)>,
    data: usize,
}

impl KernelParams {
    fn work(self, driver: &Driver) -> Result<Work> {
        let function = driver.functions.get(self.function)?;
        if self.context != 0 && self.context != function.context {
            return Err(Code::INVALID_VALUE);
        }
        let shape = Shape {
            grid: self.grid,
            block: self.block,
            shared: self.shared,
        };
        prepare(
            driver,
            self.function,
            function.context,
            0,
            shape,
            self.arguments,
            false,
        )
        .map(Work::Kernel)
    }
}

impl FillParams {
    fn work(self, driver: &Driver) -> Result<Work> {
        let value = self.value.to_le_bytes();
        let value = match self.element {
            1 | 2 | 4 => &value[..self.element as usize],
            _ => return Err(Code::INVALID_VALUE),
        };
        fill(driver, self.to, value, self.pitch, self.width, self.height).map(Work::Fill)
    }
}

impl HostParams {
    fn work(self) -> Result<Work> {
        self.function
            .map(|function| Work::Host(HostCall::Function(function, self.data)))
            .ok_or(Code::INVALID_VALUE)
    }
}

fn add(driver: &Driver, node: Out<u64>, graph: u64, before: In<u64>, count: usize, work: Work) -> Result<()> {
    node.wanted()?;
    let found = driver.graphs.get(graph)?;
    let mut behind = Vec::new();
    for place in 0..count {
        let before = driver.nodes.get(before.at(place)?)?;
        if before.graph != graph || behind.contains(&before.place) {
            return Err(Code::INVALID_VALUE);
        }
        behind.push(before.place);
    }
    let place = found.nodes().add(work, behind);
    node.set(name(driver, graph, place))
}

/// Changes a node of a graph, or the same node of one that was made ready.
fn change(driver: &Driver, exec: Option<u64>, node: u64, work: Work) -> Result<()> {
    let node = driver.nodes.get(node)?;
    let replace = |nodes: &mut crate::graph::Nodes| {
        let found = nodes.get_mut(node.place).ok_or(Code::INVALID_VALUE)?;
        if node_type(&found.work) != node_type(&work) {
            return Err(Code::INVALID_VALUE);
        }
        found.work = work;
        Ok(())
    };
    match exec {
        None => replace(&mut driver.graphs.get(node.graph)?.nodes()),
        Some(exec) => {
            let exec = driver.execs.get(exec)?;
            if exec.graph != node.graph {
                return Err(Code::INVALID_VALUE);
            }
            replace(&mut exec.nodes())
        }
    }
}

export! {
    enter cuGraphAddKernelNode_v2(node: Out<u64>, graph: u64, before: In<u64>, count: usize, parameters: In<KernelParams>) |driver| {
        add(driver, node, graph, before, count, parameters.get()?.work(driver)?)
    }

    enter cuGraphAddMemsetNode(
        node: Out<u64>,
        graph: u64,
        before: In<u64>,
        count: usize,
        parameters: In<FillParams>,
        _context: u64,
    ) |driver| {
        add(driver, node, graph, before, count, parameters.get()?.work(driver)?)
    }

    enter cuGraphAddHostNode(node: Out<u64>, graph: u64, before: In<u64>, count: usize, parameters: In<HostParams>) |driver| {
        add(driver, node, graph, before, count, parameters.get()?.work()?)
    }

    enter cuGraphAddEmptyNode(node: Out<u64>, graph: u64, before: In<u64>, count: usize) |driver| {
        add(driver, node, graph, before, count, Work::Empty)
    }

    enter cuGraphKernelNodeSetParams_v2(node: u64, parameters: In<KernelParams>) |driver| {
        change(driver, None, node, parameters.get()?.work(driver)?)
    }

    enter cuGraphMemsetNodeSetParams(node: u64, parameters: In<FillParams>) |driver| {
        change(driver, None, node, parameters.get()?.work(driver)?)
    }

    enter cuGraphHostNodeSetParams(node: u64, parameters: In<HostParams>) |driver| {
        change(driver, None, node, parameters.get()?.work()?)
    }

    enter cuGraphExecKernelNodeSetParams_v2(exec: u64, node: u64, parameters: In<KernelParams>) |driver| {
        change(driver, Some(exec), node, parameters.get()?.work(driver)?)
    }

    enter cuGraphExecMemsetNodeSetParams(exec: u64, node: u64, parameters: In<FillParams>, _context: u64) |driver| {
        change(driver, Some(exec), node, parameters.get()?.work(driver)?)
    }

    enter cuGraphExecHostNodeSetParams(exec: u64, node: u64, parameters: In<HostParams>) |driver| {
        change(driver, Some(exec), node, parameters.get()?.work()?)
    }
}
