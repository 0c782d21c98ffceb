//! Start, versions, texts of errors, and the ways to find functions.

use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::OnceLock;

use super::guard::{In, Out, Text, export};
use crate::driver::{self, VERSION};
use crate::error::{Code, lookup};

export! {
    free cuInit(flags: u32) | | {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        driver::init()
    }

    free cuDriverGetVersion(version: Out<i32>) | | { version.set(VERSION) }

    free cuGetErrorName(code: i32, name: Out<*const c_char>) | | {
        let found = lookup(code);
        name.set(found.map_or(std::ptr::null(), |(name, _)| name.as_ptr()))?;
        found.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    free cuGetErrorString(code: i32, text: Out<*const c_char>) | | {
        let found = lookup(code);
        text.set(found.map_or(std::ptr::null(), |(_, text)| text.as_ptr()))?;
        found.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    free cuGetProcAddress(symbol: Text, address: Out<usize>, version: i32, _flags: u64) | | {
        address.wanted()?;
        let found = find(symbol.utf8()?, version);
        address.set(found.unwrap_or(0))?;
        found.map(|_| ()).ok_or(Code::NOT_FOUND)
    }

    free cuGetProcAddress_v2(symbol: Text, address: Out<usize>, version: i32, _flags: u64, status: Out<i32>) | | {
        address.wanted()?;
        let found = find(symbol.utf8()?, version);
        address.set(found.unwrap_or(0))?;
        status.maybe(i32::from(found.is_none()));
        found.map(|_| ()).ok_or(Code::NOT_FOUND)
    }

    free cuGetExportTable(table: Out<*const usize>, id: In<[u8; 16]>) | | {
        // NVRTC asks for tables of functions that no documentation names. One that ends at once satisfies it.
        id.get()?;
        table.set(EMPTY_TABLE.as_ptr())
    }

    enter cuProfilerStart() |driver| { driver.current().map(|_| ()) }
    enter cuProfilerStop() |driver| { driver.current().map(|_| ()) }
}

/// A table begins with its size in bytes: this one has room for one entry, which is null.
static EMPTY_TABLE: [usize; 64] = {
    let mut table = [0; 64];
    table[0] = 16;
    table
};

/// Later forms of a function are exported with these endings; programs ask for the plain name and a version.
const ENDINGS: [&str; 4] = ["_v4", "_v3", "_v2", ""];

/// Forms that came with a later version than 11.0, which is older than anything that loads this library.
const LATER: [(&str, i32); 6] = [
    ("cuCtxCreate_v3", 11_040),
    ("cuCtxCreate_v4", 12_050),
    ("cuGetProcAddress_v2", 12_000),
    ("cuGraphExecUpdate_v2", 12_000),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
];

/// The address of the latest form of a function that a program of that API version knows.
fn find(name: &str, version: i32) -> Option<usize> {
    static SYMBOLS: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    let symbols = SYMBOLS.get_or_init(|| super::symbols().collect());
    ENDINGS.iter().find_map(|ending| {
        let full = format!("{name}{ending}");
        let known = LATER
            .iter()
            .find(|(later, _)| *later == full)
            .is_none_or(|(_, since)| version >= *since);
        symbols.get(full.as_str()).copied().filter(|_| known)
    })
}
