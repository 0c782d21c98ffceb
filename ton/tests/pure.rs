//! The half without the feature `client` decides and makes bytes: nothing in it can wait, open a connection or read a
//! clock, so that `core` may judge addresses, keys and vouchers by these types.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that wait, open connections or keep a runtime. `core` must stay free of them.
const ACTING: [&str; 8] = [
    "tokio",
    "mio",
    "reqwest",
    "hyper",
    "rustls",
    "socket2",
    "futures-util",
    "tracing",
];

/// Names of the crates that this one links with the given features.
fn linked(features: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "cocoon-ton",
            "--edges",
            "normal",
        ])
        .args(["--prefix", "none", "--format", "{lib}", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("names of crates");
    text.lines()
        .map(|line| line.trim_end_matches(" (*)").replace('_', "-"))
        .collect()
}

#[test]
fn without_the_client_nothing_that_acts_is_linked() {
    let with_client = linked("client");
    assert!(
        with_client.contains("tokio") && with_client.contains("reqwest"),
        "the list is read: {with_client:?}"
    );
    let pure = linked("");
    assert!(pure.contains("ton-core"), "the list is read: {pure:?}");
    let acting: Vec<_> = ACTING.into_iter().filter(|name| pure.contains(*name)).collect();
    assert!(acting.is_empty(), "the pure half links {acting:?}");
}
