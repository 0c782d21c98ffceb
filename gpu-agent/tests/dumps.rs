//! The agent's memory holds prompts and answers.

#[path = "../../api/tests/support/dumps.rs"]
mod dumps;

use std::process::Command;

#[test]
fn an_agent_that_is_killed_leaves_no_core_dump() {
    let folder = tempfile::tempdir().unwrap();
    // It waits for somebody who writes the model.
    let model = folder.path().join("model.gguf");
    assert!(Command::new("mkfifo").arg(&model).status().unwrap().success());
    let waits = ["bench", "--model", model.to_str().unwrap()];
    dumps::leaves_no_core_dump(env!("CARGO_BIN_EXE_gpu-agent"), &waits, &[]);
}
