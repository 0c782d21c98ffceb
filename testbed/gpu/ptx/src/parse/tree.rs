//! What a PTX text says, before anything is resolved.

/// A type, as `.u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    F32,
    F64,
    Bf16,
    Bf16x2,
    Tf32,
}

impl Type {
    /// The type of this name, without its dot.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pred" => Self::Pred,
            "b8" => Self::B8,
            "b16" => Self::B16,
            "b32" => Self::B32,
            "b64" => Self::B64,
            "u8" => Self::U8,
            "u16" => Self::U16,
            "u32" => Self::U32,
            "u64" => Self::U64,
            "s8" => Self::S8,
            "s16" => Self::S16,
            "s32" => Self::S32,
            "s64" => Self::S64,
            "f16" => Self::F16,
            "f16x2" => Self::F16x2,
            "f32" => Self::F32,
            "f64" => Self::F64,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            _ => return None,
        })
    }

    /// Bytes of a value; a predicate counts as one.
    pub fn size(self) -> usize {
        match self {
            Self::Pred | Self::B8 | Self::U8 | Self::S8 => 1,
            Self::B16 | Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 2,
            Self::B64 | Self::U64 | Self::S64 | Self::F64 => 8,
            _ => 4,
        }
    }

    /// Whether it is a signed integer.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Whether it is of floating point.
    pub fn is_float(self) -> bool {
        use Type::{Bf16, Bf16x2, F16, F16x2, F32, F64, Tf32};
        matches!(self, F16 | F16x2 | F32 | F64 | Bf16 | Bf16x2 | Tf32)
    }
}

/// An operand of an instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// A register, variable, label or function; `%tid.x` has the component `x`.
    Name(&'a str, Option<&'a str>),
    /// A variable and bytes beyond it: `table+4`.
    Sum(&'a str, i64),
    /// An integer in two's complement.
    Int(u64),
    /// Bits of a single-precision number.
    Single(u32),
    /// Bits of a double-precision number.
    Double(u64),
    /// `{a, b}`.
    Vector(Vec<Operand<'a>>),
    /// `[base+offset]`; an absolute address has no base.
    Address(Option<&'a str>, i64),
    /// `p|q`.
    Pair(&'a str, &'a str),
    /// `!p`.
    Not(&'a str),
    /// `(a, b)`, as calls have it.
    List(Vec<Operand<'a>>),
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction<'a> {
    /// Its predicate, and whether that is negated.
    pub guard: Option<(&'a str, bool)>,
    /// The name up to the first dot.
    pub name: &'a str,
    /// The names after dots.
    pub modifiers: Vec<&'a str>,
    /// The operands.
    pub operands: Vec<Operand<'a>>,
    /// Its line.
    pub line: u32,
    /// Its bytes in the text.
    pub span: (usize, usize),
}

/// A state space that variables are declared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableSpace {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// A value in an initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Initial<'a> {
    /// Bits of a number, before they are cut to the type.
    Bits(Operand<'a>),
    /// The address of a variable plus an offset; a mask of bits that `mask(…)` picks, if any.
    Address(&'a str, i64),
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Variable<'a> {
    /// Its space.
    pub space: VariableSpace,
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub element: Type,
    /// How many elements; none for `[]`, whose size the launch gives.
    pub count: Option<u64>,
    /// Alignment in bytes.
    pub align: u64,
    /// Declared `.extern`: a size of its own comes from elsewhere.
    pub is_extern: bool,
    /// Initial values, from the first element on.
    pub initial: Vec<Initial<'a>>,
    /// Its line.
    pub line: u32,
}

/// `.reg .b32 %r<10>` or `.reg .b32 a`.
#[derive(Clone, Debug)]
pub struct Registers<'a> {
    /// The type.
    pub kind: Type,
    /// The name, or what stands before the numbers.
    pub name: &'a str,
    /// How many are numbered from 0; none for a single one of this name.
    pub count: Option<u64>,
    /// Its line.
    pub line: u32,
}

/// One step of a body.
#[derive(Clone, Debug)]
pub enum Statement<'a> {
    /// An instruction.
    Instruction(Instruction<'a>),
    /// A label.
    Label(&'a str, u32),
    /// `{`: names declared from here on end with the matching [`Statement::Close`].
    Open,
    /// `}`.
    Close,
    /// A register declaration.
    Registers(Registers<'a>),
    /// A variable of the body.
    Variable(Variable<'a>),
    /// `name: .branchtargets a, b;`
    Targets(&'a str, Vec<&'a str>),
    /// `name: .callprototype …;` or `.calltargets`: what an indirect call looks like.
    Prototype,
}

/// A parameter or returned value of a function: a variable in `.param`, or a register.
#[derive(Clone, Debug)]
pub enum Formal<'a> {
    /// In memory.
    Variable(Variable<'a>),
    /// In a register.
    Register(Registers<'a>),
}

/// A kernel or a function.
#[derive(Clone, Debug)]
pub struct Function<'a> {
    /// Declared `.entry`.
    pub is_entry: bool,
    /// Its name.
    pub name: &'a str,
    /// What it gives back.
    pub returns: Vec<Formal<'a>>,
    /// What it takes.
    pub parameters: Vec<Formal<'a>>,
    /// `.maxntid` in x, y, z.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid` in x, y, z.
    pub required_threads: Option<[u32; 3]>,
    /// The body; none for a declaration.
    pub body: Option<Vec<Statement<'a>>>,
    /// Its line.
    pub line: u32,
}

/// A whole text.
#[derive(Clone, Debug, Default)]
pub struct Tree<'a> {
    /// `.version`.
    pub version: (u32, u32),
    /// The number in `.target sm_86`.
    pub target: u32,
    /// `.address_size` in bits.
    pub address_bits: u32,
    /// Module-scope variables.
    pub variables: Vec<Variable<'a>>,
    /// Kernels and functions.
    pub functions: Vec<Function<'a>>,
}
