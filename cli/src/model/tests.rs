use std::path::Path;

use clap::Parser;
use cocoon_api::crd::CocoonProvider;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn arguments(line: &str) -> Arguments {
    let Command::Add(arguments) = Line::parse_from(["model"].into_iter().chain(line.split(' '))).command;
    arguments
}

/// The test model, as `cargo xtask model` fetches it.
fn model() -> PathBuf {
    let golden: Value =
        serde_json::from_str(include_str!("../../../goldens/smollm2-135m-instruct-q4_1.json"))
            .expect("the golden is JSON");
    let digest = golden["file_sha256"]
        .as_str()
        .or(golden["fileSha256"].as_str())
        .expect("a digest");
    let cache = std::env::var_os("COCOON_CACHE").map_or_else(
        || {
            let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            base.unwrap_or_else(|| {
                PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache")
            })
            .join("cocoon")
        },
        PathBuf::from,
    );
    let path = cache.join("models").join(format!("{digest}.gguf"));
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask model`",
        path.display()
    );
    path
}

#[test]
fn a_file_becomes_an_offer_that_the_schema_takes() {
    let path = model();
    let file = path.display();
    let arguments = arguments(&format!(
        "add {file} --price 0.4 --name smollm2 --payout UQ1 --claimer UQ2 --network testnet --host-path /var/models/m.gguf --backend cpu"
    ));
    let wanted = Wanted {
        context: None,
        sequences: 8,
    };
    let facts = Facts::read(&path, wanted).expect("a model");
    assert_eq!(
        path.file_stem().and_then(|stem| stem.to_str()),
        Some(facts.sha256.as_str()),
        "its name is its digest"
    );
    let object = arguments.object(&facts).expect("an object");
    let offer: CocoonProvider = serde_json::from_value(object.clone()).expect("a CocoonProvider");
    assert_eq!(
        (offer.spec.payout.address.as_str(), offer.spec.payout.signer()),
        ("UQ1", "UQ2")
    );
    let model = &offer.spec.models[0];
    assert_eq!((model.name.as_str(), model.context_length), ("smollm2", 4096));
    assert_eq!(model.source.host_path.as_deref(), Some("/var/models/m.gguf"));
    assert_eq!(model.gpus_per_replica, 0);
    // 135 M weights of five bits and a little; of each token, keys and values of 30 layers with 3 heads of 64 values.
    let footprint = model.footprint.expect("the file says it");
    let file = std::fs::metadata(&path).expect("a file").len();
    assert!(
        (file * 9 / 10..=file).contains(&footprint.weights_bytes),
        "{footprint:?} of {file}"
    );
    let values = 2 * 30 * 3 * 64;
    assert!(
        (2 * values..=4 * values).contains(&footprint.cache_bytes_per_token),
        "{footprint:?}"
    );
    assert_eq!(
        object["spec"]["models"][0]["price"]["completion"],
        400_000_000_u64
    );
    assert_eq!(object["spec"]["models"][0]["price"]["prompt"], 100_000_000_u64);
    assert_eq!(
        object["spec"]["models"][0]["price"]["cachedPrompt"],
        10_000_000_u64
    );
    let comment = facts.comment();
    for words in [
        "llama architecture with 30 layers",
        "chat template",
        "one card of 4, 6,",
    ] {
        assert!(comment.contains(words), "{words}: {comment}");
    }
    assert!(comment.lines().all(|line| line.starts_with('#')), "{comment}");
}

#[test]
fn what_no_card_holds_is_said() {
    let wanted = Wanted {
        context: Some(8192),
        sequences: 256,
    };
    let facts = Facts::read(&model(), wanted).expect("a model");
    assert!(
        facts.comment().contains("256 requests of 8192 tokens"),
        "{}",
        facts.comment()
    );
    assert!(facts.gpus() >= 1);
}

#[test]
fn without_a_payout_it_is_an_entry_of_an_offer() {
    let path = model();
    let arguments = arguments(&format!("add {} --price .5 --claim models", path.display()));
    let facts = Facts::read(
        &path,
        Wanted {
            context: Some(64),
            sequences: 1,
        },
    )
    .expect("a model");
    let object = arguments.object(&facts).expect("an entry");
    assert_eq!(
        object[0]["name"].as_str().map(str::len),
        Some(63),
        "what a name may have of a digest"
    );
    assert_eq!(object[0]["source"]["pvc"]["claimName"], "models");
    assert_eq!(object[0]["gpusPerReplica"], 1);
    assert_eq!(object[0]["contextLength"], 64);
    let unnamed = Arguments {
        name: Some("Not a name".to_owned()),
        ..arguments
    };
    let error = unnamed.object(&facts).expect_err("no name").to_string();
    assert!(error.contains("give --name"), "{error}");
}

#[test]
fn a_file_that_no_agent_takes_is_refused_with_its_name() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "no model").expect("writes");
    let wanted = Wanted {
        context: None,
        sequences: 1,
    };
    let error = format!("{:#}", Facts::read(file.path(), wanted).expect_err("refused"));
    assert!(error.contains(&file.path().display().to_string()), "{error}");
    assert!(Facts::read(Path::new("/nowhere/m.gguf"), wanted).is_err());
}

#[test]
fn names_of_files_become_names_of_models() {
    for (file, name) in [
        ("Qwen2.5-7B_Q4_K_M.gguf", "qwen2.5-7b-q4-k-m"),
        ("-a b-.gguf", "a-b"),
        ("m", "m"),
    ] {
        assert_eq!(name_of(file), name);
    }
}

/// A server of one file, which breaks its first answer off; answers its address.
async fn serve(file: Vec<u8>) -> String {
    use axum::{
        body::Body,
        http::{HeaderMap, StatusCode, header},
        response::IntoResponse as _,
    };
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answer = move |headers: HeaderMap| {
        let (file, is_first) = (
            file.clone(),
            first.swap(false, std::sync::atomic::Ordering::SeqCst),
        );
        async move {
            if headers
                .get(header::AUTHORIZATION)
                .is_none_or(|value| value != "Bearer canary")
            {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
            let from = range
                .and_then(|range| {
                    range
                        .strip_prefix("bytes=")?
                        .strip_suffix('-')?
                        .parse::<usize>()
                        .ok()
                })
                .unwrap_or(0);
            let told = [
                (header::CONTENT_LENGTH, (file.len() - from).to_string()),
                (header::ETAG, "\"1\"".to_owned()),
                (
                    header::CONTENT_RANGE,
                    format!("bytes {from}-{}/{}", file.len() - 1, file.len()),
                ),
            ];
            let status = if range.is_some() {
                StatusCode::PARTIAL_CONTENT
            } else {
                StatusCode::OK
            };
            let body = if is_first {
                let half = file[..file.len() / 2].to_vec();
                let broken = futures::stream::iter([Ok(half), Err(std::io::Error::other("broken"))]);
                Body::from_stream(broken)
            } else {
                Body::from(file[from..].to_vec())
            };
            (status, told, body).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/files/SmolLM2_Q4.gguf?signature=canary")
}

#[tokio::test]
async fn an_address_becomes_an_offer_with_the_digest_of_what_is_there() {
    let path = model();
    let content = std::fs::read(&path).expect("reads");
    let url = serve(content).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Authorization"), "Bearer canary\n").expect("writes");
    let wanted = Wanted {
        context: None,
        sequences: 8,
    };
    let facts = download::facts(&url, Some(folder.path()), wanted)
        .await
        .expect("a model");
    let arguments = arguments(&format!("add {url} --price 0.4 --headers-from hub"));
    let object = arguments.object(&facts).expect("an entry");
    let (name, source) = (&object[0]["name"], &object[0]["source"]);
    assert_eq!(name, "smollm2-q4");
    assert_eq!(source["url"], url);
    assert_eq!(source["headersFrom"]["name"], "hub");
    assert_eq!(
        path.file_stem().and_then(|stem| stem.to_str()),
        source["sha256"].as_str(),
        "its name is its digest"
    );
    assert!(
        facts.comment().contains("llama architecture with 30 layers"),
        "{}",
        facts.comment()
    );
    assert!(!facts.comment().contains("canary"), "{}", facts.comment());

    let error = format!(
        "{:#}",
        download::facts(&url, None, wanted).await.expect_err("no header")
    );
    assert!(error.contains("HTTP 401") && !error.contains("canary"), "{error}");
}
