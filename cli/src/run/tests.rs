use clap::Parser;
use cocoon_api::{agent::Endpoint, crd::job::BillingMode};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: Arguments,
}

fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
    Line::try_parse_from(["run"].iter().chain(words)).map(|line| line.run)
}

#[test]
fn prompts_become_a_paid_job() {
    let arguments = parse(&[
        "--model",
        "m",
        "--channel",
        "c",
        "--max",
        "0.5",
        "--chat",
        "--max-tokens",
        "9",
        "Hi",
        "Ho",
    ]);
    let job = arguments.expect("parses").job.into_job().expect("a job");
    assert_eq!(
        (job.spec.model.as_str(), job.spec.endpoint),
        ("m", Endpoint::ChatCompletions)
    );
    assert_eq!(
        (
            job.spec.billing.mode,
            job.spec.billing.max_nano.map(NanoTon::nano)
        ),
        (BillingMode::Channel, Some(500_000_000))
    );
    assert_eq!(
        (
            job.spec.parameters.max_tokens,
            job.metadata.generate_name.as_deref()
        ),
        (Some(9), Some("run-"))
    );
    let inline = job.spec.input.inline.expect("requests");
    assert_eq!(inline.len(), 2);
    assert_eq!(
        json!(inline[1]),
        json!({"messages": [{"role": "user", "content": "Ho"}]})
    );
}

#[test]
fn a_free_job_names_no_channel() {
    let job = parse(&["--model", "m", "--free", "Hi"])
        .expect("parses")
        .job
        .into_job()
        .expect("a job");
    assert_eq!(
        (
            job.spec.billing.mode,
            job.spec.billing.channel_ref,
            job.spec.billing.max_nano
        ),
        (BillingMode::Free, None, None)
    );
    assert_eq!(
        json!(job.spec.input.inline.expect("requests")[0]),
        json!({"prompt": "Hi"})
    );
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["Hi"],
        &["--model", "m", "Hi"],
        &["--model", "m", "--channel", "c", "Hi"],
        &["--model", "m", "--channel", "c", "--max", "1"],
        &["--model", "m", "--channel", "c", "--max", "0", "Hi"],
        &["--model", "m", "--free", "--channel", "c", "--max", "1", "Hi"],
        &["--filename", "job.yaml", "--model", "m", "--free", "Hi"],
    ];
    for words in wrong {
        assert!(parse(words).is_err(), "{words:?}");
    }
    assert!(parse(&["-f", "job.yaml", "--settled"]).is_ok());
}

#[test]
fn a_manifest_is_one_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("job.yaml");
    let job = "apiVersion: cocoon.farm/v1alpha1\nkind: InferenceJob\nmetadata: {name: j}\nspec: {model: m, input: {inline: [{prompt: x}]}, billing: {mode: Free}}\n";
    std::fs::write(&path, job).expect("writes");
    let read_back: InferenceJob = serde_saphyr::from_str(&read(&path).expect("reads")).expect("a job");
    assert_eq!(read_back.name_any(), "j");
    assert!(serde_saphyr::from_str::<InferenceJob>("kind: Pod").is_err());
}
