//! Driver entry point access: addresses of this library's functions by name and version.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::guard::{Out, Text, export};
use super::{
    base, context, copy, device, events, graph, graph_nodes, launch, memory, module, peer, pool, stream,
};
use crate::error::Code;

export! {
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
}

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
    let symbols = SYMBOLS.get_or_init(|| all().collect());
    ENDINGS.iter().find_map(|ending| {
        let full = format!("{name}{ending}");
        let known = LATER
            .iter()
            .find(|(later, _)| *later == full)
            .is_none_or(|(_, since)| version >= *since);
        symbols.get(full.as_str()).copied().filter(|_| known)
    })
}

/// Names and addresses of all exported functions.
fn all() -> impl Iterator<Item = (&'static str, usize)> {
    let parts = [
        symbols(),
        base::symbols(),
        context::symbols(),
        copy::symbols(),
        device::symbols(),
        events::symbols(),
        graph::symbols(),
        graph_nodes::symbols(),
        launch::symbols(),
        memory::symbols(),
        module::symbols(),
        peer::symbols(),
        pool::symbols(),
        stream::symbols(),
    ];
    parts.into_iter().flatten()
}
