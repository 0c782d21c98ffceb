//! Models of a few thousand random weights, for tests that run many of them.

use std::{num::NonZeroUsize, sync::Arc};

use super::{
    architectures,
    decoder::{Decoder, Loaded},
    tokenizer::Tokenizer,
};
use crate::{
    backend::{
        Budget,
        cpu::{CpuOps, Precision},
    },
    weights::{file::ModelFile, gguf::Writer, quants::TensorType},
};

/// Entries of the vocabulary.
pub(crate) const VOCABULARY: u32 = 64;
/// Token that ends a completion.
pub(crate) const END: u32 = 63;
/// Token whose embedding is so large that its squares overflow, in a model with this change: [`overflow`].
pub(crate) const OVERFLOWING: u32 = 62;
/// Tokens of the longest context.
pub(crate) const CONTEXT: usize = 96;
/// Layers.
pub(crate) const LAYERS: usize = 3;

const WIDTH: usize = 32;
const HIDDEN: usize = 64;
const KEYS: usize = 16;
const HEAD: usize = 8;

/// A change of a tensor's values before they are written.
pub(crate) type Change = fn(&str, &mut [f32]);

/// A model file of an architecture.
pub(crate) fn file(architecture: &str, change: Change) -> ModelFile {
    open(architecture, change, None)
}

/// A Llama's file that lacks a tensor.
pub(crate) fn file_without(tensor: &str) -> ModelFile {
    open("llama", |_, _| {}, Some(tensor))
}

fn open(architecture: &str, change: Change, without: Option<&str>) -> ModelFile {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes(architecture, change, without)).expect("writable");
    ModelFile::open(&path, None).expect("a valid file")
}

/// Operations on one thread.
pub(crate) fn ops() -> CpuOps {
    CpuOps::new(Precision::Fast, NonZeroUsize::MIN).expect("no thread is needed")
}

/// What a cache of `blocks` blocks of 16 tokens takes.
pub(crate) fn budget(rows: usize, blocks: usize) -> Budget {
    Budget {
        bytes: u64::MAX,
        rows,
        outputs: rows,
        context: CONTEXT.min(blocks * 16),
        cache_tokens: blocks * 16,
    }
}

/// Makes one token's embedding so large that its squares overflow.
pub(crate) fn overflow(name: &str, values: &mut [f32]) {
    if name == "token_embd.weight" {
        let width = values.len() / VOCABULARY as usize;
        values[OVERFLOWING as usize * width..][..4].fill(1e25);
    }
}

/// A Llama on disk, with its tokenizer.
pub(crate) struct Model {
    file: ModelFile,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

impl Model {
    pub(crate) fn new(change: Change) -> Self {
        let file = file("llama", change);
        let tokenizer = Arc::new(Tokenizer::read(&file).expect("a tokenizer"));
        Self { file, tokenizer }
    }

    /// The model on one thread, for batches of `rows` rows and with a cache of `blocks` blocks.
    pub(crate) fn decoder(&self, rows: usize, blocks: usize) -> Decoder<CpuOps> {
        let spec = architectures::read(&self.file).expect("a shape");
        let loaded = Loaded::load(&self.file, spec, ops()).expect("weights");
        loaded.reserve(budget(rows, blocks)).expect("memory")
    }
}

fn bytes(architecture: &str, change: Change, without: Option<&str>) -> Vec<u8> {
    let mut tensors = tensors(architecture);
    tensors.retain(|(name, _)| Some(name.as_str()) != without);
    let mut header = header(architecture);
    let mut data = Vec::new();
    let mut state = 1u32;
    for (name, dimensions) in tensors {
        header.tensor(&name, &dimensions, TensorType::F32);
        let count = dimensions.iter().product();
        let mut values: Vec<f32> = (0..count).map(|_| random(&mut state)).collect();
        if name.contains("norm") {
            for value in &mut values {
                *value += 1.0;
            }
        }
        change(&name, &mut values);
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        data.resize(header.data_bytes(), 0);
    }
    let mut file = header.header();
    file.extend(data);
    file
}

/// From −0.5 to 0.5.
fn random(state: &mut u32) -> f32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    f32::from(u16::try_from(*state >> 16).expect("16 bits")) / 65_536.0 - 0.5
}

fn tensors(architecture: &str) -> Vec<(String, Vec<usize>)> {
    let vocabulary = VOCABULARY as usize;
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, vocabulary]),
        ("output_norm.weight".to_owned(), vec![WIDTH]),
        ("output.weight".to_owned(), vec![WIDTH, vocabulary]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, dimensions: &[usize]| {
            tensors.push((format!("blk.{layer}.{name}"), dimensions.to_vec()));
        };
        add("attn_norm.weight", &[WIDTH]);
        add("attn_q.weight", &[WIDTH, WIDTH]);
        add("attn_k.weight", &[WIDTH, KEYS]);
        add("attn_v.weight", &[WIDTH, KEYS]);
        add("attn_output.weight", &[WIDTH, WIDTH]);
        add("ffn_norm.weight", &[WIDTH]);
        add("ffn_gate.weight", &[WIDTH, HIDDEN]);
        add("ffn_up.weight", &[WIDTH, HIDDEN]);
        add("ffn_down.weight", &[HIDDEN, WIDTH]);
        if architecture == "qwen2" {
            add("attn_q.bias", &[WIDTH]);
            add("attn_k.bias", &[KEYS]);
            add("attn_v.bias", &[KEYS]);
        }
        if architecture == "qwen3" {
            add("attn_q_norm.weight", &[HEAD]);
            add("attn_k_norm.weight", &[HEAD]);
        }
    }
    tensors
}

fn header(architecture: &str) -> Writer {
    let mut header = Writer::default();
    header.text("general.architecture", architecture);
    for (name, value) in [
        ("embedding_length", WIDTH),
        ("feed_forward_length", HIDDEN),
        ("block_count", LAYERS),
        ("context_length", CONTEXT),
        ("attention.head_count", WIDTH / HEAD),
        ("attention.head_count_kv", KEYS / HEAD),
    ] {
        header.number(&format!("{architecture}.{name}"), value);
    }
    header.float(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5);
    let tokens: Vec<String> = (0..VOCABULARY)
        .map(|token| match token {
            0 => "a".to_owned(),
            1 => "b".to_owned(),
            2 => "ab".to_owned(),
            other => format!("<{other}>"),
        })
        .collect();
    header.text("tokenizer.ggml.model", "gpt2");
    header.texts("tokenizer.ggml.tokens", &tokens);
    header.integers("tokenizer.ggml.token_type", &[1; VOCABULARY as usize]);
    header.texts("tokenizer.ggml.merges", &["a b"]);
    header.number("tokenizer.ggml.eos_token_id", END as usize);
    header
}
