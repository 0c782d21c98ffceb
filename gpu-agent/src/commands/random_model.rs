//! `gpu-agent random-model`: writes a model of random weights in a published model's shape, so that a card can be measured and
//! checked before any model was downloaded. What it says has no meaning.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use gpu_agent::weights::quants::TensorType;
use half::{bf16, f16};

/// Alignment of tensors (GGUF's default).
const ALIGNMENT: usize = 32;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose shape it has.
    #[arg(long, value_enum)]
    shape: Shape,
    /// Type of all matrices; vectors are F32.
    #[arg(long, value_enum)]
    weights: Weights,
    /// The file to write.
    file: PathBuf,
}

/// Published models of the Llama architecture.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// SmolLM2-135M (Allal et al. 2025).
    #[value(name = "smollm2-135m")]
    SmolLm2,
    /// Llama 3.2 1B.
    #[value(name = "llama-3.2-1b")]
    Llama1B,
    /// Llama 3.1 8B (Grattafiori et al. 2024).
    #[value(name = "llama-3.1-8b")]
    Llama8B,
}

/// The types that matrices may have, by the names that files have for them, with the number that GGUF has for them.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
#[expect(non_camel_case_types, reason = "the format's own names")]
enum Weights {
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl Weights {
    /// The number that GGUF has for it.
    const fn code(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::Bf16 => 30,
        }
    }

    fn kind(self) -> Option<TensorType> {
        TensorType::from_code(self.code())
    }
}

/// What decides a Llama's tensors.
struct Dimensions {
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    vocabulary: usize,
    /// Whether the output layer multiplies with the table of embeddings.
    tied: bool,
}

impl Shape {
    const fn dimensions(self) -> Dimensions {
        match self {
            Self::SmolLm2 => Dimensions {
                width: 576,
                hidden: 1_536,
                layers: 30,
                heads: 9,
                kv_heads: 3,
                head: 64,
                vocabulary: 49_152,
                tied: true,
            },
            Self::Llama1B => Dimensions {
                width: 2_048,
                hidden: 8_192,
                layers: 16,
                heads: 32,
                kv_heads: 8,
                head: 64,
                vocabulary: 128_256,
                tied: true,
            },
            Self::Llama8B => Dimensions {
                width: 4_096,
                hidden: 14_336,
                layers: 32,
                heads: 32,
                kv_heads: 8,
                head: 128,
                vocabulary: 128_256,
                tied: false,
            },
        }
    }
}

impl Dimensions {
    /// Every matrix with its columns and rows, in the order of a file.
    fn matrices(&self) -> Vec<(String, usize, usize)> {
        let (queries, keys) = (self.heads * self.head, self.kv_heads * self.head);
        let mut found = vec![("token_embd.weight".to_owned(), self.width, self.vocabulary)];
        if !self.tied {
            found.push(("output.weight".to_owned(), self.width, self.vocabulary));
        }
        for layer in 0..self.layers {
            for (name, columns, rows) in [
                ("attn_q", self.width, queries),
                ("attn_k", self.width, keys),
                ("attn_v", self.width, keys),
                ("attn_output", queries, self.width),
                ("ffn_gate", self.width, self.hidden),
                ("ffn_up", self.width, self.hidden),
                ("ffn_down", self.hidden, self.width),
            ] {
                found.push((format!("blk.{layer}.{name}.weight"), columns, rows));
            }
        }
        found
    }

    /// Every vector; all have the model's width.
    fn vectors(&self) -> Vec<String> {
        let mut found = vec!["output_norm.weight".to_owned()];
        for layer in 0..self.layers {
            found.push(format!("blk.{layer}.attn_norm.weight"));
            found.push(format!("blk.{layer}.ffn_norm.weight"));
        }
        found
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (path, shape) = (&arguments.file, arguments.shape.dimensions());
    let block = arguments.weights.kind().map_or(1, TensorType::block_elements);
    anyhow::ensure!(
        shape
            .matrices()
            .iter()
            .all(|(_, columns, _)| columns.is_multiple_of(block)),
        "this shape has matrices whose rows are no whole number of blocks of {block} weights: choose other --weights"
    );
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out, &shape, arguments.weights)
        .and_then(|()| out.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write(out: &mut impl Write, shape: &Dimensions, weights: Weights) -> std::io::Result<()> {
    let code = weights.code();
    let Some(kind) = weights.kind() else {
        return Err(std::io::Error::other("a type that the agent does not know"));
    };
    let (matrices, vectors) = (shape.matrices(), shape.vectors());
    let mut tensors = Vec::new();
    let mut offset = 0;
    let mut place = |name: &str, dimensions: &[usize], code: u32, bytes: usize| {
        string(&mut tensors, name);
        tensors.extend(word(dimensions.len()));
        for extent in dimensions {
            tensors.extend((*extent as u64).to_le_bytes());
        }
        tensors.extend(code.to_le_bytes());
        tensors.extend((offset as u64).to_le_bytes());
        offset += bytes.next_multiple_of(ALIGNMENT);
    };
    for name in &vectors {
        place(name, &[shape.width], 0, shape.width * 4);
    }
    for (name, columns, rows) in &matrices {
        place(name, &[*columns, *rows], code, rows * kind.row_bytes(*columns));
    }
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend(((vectors.len() + matrices.len()) as u64).to_le_bytes());
    let (entries, metadata) = metadata(shape);
    header.extend(entries.to_le_bytes());
    header.extend(metadata);
    header.extend(tensors);
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&header)?;

    for _ in &vectors {
        let ones = 1f32.to_le_bytes().repeat(shape.width);
        out.write_all(&ones)?;
        padding(out, ones.len())?;
    }
    let mut random = Random(1);
    for (_, columns, rows) in &matrices {
        let bytes = rows * kind.row_bytes(*columns);
        let mut written = 0;
        let mut row = vec![0; kind.row_bytes(*columns)];
        while written < bytes {
            random.row(kind, &mut row);
            out.write_all(&row)?;
            written += row.len();
        }
        padding(out, bytes)?;
    }
    Ok(())
}

fn padding(out: &mut impl Write, bytes: usize) -> std::io::Result<()> {
    out.write_all(&[0; ALIGNMENT][..bytes.next_multiple_of(ALIGNMENT) - bytes])
}

/// Hyperparameters, and a vocabulary of so many words; their number goes before them.
fn metadata(shape: &Dimensions) -> (u64, Vec<u8>) {
    let (mut entries, mut bytes) = (0, Vec::new());
    let mut entry = |key: &str, kind: u32, value: &[u8]| {
        string(&mut bytes, key);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
        entries += 1;
    };
    let text = |value: &str| {
        let mut bytes = Vec::new();
        string(&mut bytes, value);
        bytes
    };
    entry("general.architecture", 8, &text("llama"));
    for (key, value) in [
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.hidden),
        ("block_count", shape.layers),
        ("context_length", 8_192),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
    ] {
        entry(&format!("llama.{key}"), 4, &word(value));
    }
    entry(
        "llama.attention.layer_norm_rms_epsilon",
        6,
        &1e-5f32.to_le_bytes(),
    );
    entry("llama.rope.freq_base", 6, &500_000f32.to_le_bytes());
    entry("tokenizer.ggml.model", 8, &text("gpt2"));
    let list = |kind: u32, count: usize, items: Vec<u8>| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(items);
        bytes
    };
    let mut tokens = Vec::new();
    for token in 0..shape.vocabulary {
        string(&mut tokens, &format!("t{token}"));
    }
    entry("tokenizer.ggml.tokens", 9, &list(8, shape.vocabulary, tokens));
    let types = 1i32.to_le_bytes().repeat(shape.vocabulary);
    entry("tokenizer.ggml.token_type", 9, &list(5, shape.vocabulary, types));
    entry("tokenizer.ggml.merges", 9, &list(8, 0, Vec::new()));
    entry("tokenizer.ggml.eos_token_id", 4, &word(shape.vocabulary - 1));
    (entries, bytes)
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// A number far below 2³² as GGUF stores it.
fn word(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

/// `SplitMix64` (Steele et al. 2014): the same file every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A row of blocks, whose scales make values about as large as those of a trained model.
    fn row(&mut self, kind: TensorType, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            part.copy_from_slice(&random[..part.len()]);
        }
        let (scale, minimum, at) = match kind {
            TensorType::F32 => return,
            TensorType::F16 => return small(bytes, |value| f16::from_f32(value).to_bits()),
            TensorType::BF16 => return small(bytes, |value| bf16::from_f32(value).to_bits()),
            TensorType::Q4_0 => (0.004, None, 0),
            TensorType::Q4_1 => (0.004, Some(-0.03), 0),
            TensorType::Q5_0 => (0.002, None, 0),
            TensorType::Q5_1 => (0.002, Some(-0.031), 0),
            TensorType::Q4_K => (0.000_13, Some(0.001), 0),
            TensorType::Q5_K => (0.000_065, Some(0.001), 0),
            TensorType::Q6_K => (0.000_015, None, 208),
            TensorType::Q8_0 => (0.000_25, None, 0),
        };
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            if let Some(minimum) = minimum {
                block[2..4].copy_from_slice(&f16::from_f32(minimum).to_le_bytes());
            }
        }
    }
}

/// Makes 16-bit floats from −0.03 to 0.03 of random bytes.
fn small(bytes: &mut [u8], bits: impl Fn(f32) -> u16) {
    for pair in bytes.chunks_exact_mut(2) {
        let value = (f32::from(i16::from_le_bytes([pair[0], pair[1]]))) / 1_092_267.0;
        pair.copy_from_slice(&bits(value).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use gpu_agent::{model::architectures, weights::file::ModelFile};

    use super::*;

    #[test]
    fn a_file_of_every_type_is_a_model_of_its_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random.gguf");
        let shape = Dimensions {
            width: 256,
            hidden: 512,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head: 64,
            vocabulary: 100,
            tied: false,
        };
        for weights in Weights::value_variants() {
            let mut out = File::create(&path).unwrap();
            write(&mut out, &shape, *weights).unwrap();
            let file = ModelFile::open(&path, None).unwrap();
            let spec = architectures::read(&file).unwrap();
            assert_eq!((spec.width, spec.hidden, spec.vocabulary), (256, 512, 100));
            assert_eq!(
                file.header().tensors["output.weight"].kind,
                TensorType::from_code(weights.code()).unwrap()
            );
        }
    }
}
