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
    let arguments = arguments.expect("parses").job;
    let requests = arguments.requests();
    let job = arguments.into_job("run-x", "run-input-x").expect("a job");
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
        (job.spec.parameters.max_tokens, job.metadata.name.as_deref()),
        (Some(9), Some("run-x"))
    );
    let lines: Vec<&str> = requests.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[1],
        r#"{"body":{"messages":[{"role":"user","content":"Ho"}]}}"#
    );
    let written = serde_json::to_string(&job).expect("JSON");
    assert!(!written.contains("Ho"), "no prompt is in the job: {written}");
    let reference = job.spec.input.secret_ref.expect("a Secret");
    assert_eq!(
        (reference.name.as_str(), reference.key.as_str()),
        ("run-input-x", "requests.jsonl")
    );
}

#[test]
fn a_job_may_ask_a_provider_of_another_namespace() {
    let arguments = parse(&["--model", "m", "--free", "--provider", "farm/gpus", "Hi"]);
    let job = arguments.expect("parses").job.into_job("j", "j-input");
    let asked = job.expect("a job").spec.provider_ref.expect("a provider");
    assert_eq!(asked.full_name("team").to_string(), "farm/gpus");
    for wrong in ["a/b/c", "/gpus", "Farm/gpus", "farm/"] {
        assert!(
            parse(&["--model", "m", "--free", "--provider", wrong, "Hi"]).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_free_job_names_no_channel() {
    let arguments = parse(&["--model", "m", "--free", "Hi"]).expect("parses").job;
    assert_eq!(arguments.requests(), "{\"body\":{\"prompt\":\"Hi\"}}\n");
    let job = arguments.into_job("j", "j-input").expect("a job");
    assert_eq!(
        (
            job.spec.billing.mode,
            job.spec.billing.channel_ref,
            job.spec.billing.max_nano
        ),
        (BillingMode::Free, None, None)
    );
}

#[test]
fn a_job_is_paid_step_by_step_where_the_payer_says_so() {
    let words = [
        "--model",
        "m",
        "--channel",
        "c",
        "--max",
        "1",
        "--step",
        "3",
        "Hi",
    ];
    let arguments = parse(&words).expect("parses").job;
    let job = arguments.into_job("j", "j-input").expect("a job");
    assert_eq!(job.spec.billing.step, Some(3));
    for wrong in [
        &["--model", "m", "--free", "--step", "3", "Hi"][..],
        &[
            "--model",
            "m",
            "--channel",
            "c",
            "--max",
            "1",
            "--step",
            "0",
            "Hi",
        ],
        &["--filename", "job.yaml", "--step", "3"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
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
    let read_back = super::parse(&read(&path).expect("reads")).expect("a job");
    assert_eq!(read_back.name_any(), "j");
    let inline = read_back.spec.input.inline.expect("requests");
    assert_eq!(inline[0].text(), r#"{"prompt":"x"}"#);
    assert!(super::parse("kind: Pod").is_err());
}

#[test]
fn a_manifest_with_several_documents_is_refused_in_words() {
    let job = "apiVersion: cocoon.farm/v1alpha1\nkind: InferenceJob\nmetadata: {name: j}\nspec:\n  model: m\n  \
               input: {inline: [{prompt: x}]}\n  billing: {mode: Free}\n";
    for one in [
        job.to_owned(),
        format!("---\n{job}"),
        format!("{job}---\n"),
        format!("\u{feff}{job}"),
        job.replace('\n', "\r\n"),
        format!("\u{feff}---\r\n{}", job.replace('\n', "\r\n")),
    ] {
        assert_eq!(
            super::parse(&one).expect("one job").metadata.name.as_deref(),
            Some("j"),
            "{one}"
        );
    }
    let error = super::parse(&format!("{job}---\n{job}"))
        .expect_err("two")
        .to_string();
    assert!(
        error.contains("2 documents") && error.contains("kubectl apply -f"),
        "{error}"
    );
    let error = super::parse("---\n").expect_err("none").to_string();
    assert!(error.contains("0 documents"), "{error}");
}

#[test]
fn a_manifest_of_another_kind_is_named() {
    let body =
        "metadata: {name: j}\nspec: {model: m, input: {inline: [{prompt: x}]}, billing: {mode: Free}}\n";
    for (head, named) in [
        ("apiVersion: v1\nkind: List\nitems: []\n", "\"List\""),
        (
            "apiVersion: cocoon.farm/v1alpha1\nkind: CocoonProvider\n",
            "CocoonProvider",
        ),
        (
            "apiVersion: cocoon.farm/v1\nkind: InferenceJob\n",
            "\"cocoon.farm/v1\"",
        ),
        ("kind: InferenceJob\n", "cocoon.farm/v1alpha1"),
        ("apiVersion: 1\nkind: [InferenceJob]\n", "cocoon.farm/v1alpha1"),
    ] {
        let error = super::parse(&format!("{head}{body}"))
            .expect_err("not a job")
            .to_string();
        assert!(
            error.contains(named) && error.contains("kubectl apply -f"),
            "{error}"
        );
    }
}
