//! Graphs as a whole: made, asked about, made ready, launched.

use super::guard::{In, Out, export};
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::graph::{Exec, Graph, NodeName, node_type};
use crate::stream::capture;

/// The handle of a node, made when it is first asked for.
pub fn name(driver: &Driver, graph: u64, place: usize) -> u64 {
    let wanted = NodeName { graph, place };
    driver
        .nodes
        .find(|node| **node == wanted)
        .unwrap_or_else(|| driver.nodes.add(wanted))
}

fn instantiate(driver: &Driver, exec: Out<u64>, graph: u64, flags: u64) -> Result<()> {
    exec.wanted()?;
    capture::forbid_unsafe("cuGraphInstantiate")?;
    let found = driver.graphs.get(graph)?;
    exec.set(driver.execs.add(Exec::new(graph, &found, flags)?))
}

/// Writes a list as the API does: without an array its length, with one as many as it holds, and null for the rest.
fn list(found: &[u64], into: &[(Out<u64>, &[u64])], count: Out<usize>) -> Result<()> {
    count.wanted()?;
    if into.iter().all(|(array, _)| !array.given()) {
        return count.set(found.len());
    }
    let room = count.read()?;
    for (array, values) in into {
        for place in 0..room {
            array.at(place).maybe(values.get(place).copied().unwrap_or(0));
        }
    }
    count.set(found.len().min(room))
}

/// `CUgraphExecUpdateResultInfo`: a reason and two nodes.
#[repr(C)]
#[derive(Clone, Copy)]
struct UpdateResult {
    reason: i32,
    node: u64,
    from: u64,
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`: flags, a stream to upload in, and what went wrong.
#[repr(C)]
#[derive(Clone, Copy)]
struct InstantiateParams {
    flags: u64,
    stream: u64,
    node: u64,
    result: i32,
}

export! {
    enter cuGraphCreate(graph: Out<u64>, flags: u32) |driver| {
        graph.wanted()?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        graph.set(driver.graphs.add(Graph::default()))
    }

    enter cuGraphClone(clone: Out<u64>, graph: u64) |driver| {
        clone.wanted()?;
        let nodes = driver.graphs.get(graph)?.nodes().clone();
        clone.set(driver.graphs.add(Graph::new(nodes)))
    }

    enter cuGraphDestroy(graph: u64) |driver| {
        driver.graphs.remove(graph)?;
        driver.nodes.remove_all(|node| node.graph == graph);
        Ok(())
    }

    enter cuGraphGetNodes(graph: u64, nodes: Out<u64>, count: Out<usize>) |driver| {
        let places = driver.graphs.get(graph)?.nodes().list().len();
        let names: Vec<_> = (0..places).map(|place| name(driver, graph, place)).collect();
        list(&names, &[(nodes, &names)], count)
    }

    enter cuGraphGetRootNodes(graph: u64, nodes: Out<u64>, count: Out<usize>) |driver| {
        let found = driver.graphs.get(graph)?;
        let nodes_of = found.nodes();
        let roots = nodes_of.list().iter().enumerate().filter(|(_, node)| node.behind.is_empty());
        let names: Vec<_> = roots.map(|(place, _)| name(driver, graph, place)).collect();
        list(&names, &[(nodes, &names)], count)
    }

    enter cuGraphGetEdges(graph: u64, from: Out<u64>, to: Out<u64>, count: Out<usize>) |driver| {
        let edges = driver.graphs.get(graph)?.nodes().edges();
        let (before, after): (Vec<_>, Vec<_>) =
            edges.iter().map(|(before, after)| (name(driver, graph, *before), name(driver, graph, *after))).unzip();
        list(&before, &[(from, &before), (to, &after)], count)
    }

    enter cuGraphNodeGetType(node: u64, kind: Out<i32>) |driver| {
        kind.wanted()?;
        let node = driver.nodes.get(node)?;
        let graph = driver.graphs.get(node.graph)?;
        let nodes = graph.nodes();
        kind.set(node_type(&nodes.list().get(node.place).ok_or(Code::INVALID_VALUE)?.work))
    }

    enter cuGraphNodeGetDependencies(node: u64, before: Out<u64>, count: Out<usize>) |driver| {
        let node = driver.nodes.get(node)?;
        let graph = driver.graphs.get(node.graph)?;
        let behind = graph.nodes().list().get(node.place).ok_or(Code::INVALID_VALUE)?.behind.clone();
        let names: Vec<_> = behind.into_iter().map(|place| name(driver, node.graph, place)).collect();
        list(&names, &[(before, &names)], count)
    }

    enter cuGraphInstantiateWithFlags(exec: Out<u64>, graph: u64, flags: u64) |driver| {
        instantiate(driver, exec, graph, flags)
    }

    enter cuGraphInstantiate_v2(exec: Out<u64>, graph: u64, _node: Out<u64>, _log: Out<u8>, _size: usize) |driver| {
        instantiate(driver, exec, graph, 0)
    }

    enter cuGraphInstantiateWithParams(exec: Out<u64>, graph: u64, parameters: Out<InstantiateParams>) |driver| {
        let mut given = parameters.read()?;
        let result = instantiate(driver, exec, graph, given.flags);
        given.node = 0;
        given.result = i32::from(result.is_err());
        parameters.set(given)?;
        result
    }

    enter cuGraphExecDestroy(exec: u64) |driver| { driver.execs.remove(exec).map(|_| ()) }

    enter cuGraphExecGetFlags(exec: u64, flags: Out<u64>) |driver| {
        flags.wanted()?;
        flags.set(driver.execs.get(exec)?.flags)
    }

    enter cuGraphUpload(exec: u64, stream: u64) |driver| {
        driver.execs.get(exec)?;
        let stream = driver.stream(stream)?;
        if stream.capture().is_some() { stream.refuse_while_capturing() } else { Ok(()) }
    }

    enter cuGraphLaunch(exec: u64, stream: u64) |driver| {
        let (exec, stream) = (driver.execs.get(exec)?, driver.stream(stream)?);
        driver.launch_graph(&exec, &stream)
    }

    enter cuGraphExecUpdate_v2(exec: u64, graph: u64, result: Out<UpdateResult>) |driver| {
        result.wanted()?;
        let updated = driver.execs.get(exec)?.update(&*driver.graphs.get(graph)?);
        let Err(refusal) = updated else { return result.set(UpdateResult { reason: 0, node: 0, from: 0 }) };
        let node = refusal.node.map_or(0, |place| name(driver, graph, place));
        result.set(UpdateResult { reason: refusal.reason, node, from: 0 })?;
        Err(Code::GRAPH_EXEC_UPDATE_FAILURE)
    }

    enter cuGraphExecUpdate(exec: u64, graph: u64, node: Out<u64>, reason: Out<i32>) |driver| {
        let updated = driver.execs.get(exec)?.update(&*driver.graphs.get(graph)?);
        let refusal = updated.err();
        reason.maybe(refusal.map_or(0, |refusal| refusal.reason));
        node.maybe(refusal.and_then(|refusal| refusal.node).map_or(0, |place| name(driver, graph, place)));
        refusal.map_or(Ok(()), |_| Err(Code::GRAPH_EXEC_UPDATE_FAILURE))
    }

    enter cuGraphAddDependencies(graph: u64, from: In<u64>, to: In<u64>, count: usize) |driver| {
        let found = driver.graphs.get(graph)?;
        for place in 0..count {
            let (before, after) = (driver.nodes.get(from.at(place)?)?, driver.nodes.get(to.at(place)?)?);
            if before.graph != graph || after.graph != graph {
                return Err(Code::INVALID_VALUE);
            }
            found.nodes().order(before.place, after.place)?;
        }
        Ok(())
    }
}
