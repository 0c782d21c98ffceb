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

#[test]
fn an_agent_that_cannot_start_ends_with_a_code_and_its_own_exit_status() {
    use cocoon_api::agent::{START_EXIT_STATUS, StartFault};

    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words.gguf");
    std::fs::write(&words, b"<html>not the file that you are looking for</html>").expect("a file");
    let missing = folder.path().join("missing.gguf");
    let model = support::model_path();
    let copy = &["--model-is-copy"][..];
    let cases = [
        (words.as_path(), &[][..], StartFault::ModelMalformed),
        (missing.as_path(), &[], StartFault::ModelUnreadable),
        (missing.as_path(), copy, StartFault::ModelCopyGone),
        (model.as_path(), &[], StartFault::ModelDigest),
    ];
    for (file, flags, fault) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
            .args([
                "serve",
                "--model-name",
                "m",
                "--backend",
                "cpu",
                "--context-length",
                "64",
            ])
            .args([
                "--model-sha256",
                &"ab".repeat(32),
                "--client-ca",
                "/x",
                "--token",
                "/x",
            ])
            .args(flags)
            .arg("--model")
            .arg(file)
            .output()
            .expect("the agent runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(START_EXIT_STATUS), "{said}");
        assert_eq!(StartFault::of_last_words(&said), Some(fault), "{said}");
    }
}
