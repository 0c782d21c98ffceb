//! Graphs: work with an order, recorded once and launched often.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Code, Result};
use crate::stream::work::Work;

/// Nodes with what each depends on. A node is named by its place.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    list: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub work: Work,
    /// Places of the nodes that must be done before.
    pub behind: Vec<usize>,
}

impl Nodes {
    /// Adds a node behind others, which all exist: a graph has no circles.
    pub fn add(&mut self, work: Work, behind: Vec<usize>) -> usize {
        self.list.push(Node { work, behind });
        self.list.len() - 1
    }

    /// Makes one node wait for another that was added before it. Work is launched in the order of adding, so a
    /// dependency against that order is refused, although a graph that has no circle could have it.
    pub fn order(&mut self, before: usize, after: usize) -> Result<()> {
        let node = self
            .list
            .get_mut(after)
            .filter(|_| before < after)
            .ok_or(Code::INVALID_VALUE)?;
        if node.behind.contains(&before) {
            return Err(Code::INVALID_VALUE);
        }
        node.behind.push(before);
        Ok(())
    }

    /// The nodes in an order in which they can be done: that in which they were added.
    pub fn list(&self) -> &[Node] {
        &self.list
    }

    /// The node of a place, to change its work.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut Node> {
        self.list.get_mut(place)
    }

    /// The given nodes and all that they depend on.
    pub fn ancestors(&self, of: &[usize]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = of.to_vec();
        while let Some(place) = open.pop() {
            if found.insert(place) {
                open.extend(self.list.get(place).map_or(&[][..], |node| &node.behind));
            }
        }
        found
    }

    /// Every pair of a node and one that it depends on.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let of = |(place, node): (usize, &Node)| -> Vec<_> {
            node.behind.iter().map(|before| (*before, place)).collect()
        };
        self.list.iter().enumerate().flat_map(of).collect()
    }
}

/// `CUgraphNodeType` of a node's work.
pub fn node_type(work: &Work) -> i32 {
    match work {
        Work::Kernel(_) => 0,
        Work::Copy(_) => 1,
        Work::Fill(_) => 2,
        Work::Host(_) => 3,
        Work::Empty => 5,
        Work::Wait(_) => 6,
        Work::Record(_) => 7,
        Work::Free(..) => 11,
    }
}

/// A graph that a caller holds.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Mutex<Nodes>,
}

impl Graph {
    /// A graph of these nodes.
    pub fn new(nodes: Nodes) -> Self {
        Self {
            nodes: Mutex::new(nodes),
        }
    }

    /// Its nodes.
    pub fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node that a caller holds: a place in a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeName {
    /// The graph's handle.
    pub graph: u64,
    /// The node's place in it.
    pub place: usize,
}

/// A graph made ready to be launched.
#[derive(Debug)]
pub struct Exec {
    /// The graph that it was made from.
    pub graph: u64,
    /// Flags of its instantiation.
    pub flags: u64,
    nodes: Mutex<Nodes>,
}

/// Flags of `cuGraphInstantiate`: free on launch, upload, launch from a device, priorities of nodes.
const FLAG_DEVICE_LAUNCH: u64 = 4;
const FLAGS: u64 = 15;

/// Why an update was refused: `CUgraphExecUpdateResult` and the place of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason's number.
    pub reason: i32,
    /// The node of the new graph that differs, if it is one.
    pub node: Option<usize>,
}

impl Exec {
    /// Makes a graph ready. Launching from a device is a thing of its own, which this library has not.
    pub fn new(handle: u64, graph: &Graph, flags: u64) -> Result<Self> {
        // The documentation allows a launch from the device with no free on launch.
        if flags & !FLAGS != 0 || flags & FLAG_DEVICE_LAUNCH != 0 && flags & 1 != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if flags & FLAG_DEVICE_LAUNCH != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        Ok(Self {
            graph: handle,
            flags,
            nodes: Mutex::new(graph.nodes().clone()),
        })
    }

    /// Its nodes.
    pub fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the parameters of a graph of the same shape.
    pub fn update(&self, graph: &Graph) -> std::result::Result<(), Refusal> {
        const TOPOLOGY: i32 = 2;
        const NODE_TYPE: i32 = 3;
        let (mut own, new) = (self.nodes(), graph.nodes());
        if own.list.len() != new.list.len() {
            return Err(Refusal {
                reason: TOPOLOGY,
                node: None,
            });
        }
        for (place, (old, new)) in own.list.iter().zip(&new.list).enumerate() {
            if node_type(&old.work) != node_type(&new.work) {
                return Err(Refusal {
                    reason: NODE_TYPE,
                    node: Some(place),
                });
            }
            if old.behind != new.behind {
                return Err(Refusal {
                    reason: TOPOLOGY,
                    node: Some(place),
                });
            }
        }
        *own = new.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Exec, Graph, Nodes, Refusal};
    use crate::error::Code;
    use crate::memory::copy::{Fill, Place};
    use crate::stream::work::Work;

    fn fill() -> Work {
        Work::Fill(Fill {
            to: Place::Host(0),
            value: vec![0],
            width: 0,
            rows: 0,
            pitch: 0,
        })
    }

    fn graph(works: Vec<(Work, Vec<usize>)>) -> Graph {
        let mut nodes = Nodes::default();
        for (work, behind) in works {
            nodes.add(work, behind);
        }
        Graph::new(nodes)
    }

    #[test]
    fn ancestors_are_found_through_every_path() {
        let diamond = graph(vec![
            (Work::Empty, vec![]),
            (Work::Empty, vec![0]),
            (Work::Empty, vec![0]),
            (Work::Empty, vec![1, 2]),
            (Work::Empty, vec![]),
        ]);
        let found = diamond.nodes().ancestors(&[3]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(diamond.nodes().edges(), [(0, 1), (0, 2), (1, 3), (2, 3)]);
    }

    #[test]
    fn an_update_wants_the_same_shape() {
        let exec =
            Exec::new(1, &graph(vec![(Work::Empty, vec![]), (fill(), vec![0])]), 0).expect("plain flags");
        assert_eq!(
            exec.update(&graph(vec![(Work::Empty, vec![]), (fill(), vec![0])])),
            Ok(())
        );
        let refused = |reason, node| Err(Refusal { reason, node });
        assert_eq!(exec.update(&graph(vec![(Work::Empty, vec![])])), refused(2, None));
        assert_eq!(
            exec.update(&graph(vec![(Work::Empty, vec![]), (fill(), vec![])])),
            refused(2, Some(1))
        );
        assert_eq!(
            exec.update(&graph(vec![(fill(), vec![]), (fill(), vec![0])])),
            refused(3, Some(0))
        );
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let graph = Graph::default();
        assert_eq!(Exec::new(1, &graph, 5).err(), Some(Code::INVALID_VALUE));
        assert_eq!(Exec::new(1, &graph, 16).err(), Some(Code::INVALID_VALUE));
        assert_eq!(Exec::new(1, &graph, 9).err(), None);
    }
}
