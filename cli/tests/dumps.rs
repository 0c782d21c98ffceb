//! The memory of the command line holds a payer's key, and words that are typed.

#[path = "../../api/tests/support/dumps.rs"]
mod dumps;
#[path = "../../api/tests/support/silent.rs"]
mod silent;

#[test]
fn a_command_that_is_killed_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    let (_listener, kubeconfig) = silent::api_server(folder.path());
    let variables = [("KUBECONFIG", kubeconfig.as_str())];
    dumps::leaves_no_core_dump(env!("CARGO_BIN_EXE_kubectl-cocoon"), &["status"], &variables);
}
