use super::*;

/// A header with one key and one F32 tensor of four elements, and its data.
fn small_file() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    push_text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    push_text(&mut bytes, "llama");
    push_text(&mut bytes, "weights");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(4u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32) + 16, 0);
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn read(bytes: &[u8]) -> Result<Header, HeaderError> {
    Header::read(bytes, bytes.len() as u64)
}

#[test]
fn a_small_file_is_read() {
    let file = small_file();
    let header = read(&file).expect("well formed");
    assert_eq!(
        header.text("general.architecture").expect("a string"),
        Some("llama")
    );
    let tensor = &header.tensors["weights"];
    assert_eq!(
        (tensor.dimensions.as_slice(), tensor.length),
        ([4u64].as_slice(), 16)
    );
    assert_eq!(tensor.offset + tensor.length, file.len() as u64);
}

#[test]
fn every_truncation_is_refused_as_truncated() {
    let file = small_file();
    for length in 0..file.len() {
        let error = read(&file[..length]).expect_err("truncated");
        assert!(
            matches!(error, HeaderError::Truncated { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn another_file_type_is_refused_by_its_magic() {
    let error = read(b"\x7fELF and more").expect_err("not GGUF");
    assert!(error.to_string().contains("not a GGUF file"), "{error}");
}

#[test]
fn a_huge_count_is_refused_without_allocating() {
    let mut file = small_file();
    file[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = read(&file).expect_err("too many tensors");
    assert!(error.to_string().contains("tensor_count"), "{error}");
}

#[test]
fn a_type_error_names_the_key() {
    let file = small_file();
    let error = read(&file)
        .expect("well formed")
        .u32("general.architecture")
        .expect_err("a string");
    assert!(error.to_string().contains("general.architecture"), "{error}");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn arbitrary_changes_never_panic(position in 0usize..180, value: u8, length in 0usize..200) {
        let mut file = small_file();
        let position = position % file.len();
        file[position] = value;
        file.truncate(length.max(8));
        let _ = read(&file);
    }
}
