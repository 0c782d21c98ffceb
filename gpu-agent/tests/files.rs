//! Files that are not what they should be are refused with a message that says so.

mod support;

use std::{error::Error, fmt::Write as _, fs, path::Path};

use gpu_agent::{model::architectures, weights::file::ModelFile};

/// An error and all its causes, as a user reads them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("a string can be written to");
        cause = error.source();
    }
    text
}

fn refusal(path: &Path, expected: Option<[u8; 32]>) -> String {
    chain(&ModelFile::open(path, expected).expect_err("must be refused"))
}

#[test]
fn another_digest_is_refused_with_both_digests() {
    let path = support::model_path();
    let message = refusal(&path, Some([7; 32]));
    assert!(
        message.contains("sha256 b179c952") && message.contains("expected 0707"),
        "{message}"
    );
    assert!(message.contains(&path.display().to_string()), "{message}");
}

#[test]
fn a_copy_that_was_verified_is_not_verified_again_and_is_held_while_it_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy.gguf");
    fs::copy(support::model_path(), &path).expect("writable");
    // Another digest than the file's shows that nobody computes it.
    let (file, held) = ModelFile::open_copy(&path, [7; 32]).expect("a model");
    file.verify([7; 32]).expect("as it was said");
    drop(file);
    let other = fs::File::open(&path).expect("readable");
    assert!(other.try_lock().is_err(), "it could be evicted");
    drop(held);
    other.try_lock().expect("nobody holds it");
}

#[test]
fn a_truncated_file_is_refused_as_truncated_wherever_it_ends() {
    let whole = fs::read(support::model_path()).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.gguf");
    let lengths = [
        0,
        3,
        4,
        8,
        20,
        24,
        100,
        5_000,
        1_000_000,
        1_785_664,
        30_000_000,
        whole.len() - 1,
    ];
    for length in lengths {
        fs::write(&path, &whole[..length]).expect("writable");
        let message = refusal(&path, None);
        assert!(
            message.contains("truncated") && message.contains("cut.gguf"),
            "{length}: {message}"
        );
    }
}

#[test]
fn a_file_of_another_type_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"PK\x03\x04 this is a zip file, not a model").expect("writable");
    let message = refusal(&path, None);
    assert!(
        message.contains("model.gguf") && message.contains("not a GGUF file"),
        "{message}"
    );
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let message = refusal(Path::new("/nonexistent/model.gguf"), None);
    assert!(
        message.contains("/nonexistent/model.gguf") && message.contains("No such file"),
        "{message}"
    );
}

#[test]
fn a_tensor_of_a_type_that_is_not_computed_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    for (code, named) in [(10u32, "has type Q2_K"), (1_000, "has type 1000")] {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(7u64.to_le_bytes());
        bytes.extend(b"blk.0.x");
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(256u64.to_le_bytes());
        bytes.extend(code.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        fs::write(&path, bytes).expect("writable");
        let message = refusal(&path, None);
        assert!(
            message.contains("tensor blk.0.x") && message.contains(named),
            "{message}"
        );
        assert!(message.contains("supported are F32, F16, Q4_0"), "{message}");
    }
}

#[test]
fn another_architecture_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    for text in ["general.architecture", "gemma3"] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        if text == "general.architecture" {
            bytes.extend(8u32.to_le_bytes());
        }
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    fs::write(&path, bytes).expect("writable");
    let file = ModelFile::open(&path, None).expect("a valid file");
    let message = chain(&architectures::read(&file).expect_err("not supported"));
    assert!(message.contains("gemma3"), "{message}");
}
