//! Getters: read-only calls into an account's code.

use num_bigint::BigInt;
use tycho_types::crc::crc_16;
use tycho_types::models::{Account, BlockchainConfigParams};
use tycho_types::prelude::*;
use tycho_vm::{
    BehaviourModifiers, OwnedCellSlice, RcStackValue, SafeRc, Stack, VmCaller, VmGetterArgs, VmGetterError,
};

/// Depth to which nested tuples are read or built. Contracts nest a handful of levels; a list of `n` elements nests
/// `n` deep, and 255 is the longest tuple that TVM makes.
pub const STACK_NESTING: usize = 256;

/// Exit code of a getter called on an account without code, as lite-servers answer it.
pub const NO_CODE: i32 = -13;

/// A value on the TVM stack, free of the virtual machine's own reference counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackEntry {
    /// Null: also the empty list.
    Null,
    /// A 257-bit integer.
    Int(BigInt),
    /// Not-a-number.
    NaN,
    /// A cell.
    Cell(Cell),
    /// What remains of a slice, as a cell of its own.
    Slice(Cell),
    /// A builder's content, as a cell of its own.
    Builder(Cell),
    /// A tuple.
    Tuple(Vec<Self>),
    /// A continuation, or a value nested deeper than [`STACK_NESTING`].
    Unsupported,
}

/// What a getter left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetterOutput {
    /// Exit code; 0 and 1 are success.
    pub exit_code: i32,
    /// Gas used.
    pub gas_used: u64,
    /// The stack, bottom first.
    pub stack: Vec<StackEntry>,
}

/// The number under which a contract keeps the getter of this name.
pub fn method_id(name: &str) -> u32 {
    u32::from(crc_16(name.as_bytes())) | 0x10000
}

/// Why a getter could not be called.
#[derive(Debug, thiserror::Error)]
pub enum GetterError {
    /// An argument cannot be put on the stack.
    #[error("argument {index} cannot be put on the stack: {reason}")]
    Argument {
        /// Position of the argument, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The virtual machine could not be set up.
    #[error("getter {method} could not be set up: {source}")]
    Setup {
        /// The method's number.
        method: u32,
        /// The cause.
        source: VmGetterError,
    },
}

pub(super) fn run(
    config: &BlockchainConfigParams,
    account: &Account,
    method: u32,
    arguments: &[StackEntry],
    utime: u32,
) -> Result<GetterOutput, GetterError> {
    let mut stack = Vec::with_capacity(arguments.len());
    for (index, argument) in arguments.iter().enumerate() {
        stack.push(to_vm(argument, 0).map_err(|reason| GetterError::Argument { index, reason })?);
    }
    let caller = VmCaller {
        libraries: Dict::new(),
        behaviour_modifiers: BehaviourModifiers::default(),
        config: config.clone(),
    };
    let mut args = VmGetterArgs::default();
    args.now = utime;
    match caller.call_getter_ext(account, method, stack, &args, None) {
        Ok(output) => Ok(GetterOutput {
            exit_code: output.exit_code,
            gas_used: output.gas_used,
            stack: output.stack.iter().map(|value| from_vm(value, 0)).collect(),
        }),
        Err(VmGetterError::NoCode) => Ok(no_code()),
        Err(source) => Err(GetterError::Setup { method, source }),
    }
}

pub(super) const fn no_code() -> GetterOutput {
    GetterOutput {
        exit_code: NO_CODE,
        gas_used: 0,
        stack: Vec::new(),
    }
}

fn to_vm(entry: &StackEntry, depth: usize) -> Result<RcStackValue, &'static str> {
    if depth > STACK_NESTING {
        return Err("nested too deep");
    }
    Ok(match entry {
        StackEntry::Null => Stack::make_null(),
        StackEntry::NaN => Stack::make_nan(),
        StackEntry::Int(value) if !fits_257_bits(value) => return Err("does not fit 257 bits"),
        StackEntry::Int(value) => SafeRc::new_dyn_value(value.clone()),
        StackEntry::Cell(cell) => SafeRc::new_dyn_value(cell.clone()),
        StackEntry::Slice(cell) => SafeRc::new_dyn_value(OwnedCellSlice::new_allow_exotic(cell.clone())),
        StackEntry::Builder(cell) => {
            let mut builder = CellBuilder::new();
            builder
                .store_slice(cell.as_slice_allow_exotic())
                .map_err(|_| "does not fit a builder")?;
            SafeRc::new_dyn_value(builder)
        }
        StackEntry::Tuple(items) if items.len() > 255 => return Err("a tuple holds at most 255 values"),
        StackEntry::Tuple(items) => {
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                values.push(to_vm(item, depth + 1)?);
            }
            SafeRc::new_dyn_value(values)
        }
        StackEntry::Unsupported => return Err("not a value"),
    })
}

/// From -2^256 to 2^256 - 1.
fn fits_257_bits(value: &BigInt) -> bool {
    value.bits() <= 256 || *value == -(BigInt::from(1) << 256_u32)
}

fn from_vm(value: &RcStackValue, depth: usize) -> StackEntry {
    if depth > STACK_NESTING {
        return StackEntry::Unsupported;
    }
    if value.is_null() {
        StackEntry::Null
    } else if let Some(value) = value.as_int() {
        StackEntry::Int(value.clone())
    } else if let Some(cell) = value.as_cell() {
        StackEntry::Cell(cell.clone())
    } else if let Some(slice) = value.as_cell_slice() {
        CellBuilder::build_from(slice.apply()).map_or(StackEntry::Unsupported, StackEntry::Slice)
    } else if let Some(builder) = value.as_cell_builder() {
        builder
            .clone()
            .build()
            .map_or(StackEntry::Unsupported, StackEntry::Builder)
    } else if let Some(items) = value.as_tuple() {
        StackEntry::Tuple(items.iter().map(|item| from_vm(item, depth + 1)).collect())
    } else if value.raw_ty() == tycho_vm::StackValueType::Int as u8 {
        StackEntry::NaN
    } else {
        StackEntry::Unsupported
    }
}
