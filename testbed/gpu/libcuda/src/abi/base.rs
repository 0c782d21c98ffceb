//! Start, versions, and texts of errors.

use std::ffi::c_char;

use super::guard::{In, Out, export};
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
