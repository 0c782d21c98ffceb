//! Models of random weights, small enough to compute a hundred thousand tokens in a test.

#![allow(dead_code, reason = "every test binary uses another part of this module")]

use std::path::PathBuf;

use gpu_agent::weights::{file::ModelFile, quants::TensorType};
use half::{bf16, f16};

/// Width of the residual stream and the hidden layer: one block of the largest types.
const WIDTH: usize = 256;
/// Size of a head.
const HEAD: usize = 64;
/// Query heads.
const HEADS: usize = 4;
/// Key and value heads.
const KV_HEADS: usize = 2;
/// Layers.
const LAYERS: usize = 2;
/// Entries of the vocabulary; no multiple of 16.
pub const VOCABULARY: usize = 75;
/// Longest sequence.
pub const CONTEXT: usize = 512;

/// Every type with the number that GGUF has for it.
pub const TYPES: [(TensorType, u32); 11] = [
    (TensorType::F32, 0),
    (TensorType::F16, 1),
    (TensorType::Q4_0, 2),
    (TensorType::Q4_1, 3),
    (TensorType::Q5_0, 6),
    (TensorType::Q5_1, 7),
    (TensorType::Q8_0, 8),
    (TensorType::Q4_K, 12),
    (TensorType::Q5_K, 13),
    (TensorType::Q6_K, 14),
    (TensorType::BF16, 30),
];

/// `SplitMix64`
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// From 0 to `most - 1`.
    pub fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// From −1 to 1.
    fn unit(&mut self) -> f32 {
        (f32::from(self.byte()) - 127.5) / 127.5
    }
}

/// One block of a type whose values are random and about as large as those of a trained model.
fn block(kind: TensorType, random: &mut Random) -> Vec<u8> {
    let value = random.unit() * 0.1;
    let mut bytes: Vec<u8> = match kind {
        TensorType::F32 => return value.to_le_bytes().to_vec(),
        TensorType::F16 => return f16::from_f32(value).to_le_bytes().to_vec(),
        TensorType::BF16 => return bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => (0..kind.block_bytes()).map(|_| random.byte()).collect(),
    };
    let (scale, minimum, at) = match kind {
        TensorType::Q4_0 => (0.0125, None, 0),
        TensorType::Q4_1 => (0.0125, Some(-0.094), 0),
        TensorType::Q5_0 => (0.0063, None, 0),
        TensorType::Q5_1 => (0.0063, Some(-0.098), 0),
        TensorType::Q4_K => (0.0004, Some(0.003), 0),
        TensorType::Q5_K => (0.0002, Some(0.003), 0),
        TensorType::Q6_K => (0.000_044, None, 208),
        _ => (0.0008, None, 0),
    };
    let scale = f16::from_f32(scale * (1.0 + 0.5 * random.unit()));
    bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    if let Some(minimum) = minimum {
        bytes[2..4].copy_from_slice(&f16::from_f32(minimum).to_le_bytes());
    }
    bytes
}

/// Writes a GGUF file piece by piece.
#[derive(Default)]
struct Writer {
    metadata: Vec<u8>,
    entries: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

impl Writer {
    fn string(to: &mut Vec<u8>, text: &str) {
        to.extend((text.len() as u64).to_le_bytes());
        to.extend(text.as_bytes());
    }

    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        Self::string(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(value);
        self.entries += 1;
    }

    fn number(&mut self, key: &str, value: usize) {
        let value = u32::try_from(value).expect("small");
        self.entry(key, 4, &value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        Self::string(&mut bytes, value);
        self.entry(key, 8, &bytes);
    }

    fn tensor(&mut self, name: &str, dimensions: &[usize], code: u32, bytes: &[u8]) {
        self.tensor_at(name, dimensions, code, 0);
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    /// A tensor whose bytes begin so many behind what was written so far, and are not written.
    fn tensor_at(&mut self, name: &str, dimensions: &[usize], code: u32, behind: usize) {
        Self::string(&mut self.tensors, name);
        self.tensors
            .extend(u32::try_from(dimensions.len()).expect("small").to_le_bytes());
        for extent in dimensions {
            self.tensors.extend((*extent as u64).to_le_bytes());
        }
        self.tensors.extend(code.to_le_bytes());
        self.tensors
            .extend(((self.data.len() + behind) as u64).to_le_bytes());
        self.tensor_count += 1;
    }

    fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.entries.to_le_bytes());
        file.extend(self.metadata);
        file.extend(self.tensors);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(self.data);
        file
    }
}

fn hyperparameters(writer: &mut Writer, hidden: usize, layers: usize) {
    writer.text("general.architecture", "llama");
    for (key, value) in [
        ("embedding_length", WIDTH),
        ("feed_forward_length", hidden),
        ("block_count", layers),
        ("context_length", CONTEXT),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ] {
        writer.number(&format!("llama.{key}"), value);
    }
    writer.entry(
        "llama.attention.layer_norm_rms_epsilon",
        6,
        &1e-5f32.to_le_bytes(),
    );
}

/// Tokens without merges; the last one ends a sequence.
fn tokenizer(writer: &mut Writer) {
    let list = |kind: u32, count: usize, items: Vec<u8>| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(items);
        bytes
    };
    writer.text("tokenizer.ggml.model", "gpt2");
    let mut tokens = Vec::new();
    for token in 0..VOCABULARY {
        Writer::string(&mut tokens, &format!("t{token}"));
    }
    writer.entry("tokenizer.ggml.tokens", 9, &list(8, VOCABULARY, tokens));
    let types = 1i32.to_le_bytes().repeat(VOCABULARY);
    writer.entry("tokenizer.ggml.token_type", 9, &list(5, VOCABULARY, types));
    writer.entry("tokenizer.ggml.merges", 9, &list(8, 0, Vec::new()));
    writer.number("tokenizer.ggml.eos_token_id", VOCABULARY - 1);
}

/// A Llama model of one layer with nothing but zeros whose feed-forward layer is `hidden` wide: large, and no byte of the
/// three large matrices on the disk.
pub fn large(folder: &tempfile::TempDir, hidden: usize) -> ModelFile {
    let mut writer = Writer::default();
    hyperparameters(&mut writer, hidden, 1);
    tokenizer(&mut writer);
    let zeros = |rows: usize, columns: usize| vec![0; rows * TensorType::Q8_0.row_bytes(columns)];
    for name in [
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
        "output_norm.weight",
    ] {
        writer.tensor(name, &[WIDTH], 0, &[0; WIDTH * 4]);
    }
    for (name, rows) in [
        ("token_embd", VOCABULARY),
        ("blk.0.attn_q", HEADS * HEAD),
        ("blk.0.attn_k", KV_HEADS * HEAD),
        ("blk.0.attn_v", KV_HEADS * HEAD),
        ("blk.0.attn_output", WIDTH),
    ] {
        writer.tensor(&format!("{name}.weight"), &[WIDTH, rows], 8, &zeros(rows, WIDTH));
    }
    let each = hidden * TensorType::Q8_0.row_bytes(WIDTH);
    for (index, (name, columns, rows)) in [
        ("ffn_gate", WIDTH, hidden),
        ("ffn_up", WIDTH, hidden),
        ("ffn_down", hidden, WIDTH),
    ]
    .into_iter()
    .enumerate()
    {
        let offset = index * each;
        writer.tensor_at(&format!("blk.0.{name}.weight"), &[columns, rows], 8, offset);
    }
    let bytes = writer.finish();
    let path = folder.path().join("large.gguf");
    std::fs::write(&path, &bytes).expect("writable");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("writable");
    file.set_len((bytes.len() + 3 * each) as u64)
        .expect("a sparse file");
    ModelFile::open(&path, None).expect("a valid file")
}

/// A Llama model whose matrices have all types in turn, beginning with type number `first` of [`TYPES`].
pub fn bytes(first: usize) -> Vec<u8> {
    bytes_of(first, LAYERS)
}

/// As [`bytes`], with another number of layers.
pub fn bytes_of(first: usize, layers: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    hyperparameters(&mut writer, WIDTH, layers);
    tokenizer(&mut writer);

    let mut random = Random(first as u64 + 1);
    let mut next = first;
    let mut matrix = |writer: &mut Writer, name: &str, rows: usize, columns: usize| {
        let (kind, code) = TYPES[next % TYPES.len()];
        next += 1;
        let blocks = rows * columns / kind.block_elements();
        let bytes: Vec<u8> = (0..blocks).flat_map(|_| block(kind, &mut random)).collect();
        writer.tensor(name, &[columns, rows], code, &bytes);
    };
    let norm: Vec<u8> = std::iter::repeat_n(1f32.to_le_bytes(), WIDTH).flatten().collect();
    matrix(&mut writer, "token_embd.weight", VOCABULARY, WIDTH);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        writer.tensor(&name("attn_norm"), &[WIDTH], 0, &norm);
        writer.tensor(&name("ffn_norm"), &[WIDTH], 0, &norm);
        for (part, rows, columns) in [
            ("attn_q", HEADS * HEAD, WIDTH),
            ("attn_k", KV_HEADS * HEAD, WIDTH),
            ("attn_v", KV_HEADS * HEAD, WIDTH),
            ("attn_output", WIDTH, HEADS * HEAD),
            ("ffn_gate", WIDTH, WIDTH),
            ("ffn_up", WIDTH, WIDTH),
            ("ffn_down", WIDTH, WIDTH),
        ] {
            matrix(&mut writer, &name(part), rows, columns);
        }
    }
    writer.tensor("output_norm.weight", &[WIDTH], 0, &norm);
    matrix(&mut writer, "output.weight", VOCABULARY, WIDTH);
    writer.finish()
}

/// That model, written to a folder and opened.
pub fn model(folder: &tempfile::TempDir, first: usize) -> ModelFile {
    model_of(folder, first, LAYERS)
}

/// As [`model`], with another number of layers.
pub fn model_of(folder: &tempfile::TempDir, first: usize, layers: usize) -> ModelFile {
    let path: PathBuf = folder.path().join(format!("tiny-{first}.gguf"));
    std::fs::write(&path, bytes_of(first, layers)).expect("writable");
    ModelFile::open(&path, None).expect("a valid file")
}
