//! The unmodified TypeScript client `@ton/ton` against this network: the independent check of its JSON.

use std::path::Path;
use std::process::Command;

use testbed_chain::testing::{LocalNetwork, Options};

#[test]
#[ignore = "needs Node and `npm ci` in testbed/chain/tests/ton-client"]
fn an_unmodified_ton_client_deploys_a_wallet_pays_and_reads_the_payment_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ton-client");
    assert!(
        folder.join("node_modules").is_dir(),
        "run `npm ci` in {} first",
        folder.display()
    );
    let network = LocalNetwork::start(Options::default()).unwrap();
    let output = Command::new("node")
        .arg("client.js")
        .arg(network.root_url())
        .current_dir(&folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}{stderr}",
        String::from_utf8_lossy(&output.stdout)
    );
}
