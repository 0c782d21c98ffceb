//! What the threads of a block or the lanes of a warp do together.

use super::operand::{Predicate, Register, Row};

/// Barriers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierKind {
    /// Wait.
    Sync,
    /// Arrive without waiting.
    Arrive,
    /// Wait, and count the predicates.
    Count,
    /// Wait, and join the predicates with and.
    All,
    /// Wait, and join the predicates with or.
    Any,
}

/// A barrier of a block.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    /// What kind.
    pub kind: BarrierKind,
    /// Which of the 16: a narrow register.
    pub number: Row,
    /// How many threads take part: a narrow register; all of the block without it.
    pub threads: Option<Row>,
    /// All threads of a warp must execute the same barrier.
    pub aligned: bool,
    /// What a reduction joins.
    pub operand: Option<Predicate>,
    /// Where its result goes.
    pub result: Option<Register>,
}

/// How a shuffle picks the lane it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

/// A shuffle.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    /// How the lane is picked.
    pub mode: ShuffleMode,
    /// Where the value goes.
    pub result: Row,
    /// Where it goes whether the lane was in range.
    pub in_range: Option<Row>,
    /// What is read.
    pub value: Row,
    /// The lane or distance.
    pub lane: Row,
    /// Clamp and segment.
    pub clamp: Row,
}

/// What the lanes of a warp do together.
#[derive(Clone, Debug)]
pub enum Collective {
    /// `bar.warp.sync`
    Sync,
    /// `shfl.sync`
    Shuffle(Shuffle),
    /// `vote.sync.all`, `.any`, `.uni`: the predicate's row that gets the result.
    All(Row, Predicate),
    /// See [`Self::All`].
    Any(Row, Predicate),
    /// See [`Self::All`].
    Uniform(Row, Predicate),
    /// `vote.sync.ballot`
    Ballot(Row, Predicate),
    /// `match.any.sync`
    MatchAny(Row, Register),
    /// `match.all.sync`, and where it goes whether all were equal.
    MatchAll(Row, Option<Row>, Register),
    /// `redux.sync`
    Reduce(Reduce, Row, Row),
    /// `elect.sync`: the leader's number, and the predicate of being it.
    Elect(Row, Row),
}

/// What `redux.sync` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Add,
    LeastU32,
    MostU32,
    LeastS32,
    MostS32,
    And,
    Or,
    Xor,
}

/// Elements of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    S4,
    U4,
    S8,
    U8,
    F16,
    Bf16,
    Tf32,
    F32,
    F64,
    S32,
}

/// `mma.sync`: D = A · B + C over the fragments of a warp.
#[derive(Clone, Debug)]
pub struct MatrixProduct {
    /// Rows, columns and depth.
    pub shape: (usize, usize, usize),
    /// Elements of A and B.
    pub inputs: (Element, Element),
    /// Elements of D.
    pub output: Element,
    /// Elements of C.
    pub sum: Element,
    /// `.satfinite`
    pub saturate: bool,
    /// Registers of D, A, B and C.
    pub registers: [Vec<Register>; 4],
}
