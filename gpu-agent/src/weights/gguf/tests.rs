use super::*;

/// A header with one key and one F32 tensor of four elements, and its data.
fn small_file() -> Vec<u8> {
    file_with(&[], 32)
}

/// The same with integers of 32 bits under further keys, and its data aligned to so many bytes.
fn file_with(integers: &[(&str, u32)], alignment: usize) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend((1 + integers.len() as u64).to_le_bytes());
    push_text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    push_text(&mut bytes, "llama");
    for (key, value) in integers {
        push_text(&mut bytes, key);
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    push_text(&mut bytes, "weights");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(4u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(alignment) + 16, 0);
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

#[test]
fn alignments_as_files_have_them_are_read() {
    const KEY: &str = "general.alignment";
    for alignment in [1, 4, 8, 24, 40, 64, 4096] {
        let file = file_with(&[(KEY, alignment)], alignment as usize);
        let header = read(&file).unwrap_or_else(|error| panic!("{alignment}: {error}"));
        let tensor = &header.tensors["weights"];
        assert_eq!(tensor.offset + tensor.length, file.len() as u64, "{alignment}");
    }
    for alignment in [0, 3, 12, 1 << 17] {
        let error = read(&file_with(&[(KEY, alignment)], 32)).expect_err("no alignment");
        assert!(error.to_string().starts_with(KEY), "{error}");
    }
}

#[test]
fn a_part_of_a_split_model_is_refused_with_what_to_do() {
    let error = read(&file_with(&[("split.count", 3)], 32)).expect_err("split");
    assert!(
        error.to_string().contains("split.count is 3") && error.to_string().contains("llama-gguf-split"),
        "{error}"
    );
    assert!(read(&file_with(&[("split.count", 1), ("split.no", 0)], 32)).is_ok());
}

#[test]
fn a_file_for_big_endian_machines_is_refused_by_name() {
    let mut file = small_file();
    file[4..8].copy_from_slice(&3u32.to_be_bytes());
    let error = read(&file).expect_err("big-endian");
    assert!(error.to_string().contains("big-endian"), "{error}");
}

#[test]
fn an_unknown_type_of_a_value_is_refused_with_its_key() {
    let mut file = small_file();
    // Behind the magic, the version, two counts and the key.
    let place = 24 + 8 + "general.architecture".len();
    for code in [9u32, 13, u32::MAX] {
        file[place..place + 4].copy_from_slice(&code.to_le_bytes());
        let error = read(&file).expect_err("unknown").to_string();
        assert!(error.starts_with("general.architecture"), "{error}");
    }
}

#[test]
fn a_type_of_tensors_that_nothing_computes_with_is_refused_with_the_tensor_and_the_type() {
    let mut file = small_file();
    let name = b"weights";
    let place = file
        .windows(name.len())
        .position(|part| part == name)
        .expect("a tensor");
    // Behind the name, the number of dimensions and the one dimension: IQ4_NL, which llama.cpp has, and none at all.
    let place = place + name.len() + 4 + 8;
    for (code, kind) in [(20u32, "IQ4_NL"), (4_000, "4000")] {
        file[place..place + 4].copy_from_slice(&code.to_le_bytes());
        let error = read(&file).expect_err("unknown").to_string();
        assert!(
            error.contains("weights") && error.contains(&format!("has type {kind}, which is not supported")),
            "{error}"
        );
    }
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
