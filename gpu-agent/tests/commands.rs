//! The subcommands that people run by hand.

mod support;

use std::process::Command;

#[test]
fn bench_measures_sequences_whose_length_is_no_whole_number_of_blocks() {
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args([
            "bench",
            "--prefill",
            "16",
            "--sequences",
            "1,3",
            "--rounds",
            "1",
            "--model",
        ])
        .arg(support::model_path())
        .output()
        .expect("the agent runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for figure in [
        &result["prefillTokensPerSecond"],
        &result["decodeTokensPerSecond"]["1"],
        &result["decodeTokensPerSecond"]["3"],
    ] {
        assert!(figure.as_f64().is_some_and(|rate| rate > 0.0), "{result}");
    }
}
