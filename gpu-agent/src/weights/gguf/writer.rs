//! Writes a header; the bytes of the tensors follow it in the order in which they were placed.

use crate::weights::quants::TensorType;

/// Numbers of the types of values that are written (ggml's `docs/gguf.md`).
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A header that grows.
#[derive(Debug, Default)]
pub struct Writer {
    metadata: Vec<u8>,
    entries: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    /// Bytes of the tensors so far, each with what pads it.
    data_bytes: usize,
}

impl Writer {
    /// Every tensor's bytes are padded to a multiple of this.
    pub const ALIGNMENT: usize = 32;

    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        string(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.entries += 1;
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, items: &[u8]) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(items);
        self.entry(key, ARRAY, &bytes);
    }

    /// A string.
    pub fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        string(&mut bytes, value);
        self.entry(key, STRING, &bytes);
    }

    /// An integer; one beyond 32 bits becomes the largest.
    pub fn number(&mut self, key: &str, value: usize) {
        self.entry(key, U32, &word(value));
    }

    /// A float.
    pub fn float(&mut self, key: &str, value: f32) {
        self.entry(key, F32, &value.to_le_bytes());
    }

    /// A list of strings.
    pub fn texts<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        let mut bytes = Vec::new();
        for value in values {
            string(&mut bytes, value.as_ref());
        }
        self.array(key, STRING, values.len(), &bytes);
    }

    /// A list of integers.
    pub fn integers(&mut self, key: &str, values: &[i32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, I32, values.len(), &bytes);
    }

    /// Places a tensor behind those before it; `dimensions` as in [`super::TensorInfo`]. Answers its bytes, without
    /// what pads them.
    pub fn tensor(&mut self, name: &str, dimensions: &[usize], kind: TensorType) -> usize {
        let (columns, rows) = dimensions
            .split_first()
            .map_or((0, 0), |(first, rest)| (*first, rest.iter().product()));
        let bytes = kind.row_bytes(columns) * rows;
        string(&mut self.tensors, name);
        self.tensors.extend(word(dimensions.len()));
        for extent in dimensions {
            self.tensors.extend((*extent as u64).to_le_bytes());
        }
        self.tensors.extend(kind.code().to_le_bytes());
        self.tensors.extend((self.data_bytes as u64).to_le_bytes());
        self.tensor_count += 1;
        self.data_bytes += bytes.next_multiple_of(Self::ALIGNMENT);
        bytes
    }

    /// Bytes of all tensors that were placed, each with what pads it.
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// The header, padded: the first tensor's bytes come next.
    pub fn header(&self) -> Vec<u8> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend(self.tensor_count.to_le_bytes());
        header.extend(self.entries.to_le_bytes());
        header.extend(&self.metadata);
        header.extend(&self.tensors);
        header.resize(header.len().next_multiple_of(Self::ALIGNMENT), 0);
        header
    }
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

fn word(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}
