//! Rows, and functions from rows to a row.

/// 32 lanes of 32 bits. Values of 16 and 8 bits lie in the low bits; what stands above them has no meaning.
pub type Narrow = [u32; 32];
/// 32 lanes of 64 bits.
pub type Wide = [u64; 32];

/// Declares the shapes that arithmetic functions have: from which rows to which row.
macro_rules! shapes {
    ($($name:ident: $to:ty, [$($from:ty),+];)*) => {
        /// A function over rows, by its shape.
        #[derive(Clone, Copy, Debug)]
        #[expect(clippy::upper_case_acronyms, reason = "each name spells its shape: the result, then the operands")]
        pub enum Function { $( $name(fn(&mut $to, $(&$from),+)), )* }
    };
}

shapes! {
    W1: Narrow, [Narrow];
    W2: Narrow, [Narrow, Narrow];
    W3: Narrow, [Narrow, Narrow, Narrow];
    W4: Narrow, [Narrow, Narrow, Narrow, Narrow];
    WD: Narrow, [Wide];
    D1: Wide, [Wide];
    D2: Wide, [Wide, Wide];
    D3: Wide, [Wide, Wide, Wide];
    DW: Wide, [Narrow];
    DWW: Wide, [Narrow, Narrow];
    DWWD: Wide, [Narrow, Narrow, Wide];
    DDW: Wide, [Wide, Narrow];
    DDWW: Wide, [Wide, Narrow, Narrow];
    DDDWW: Wide, [Wide, Wide, Narrow, Narrow];
}
