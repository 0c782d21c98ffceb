//! The operator's memory holds inputs on their way, results and wallets' keys.

#[path = "../../api/tests/support/dumps.rs"]
mod dumps;
#[path = "../../api/tests/support/silent.rs"]
mod silent;

#[test]
fn an_operator_that_is_killed_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let networks = folder.path().join("networks.yaml");
    std::fs::write(&networks, "networks: []\n").unwrap();
    let (_listener, kubeconfig) = silent::api_server(folder.path());
    let networks = networks.to_str().unwrap();
    let addresses = ["--health-address", "127.0.0.1:0"];
    let waits = [&["--networks", networks, "--agent-image", "none"], &addresses[..]].concat();
    let variables = [("KUBECONFIG", kubeconfig.as_str())];
    dumps::leaves_no_core_dump(env!("CARGO_BIN_EXE_cocoon-operator"), &waits, &variables);
}
