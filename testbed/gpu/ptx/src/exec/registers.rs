//! The registers of a warp: rows of lanes, and for each the lanes that were ever written.

use super::stop::{Step, Stop};
use crate::FaultKind;
use crate::arith::{Narrow, Wide};
use crate::program::{NONE, POOL, Predicate, Register, Row};

/// Constants of a program as rows, one for each value.
#[derive(Debug, Default)]
pub struct Pool {
    /// Rows of 32 bits.
    pub narrow: Vec<Narrow>,
    /// Rows of 64 bits.
    pub wide: Vec<Wide>,
}

/// Where the registers of the running function begin in each bank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// In the bank of predicates.
    pub predicates: u32,
    /// In the bank of narrow rows.
    pub narrow: u32,
    /// In the bank of wide rows.
    pub wide: u32,
}

/// One bank: rows, and for each row the lanes that hold something.
#[derive(Debug)]
struct Bank<T> {
    rows: Vec<T>,
    written: Vec<u32>,
}

impl<T: Copy> Bank<T> {
    fn reset(&mut self, rows: usize, empty: T) {
        self.written.clear();
        self.written.resize(rows, 0);
        self.rows.resize(rows.max(self.rows.len()), empty);
    }
}

/// A warp's registers.
#[derive(Debug)]
pub struct Registers {
    predicates: Bank<u32>,
    narrow: Bank<Narrow>,
    wide: Bank<Wide>,
    /// The running function's part.
    pub window: Window,
    /// The carry of each lane.
    pub carry: u32,
}

#[cold]
fn unwritten(missing: u32) -> Box<Stop> {
    let lane = missing.trailing_zeros();
    Stop::new(
        FaultKind::Uninitialised,
        lane,
        "Read of a register that was never written",
    )
}

macro_rules! bank_access {
    ($read:ident, $known:ident, $write:ident, $bank:ident, $row:ty, $lane:ty) => {
        /// The row, which must be written in these lanes.
        #[inline]
        pub fn $read<'a>(&'a self, pool: &'a Pool, row: Row, lanes: u32) -> Step<&'a $row> {
            if row & POOL != 0 {
                return Ok(&pool.$bank[(row & !POOL) as usize]);
            }
            let at = (row + self.window.$bank) as usize;
            let missing = lanes & !self.$bank.written[at];
            if missing != 0 {
                return Err(unwritten(missing));
            }
            Ok(&self.$bank.rows[at])
        }

        /// The row as it is, and the lanes that hold something.
        #[inline]
        pub fn $known<'a>(&'a self, pool: &'a Pool, row: Row) -> (&'a $row, u32) {
            if row & POOL != 0 {
                return (&pool.$bank[(row & !POOL) as usize], u32::MAX);
            }
            let at = (row + self.window.$bank) as usize;
            (&self.$bank.rows[at], self.$bank.written[at])
        }

        /// Writes these lanes of a row.
        #[inline]
        pub fn $write(&mut self, row: Row, values: &$row, lanes: u32) {
            let at = (row + self.window.$bank) as usize;
            let to = &mut self.$bank.rows[at];
            self.$bank.written[at] |= lanes;
            if lanes == u32::MAX {
                *to = *values;
                return;
            }
            for lane in 0..32 {
                let keep = <$lane>::from(lanes >> lane & 1).wrapping_sub(1);
                to[lane] = to[lane] & keep | values[lane] & !keep;
            }
        }
    };
}

impl Registers {
    /// No registers yet.
    pub fn new() -> Self {
        let predicates = Bank {
            rows: Vec::new(),
            written: Vec::new(),
        };
        let narrow = Bank {
            rows: Vec::new(),
            written: Vec::new(),
        };
        let wide = Bank {
            rows: Vec::new(),
            written: Vec::new(),
        };
        Self {
            predicates,
            narrow,
            wide,
            window: Window::default(),
            carry: 0,
        }
    }

    /// Begins a kernel with so many rows in each bank, none of them written.
    pub fn reset(&mut self, rows: [u32; 3]) {
        self.predicates.reset(rows[0] as usize, 0);
        self.narrow.reset(rows[1] as usize, [0; 32]);
        self.wide.reset(rows[2] as usize, [0; 32]);
        self.window = Window::default();
        self.carry = 0;
    }

    /// Makes room for a function's rows from a window on, and forgets what these lanes held there.
    pub fn enter(&mut self, window: Window, rows: [u32; 3], lanes: u32) {
        fn forget(written: &mut Vec<u32>, from: u32, count: u32, lanes: u32) {
            let (from, end) = (from as usize, (from + count) as usize);
            written.resize(written.len().max(end), 0);
            written[from..end]
                .iter_mut()
                .for_each(|written| *written &= !lanes);
        }
        forget(&mut self.predicates.written, window.predicates, rows[0], lanes);
        forget(&mut self.narrow.written, window.narrow, rows[1], lanes);
        forget(&mut self.wide.written, window.wide, rows[2], lanes);
        self.predicates
            .rows
            .resize(self.predicates.written.len().max(self.predicates.rows.len()), 0);
        self.narrow
            .rows
            .resize(self.narrow.written.len().max(self.narrow.rows.len()), [0; 32]);
        self.wide
            .rows
            .resize(self.wide.written.len().max(self.wide.rows.len()), [0; 32]);
    }

    bank_access!(narrow, narrow_known, write_narrow, narrow, Narrow, u32);
    bank_access!(wide, wide_known, write_wide, wide, Wide, u64);

    /// The lanes of `lanes` in which a predicate holds.
    #[inline]
    pub fn predicate(&self, predicate: Predicate, lanes: u32) -> Step<u32> {
        let at = (predicate.row + self.window.predicates) as usize;
        let missing = lanes & !self.predicates.written[at];
        if missing != 0 {
            return Err(unwritten(missing));
        }
        let value = self.predicates.rows[at];
        Ok(lanes & if predicate.negated { !value } else { value })
    }

    /// Sets a predicate in these lanes.
    #[inline]
    pub fn write_predicate(&mut self, row: Row, value: u32, lanes: u32) {
        let at = (row + self.window.predicates) as usize;
        let to = &mut self.predicates.rows[at];
        *to = *to & !lanes | value & lanes;
        self.predicates.written[at] |= lanes;
    }

    /// A narrow row of a function's window as it is.
    pub fn peek<'a>(&'a self, pool: &'a Pool, window: Window, row: Row) -> &'a Narrow {
        match row & POOL {
            0 => &self.narrow.rows[(row + window.narrow) as usize],
            _ => &pool.narrow[(row & !POOL) as usize],
        }
    }

    /// Copies a register, with what is known of it. A copy of nothing is nothing.
    #[inline]
    pub fn copy(&mut self, pool: &Pool, to: Register, from: Register, lanes: u32) {
        match (to, from) {
            (Register::W(to), Register::W(from)) => {
                let (row, known) = self.narrow_known(pool, from);
                let row = *row;
                self.write_narrow(to, &row, lanes & known);
                self.narrow.written[(to + self.window.narrow) as usize] &= known | !lanes;
            }
            (Register::D(to), Register::D(from)) => {
                let (row, known) = self.wide_known(pool, from);
                let row = *row;
                self.write_wide(to, &row, lanes & known);
                self.wide.written[(to + self.window.wide) as usize] &= known | !lanes;
            }
            _ => debug_assert!(false, "the decoder copies within a bank"),
        }
    }

    /// One lane of a register as 64 bits; zero for none.
    #[inline]
    pub fn lane(&self, pool: &Pool, register: Register, lane: usize) -> Step<u64> {
        Ok(match register {
            Register::W(NONE) => 0,
            Register::W(row) => u64::from(self.narrow(pool, row, 1 << lane)?[lane]),
            Register::D(row) => self.wide(pool, row, 1 << lane)?[lane],
            Register::P(row) => {
                u64::from(self.predicate(Predicate { row, negated: false }, 1 << lane)? >> lane)
            }
        })
    }

    /// Sets one lane of a register.
    #[inline]
    pub fn set_lane(&mut self, register: Register, lane: usize, value: u64) {
        match register {
            Register::W(NONE) => {}
            Register::W(row) => {
                let at = (row + self.window.narrow) as usize;
                self.narrow.rows[at][lane] = value as u32;
                self.narrow.written[at] |= 1 << lane;
            }
            Register::D(row) => {
                let at = (row + self.window.wide) as usize;
                self.wide.rows[at][lane] = value;
                self.wide.written[at] |= 1 << lane;
            }
            Register::P(row) => self.write_predicate(row, (value as u32 & 1) << lane, 1 << lane),
        }
    }

    /// A narrow row to be filled in these lanes by the caller.
    #[inline]
    pub fn narrow_for(&mut self, row: Row, lanes: u32) -> &mut Narrow {
        let at = (row + self.window.narrow) as usize;
        self.narrow.written[at] |= lanes;
        &mut self.narrow.rows[at]
    }

    /// A wide row to be filled in these lanes by the caller.
    #[inline]
    pub fn wide_for(&mut self, row: Row, lanes: u32) -> &mut Wide {
        let at = (row + self.window.wide) as usize;
        self.wide.written[at] |= lanes;
        &mut self.wide.rows[at]
    }
}
