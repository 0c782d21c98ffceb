//! `gpu-agent random-model`: writes a model of random weights in a published model's shape, so that a card can be
//! measured and checked before any model was downloaded. What it says has no meaning.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use gpu_agent::weights::{gguf::Writer, quants::TensorType};
use half::{bf16, f16};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Whose shape it has.
    #[arg(long, value_enum)]
    shape: Shape,
    /// Type of all matrices, such as `q4_k`; vectors are F32.
    #[arg(long, value_parser = weights)]
    weights: TensorType,
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

/// A type by the name that files have for it, in small letters or capitals.
fn weights(text: &str) -> Result<TensorType, String> {
    let name = |kind: &TensorType| format!("{kind:?}");
    let found = TensorType::ALL
        .into_iter()
        .find(|kind| name(kind).eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        let names: Vec<String> = TensorType::ALL.iter().map(name).collect();
        format!("it is none of {}", names.join(", "))
    })
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
    let block = arguments.weights.block_elements();
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

fn write(out: &mut impl Write, shape: &Dimensions, kind: TensorType) -> std::io::Result<()> {
    let mut file = header(shape);
    for name in shape.vectors() {
        file.tensor(&name, &[shape.width], TensorType::F32);
    }
    for (name, columns, rows) in shape.matrices() {
        file.tensor(&name, &[columns, rows], kind);
    }
    out.write_all(&file.header())?;
    for _ in shape.vectors() {
        let ones = 1f32.to_le_bytes().repeat(shape.width);
        out.write_all(&ones)?;
        padding(out, ones.len())?;
    }
    let mut random = Random(1);
    for (_, columns, rows) in shape.matrices() {
        let mut row = vec![0; kind.row_bytes(columns)];
        for _ in 0..rows {
            random.row(kind, &mut row);
            out.write_all(&row)?;
        }
        padding(out, rows * row.len())?;
    }
    Ok(())
}

fn padding(out: &mut impl Write, bytes: usize) -> std::io::Result<()> {
    const ALIGNMENT: usize = Writer::ALIGNMENT;
    out.write_all(&[0; ALIGNMENT][..bytes.next_multiple_of(ALIGNMENT) - bytes])
}

/// Hyperparameters, and a vocabulary of so many words.
fn header(shape: &Dimensions) -> Writer {
    let mut file = Writer::default();
    file.text("general.architecture", "llama");
    for (key, value) in [
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.hidden),
        ("block_count", shape.layers),
        ("context_length", 8_192),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
    ] {
        file.number(&format!("llama.{key}"), value);
    }
    file.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    file.float("llama.rope.freq_base", 500_000.0);
    file.text("tokenizer.ggml.model", "gpt2");
    let tokens: Vec<String> = (0..shape.vocabulary).map(|token| format!("t{token}")).collect();
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.integers("tokenizer.ggml.token_type", &vec![1; shape.vocabulary]);
    file.texts::<&str>("tokenizer.ggml.merges", &[]);
    file.number("tokenizer.ggml.eos_token_id", shape.vocabulary - 1);
    file
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
            TensorType::F32 => return small(bytes, f32::to_le_bytes),
            TensorType::F16 => return small(bytes, |value| f16::from_f32(value).to_le_bytes()),
            TensorType::BF16 => return small(bytes, |value| bf16::from_f32(value).to_le_bytes()),
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

/// Makes floats from −0.03 to 0.03 of random bytes.
fn small<const BYTES: usize>(bytes: &mut [u8], float: impl Fn(f32) -> [u8; BYTES]) {
    for value in bytes.chunks_exact_mut(BYTES) {
        let random = i16::from_le_bytes([value[0], value[1]]);
        value.copy_from_slice(&float(f32::from(random) / 1_092_267.0));
    }
}

#[cfg(test)]
mod tests {
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
        for kind in TensorType::ALL {
            let mut out = File::create(&path).unwrap();
            write(&mut out, &shape, kind).unwrap();
            let file = ModelFile::open(&path, None).unwrap();
            let spec = architectures::read(&file).unwrap();
            assert_eq!((spec.width, spec.hidden, spec.vocabulary), (256, 512, 100));
            assert_eq!(file.header().tensors["output.weight"].kind, kind);
        }
    }

    #[test]
    fn a_type_has_the_name_that_files_have_for_it() {
        assert_eq!(weights("q4_k"), Ok(TensorType::Q4_K));
        assert_eq!(weights("BF16"), Ok(TensorType::BF16));
        assert!(weights("q3_k").unwrap_err().contains("Q4_K, Q5_K"));
    }
}
