//! The processes that bring a model onto a node: those that download, and those that wait for it. They act as root, as
//! on a node.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cocoon_api::agent::{FETCH_EXIT_STATUS, FetchFault, FetchProgress, FetchStage, PROGRESS_PATH};
use sha2::{Digest as _, Sha256};

/// More than any of it takes on a machine that does much else.
const LIMIT: Duration = Duration::from_mins(2);

/// Whether this process may act as a node does.
///
/// # Panics
/// It may not, and continuous integration, which is root, runs this.
fn is_root(folder: &Path) -> bool {
    let is_root = std::fs::metadata(folder).expect("a folder").uid() == 0;
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(
        is_root || !is_ci,
        "downloads write a folder of root's: run this as root"
    );
    if !is_root {
        println!("skipped: downloads write a folder of root's; run this as root");
    }
    is_root
}

/// Serves `content` with ranges; the first answer breaks off in the middle. Answers its address, and the heads of all
/// requests.
fn serve(content: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/m.gguf", listener.local_addr().expect("an address"));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer(stream.expect("a connection"), &content, &seen);
        }
    });
    (url, heads)
}

fn answer(mut stream: TcpStream, content: &[u8], heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let from = head.lines().find_map(|line| {
        line.strip_prefix("range: bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let is_first = {
        let mut heads = heads.lock().expect("no panic");
        heads.push(head);
        heads.len() == 1
    };
    let body = &content[from.unwrap_or(0)..];
    let status = from.map_or_else(
        || "200 OK".to_owned(),
        |from| {
            format!(
                "206 Partial\r\ncontent-range: bytes {from}-{}/{}",
                content.len() - 1,
                content.len()
            )
        },
    );
    write!(
        stream,
        "HTTP/1.1 {status}\r\nconnection: close\r\netag: \"1\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(if is_first { &body[..body.len() / 2] } else { body })
}

fn agent(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the agent runs")
}

fn fetch(cache: &str, url: &str, sha256: &str, state: &str, probes: &str) -> Child {
    let words = [
        "fetch",
        "--cache",
        cache,
        "--url",
        url,
        "--sha256",
        sha256,
        "--limit",
        "1000000000",
    ];
    agent(&[&words[..], &["--state", state, "--probe-listen", probes]].concat())
}

/// Waits for its end; answers its status and its last line.
fn end(mut child: Child) -> (Option<i32>, String) {
    let start = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if start.elapsed() > LIMIT {
            child.kill().expect("a child that runs");
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("its output");
    let words = String::from_utf8_lossy(&output.stderr);
    (
        output.status.code(),
        words.lines().last().unwrap_or_default().to_owned(),
    )
}

/// What the download at this address says of itself, once it answers.
fn progress(address: &str) -> FetchProgress {
    let start = Instant::now();
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(address).and_then(|mut stream| {
            write!(
                stream,
                "GET {PROGRESS_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            )?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() {
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            return serde_json::from_str(body).expect("progress");
        }
        assert!(start.elapsed() < LIMIT, "it does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_downloads_at_once_are_one_that_is_resumed_and_who_waits_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    if !is_root(folder.path()) {
        return;
    }
    let content: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let sha256 = hex::encode(Sha256::digest(&content));
    let (url, heads) = serve(content.clone());
    let cache = folder.path().to_str().expect("text");
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path().to_str().expect("text");
    let waiting = agent(&["await", "--cache", cache, "--sha256", &sha256]);
    let downloads = [(); 2].map(|()| fetch(cache, &url, &sha256, state, "127.0.0.1:0"));
    for download in downloads {
        let (status, words) = end(download);
        assert_eq!(status, Some(0), "{words}");
    }
    let (status, words) = end(waiting);
    assert_eq!(status, Some(0), "{words}");
    assert_eq!(
        std::fs::read(folder.path().join(format!("{sha256}.gguf"))).expect("a copy"),
        content
    );
    let heads = heads.lock().expect("no panic");
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(
        !heads[0].contains("range:") && heads[1].contains("range: bytes="),
        "{heads:?}"
    );
}

#[test]
fn a_file_with_another_digest_ends_with_its_code_and_is_held_back_by_the_same_pod() {
    let folder = tempfile::tempdir().expect("a folder");
    if !is_root(folder.path()) {
        return;
    }
    let (url, heads) = serve(b"<html>sign in</html>".repeat(100));
    let cache = folder.path().to_str().expect("text");
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path().to_str().expect("text");
    let sha256 = "ab".repeat(32);
    let (status, words) = end(fetch(cache, &url, &sha256, state, "127.0.0.1:0"));
    assert_eq!(status, Some(FETCH_EXIT_STATUS), "{words}");
    assert_eq!(
        FetchFault::of_last_words(&words),
        Some(FetchFault::DigestMismatch),
        "{words}"
    );
    let asked = heads.lock().expect("no panic").len();

    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port");
    let mut again = fetch(cache, &url, &sha256, state, &port.to_string());
    // It answers before it looks at its folder.
    let start = Instant::now();
    while progress(&port.to_string()).stage != FetchStage::HeldBack {
        assert!(start.elapsed() < LIMIT, "it is not held back");
        std::thread::sleep(Duration::from_millis(20));
    }
    again.kill().expect("it waits");
    again.wait().expect("it is gone");
    assert_eq!(
        heads.lock().expect("no panic").len(),
        asked,
        "the server was not asked again"
    );
}

#[test]
fn a_folder_that_others_may_write_is_refused_with_its_code() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    if !is_root(folder.path()) {
        return;
    }
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("a mode");
    let cache = folder.path().to_str().expect("text");
    let (status, words) = end(agent(&["await", "--cache", cache, "--sha256", &"ab".repeat(32)]));
    assert_eq!(status, Some(FETCH_EXIT_STATUS), "{words}");
    assert_eq!(
        FetchFault::of_last_words(&words),
        Some(FetchFault::CacheUnusable),
        "{words}"
    );
}
