//! Models of random weights, small enough to compute a hundred thousand tokens in a test.

#![allow(dead_code, reason = "every test binary uses another part of this module")]

use std::path::PathBuf;

use gpu_agent::weights::{file::ModelFile, gguf::Writer, quants::TensorType};
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

/// A GGUF file that grows.
#[derive(Default)]
struct File {
    header: Writer,
    data: Vec<u8>,
}

impl File {
    fn tensor(&mut self, name: &str, dimensions: &[usize], kind: TensorType, bytes: &[u8]) {
        self.header.tensor(name, dimensions, kind);
        self.data.extend(bytes);
        self.data.resize(self.header.data_bytes(), 0);
    }

    fn finish(self) -> Vec<u8> {
        let mut file = self.header.header();
        file.extend(self.data);
        file
    }
}

fn hyperparameters(header: &mut Writer, hidden: usize, layers: usize) {
    header.text("general.architecture", "llama");
    for (key, value) in [
        ("embedding_length", WIDTH),
        ("feed_forward_length", hidden),
        ("block_count", layers),
        ("context_length", CONTEXT),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ] {
        header.number(&format!("llama.{key}"), value);
    }
    header.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
}

/// Tokens without merges; the last one ends a sequence.
fn tokenizer(header: &mut Writer) {
    header.text("tokenizer.ggml.model", "gpt2");
    let tokens: Vec<String> = (0..VOCABULARY).map(|token| format!("t{token}")).collect();
    header.texts("tokenizer.ggml.tokens", &tokens);
    header.integers("tokenizer.ggml.token_type", &[1; VOCABULARY]);
    header.texts::<&str>("tokenizer.ggml.merges", &[]);
    header.number("tokenizer.ggml.eos_token_id", VOCABULARY - 1);
}

/// A Llama model of one layer with nothing but zeros whose feed-forward layer is `hidden` wide: large, and no byte of
/// the three large matrices on the disk.
pub fn large(folder: &tempfile::TempDir, hidden: usize) -> ModelFile {
    let mut model = File::default();
    hyperparameters(&mut model.header, hidden, 1);
    tokenizer(&mut model.header);
    let zeros = |rows: usize, columns: usize| vec![0; rows * TensorType::Q8_0.row_bytes(columns)];
    for name in [
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
        "output_norm.weight",
    ] {
        model.tensor(name, &[WIDTH], TensorType::F32, &[0; WIDTH * 4]);
    }
    for (name, rows) in [
        ("token_embd", VOCABULARY),
        ("blk.0.attn_q", HEADS * HEAD),
        ("blk.0.attn_k", KV_HEADS * HEAD),
        ("blk.0.attn_v", KV_HEADS * HEAD),
        ("blk.0.attn_output", WIDTH),
    ] {
        let name = format!("{name}.weight");
        model.tensor(&name, &[WIDTH, rows], TensorType::Q8_0, &zeros(rows, WIDTH));
    }
    let written = model.header.data_bytes();
    for (name, columns, rows) in [
        ("ffn_gate", WIDTH, hidden),
        ("ffn_up", WIDTH, hidden),
        ("ffn_down", hidden, WIDTH),
    ] {
        let name = format!("blk.0.{name}.weight");
        model.header.tensor(&name, &[columns, rows], TensorType::Q8_0);
    }
    let unwritten = model.header.data_bytes() - written;
    let bytes = model.finish();
    let path = folder.path().join("large.gguf");
    std::fs::write(&path, &bytes).expect("writable");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("writable");
    file.set_len((bytes.len() + unwritten) as u64)
        .expect("a sparse file");
    ModelFile::open(&path, None).expect("a valid file")
}

/// A Llama model whose matrices have all types in turn, beginning with type number `first` of all.
pub fn bytes(first: usize) -> Vec<u8> {
    bytes_of(first, LAYERS)
}

/// As [`bytes`], with another number of layers.
pub fn bytes_of(first: usize, layers: usize) -> Vec<u8> {
    let mut model = File::default();
    hyperparameters(&mut model.header, WIDTH, layers);
    tokenizer(&mut model.header);

    let mut random = Random(first as u64 + 1);
    let mut next = first;
    let mut matrix = |model: &mut File, name: &str, rows: usize, columns: usize| {
        let kind = TensorType::ALL[next % TensorType::ALL.len()];
        next += 1;
        let blocks = rows * columns / kind.block_elements();
        let bytes: Vec<u8> = (0..blocks).flat_map(|_| block(kind, &mut random)).collect();
        model.tensor(name, &[columns, rows], kind, &bytes);
    };
    let norm: Vec<u8> = std::iter::repeat_n(1f32.to_le_bytes(), WIDTH).flatten().collect();
    matrix(&mut model, "token_embd.weight", VOCABULARY, WIDTH);
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        model.tensor(&name("attn_norm"), &[WIDTH], TensorType::F32, &norm);
        model.tensor(&name("ffn_norm"), &[WIDTH], TensorType::F32, &norm);
        for (part, rows, columns) in [
            ("attn_q", HEADS * HEAD, WIDTH),
            ("attn_k", KV_HEADS * HEAD, WIDTH),
            ("attn_v", KV_HEADS * HEAD, WIDTH),
            ("attn_output", WIDTH, HEADS * HEAD),
            ("ffn_gate", WIDTH, WIDTH),
            ("ffn_up", WIDTH, WIDTH),
            ("ffn_down", WIDTH, WIDTH),
        ] {
            matrix(&mut model, &name(part), rows, columns);
        }
    }
    model.tensor("output_norm.weight", &[WIDTH], TensorType::F32, &norm);
    matrix(&mut model, "output.weight", VOCABULARY, WIDTH);
    model.finish()
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
