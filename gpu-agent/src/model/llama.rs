//! The Llama forward pass (Touvron et al. 2023; grouped queries: Ainslie et al. 2023), over any machine's operations.
//! Qwen2 is the same with biases on queries, keys and values.
//!
//! Shapes: `T` rows of a batch, `D` width, `Q`/`K` widths of all query/key heads, `F` hidden width, `V` vocabulary.

use std::collections::BTreeSet;

use super::config::Config;
use crate::{
    backend::{
        Backend, Batch, BatchError, Limits, Logits,
        ops::{CacheShape, Care, Ops, Product},
    },
    weights::file::{ModelError, ModelFile},
};

/// Weights of one layer.
struct Layer<O: Ops> {
    attention_norm: O::Vector,
    query: O::Matrix,
    query_bias: Option<O::Vector>,
    key: O::Matrix,
    key_bias: Option<O::Vector>,
    value: O::Matrix,
    value_bias: Option<O::Vector>,
    attention_output: O::Matrix,
    feed_forward_norm: O::Vector,
    gate: O::Matrix,
    up: O::Matrix,
    down: O::Matrix,
}

/// Activations, allocated once.
struct Buffers<O: Ops> {
    /// Residual stream, `[T, D]`
    residual: O::Tensor,
    /// Normalised input of a half-layer, `[T, D]`
    normed: O::Tensor,
    /// `[T, Q]`
    query: O::Tensor,
    /// `[T, K]`
    key: O::Tensor,
    /// `[T, K]`
    value: O::Tensor,
    /// Weighted values of all heads, `[T, Q]`
    attended: O::Tensor,
    /// `[T, F]`
    gate: O::Tensor,
    /// `[T, F]`
    up: O::Tensor,
    /// Rows whose logits are wanted, `[L, D]`
    last: O::Tensor,
    /// Those rows normalised, `[L, D]`
    last_normed: O::Tensor,
    /// `[L, V]`
    logits: O::Tensor,
}

/// A Llama-family model on a machine.
pub struct Llama<O: Ops> {
    ops: O,
    config: Config,
    limits: Limits,
    embedding: O::Matrix,
    layers: Vec<Layer<O>>,
    output_norm: O::Vector,
    /// Absent where the embedding serves as output.
    output: Option<O::Matrix>,
    rotation: O::Vector,
    cache: O::Cache,
    buffers: Buffers<O>,
}

impl<O: Ops> Llama<O> {
    /// Loads every weight of the file.
    ///
    /// `limits.vocabulary` is taken from the file.
    ///
    /// # Errors
    /// A tensor is missing, has another shape than the hyperparameters say, or is not part of the architecture.
    pub fn load(file: &ModelFile, config: Config, limits: Limits, ops: O) -> Result<Self, ModelError> {
        let limits = Limits {
            vocabulary: config.vocabulary,
            ..limits
        };
        let mut tensors = Tensors {
            file,
            ops: &ops,
            used: BTreeSet::new(),
        };
        let embedding = tensors.matrix("token_embd.weight", Care::Fine, config.vocabulary, config.width)?;
        let layers = (0..config.layers)
            .map(|index| Layer::load(&mut tensors, &config, index))
            .collect::<Result<_, _>>()?;
        let output_norm = tensors.vector("output_norm.weight", config.width)?;
        let output = tensors.optional_matrix("output.weight", Care::Fine, config.vocabulary, config.width)?;
        let factors = tensors.optional_floats("rope_freqs.weight", config.rope_size / 2)?;
        tensors.refuse_unused()?;
        let rotation = ops.vector(rotation_table(&config, limits.context, factors.as_deref()));
        let cache = ops.cache(CacheShape {
            layers: config.layers,
            blocks: limits.blocks,
            heads: config.kv_heads,
            head_size: config.head_size,
        });
        let buffers = Buffers::new(&ops, &config, &limits);
        Ok(Self {
            ops,
            config,
            limits,
            embedding,
            layers,
            output_norm,
            output,
            rotation,
            cache,
            buffers,
        })
    }
}

impl<O: Ops> Backend for Llama<O> {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn forward(&mut self, batch: &Batch) -> Result<Logits<'_>, BatchError> {
        batch.check(&self.limits)?;
        self.ops
            .embed(&self.embedding, &batch.tokens, &mut self.buffers.residual);
        for index in 0..self.layers.len() {
            self.attention(index, batch);
            self.feed_forward(index);
        }
        Ok(self.logits(batch))
    }
}

impl<O: Ops> Llama<O> {
    /// `residual += output · attention(norm(residual))`
    fn attention(&mut self, index: usize, batch: &Batch) {
        let Self {
            ops,
            config,
            layers,
            rotation,
            cache,
            buffers: b,
            ..
        } = self;
        let (layer, rope) = (&layers[index], config.rotation());
        ops.rms_norm(&b.residual, &layer.attention_norm, config.epsilon, &mut b.normed);
        let query = Product {
            matrix: &layer.query,
            bias: layer.query_bias.as_ref(),
            out: &mut b.query,
        };
        let key = Product {
            matrix: &layer.key,
            bias: layer.key_bias.as_ref(),
            out: &mut b.key,
        };
        let value = Product {
            matrix: &layer.value,
            bias: layer.value_bias.as_ref(),
            out: &mut b.value,
        };
        ops.linear(&b.normed, [query, key, value]);
        ops.rotate(&mut b.query, rope, rotation, &batch.positions);
        ops.rotate(&mut b.key, rope, rotation, &batch.positions);
        ops.store(cache, index, &b.key, &b.value, batch);
        ops.attend(cache, index, &b.query, batch, &mut b.attended);
        ops.linear_add(&b.attended, &layer.attention_output, &mut b.residual);
    }

    /// `residual += down · (silu(gate · x) · (up · x))` with `x = norm(residual)`
    fn feed_forward(&mut self, index: usize) {
        let Self {
            ops,
            config,
            layers,
            buffers: b,
            ..
        } = self;
        let layer = &layers[index];
        ops.rms_norm(
            &b.residual,
            &layer.feed_forward_norm,
            config.epsilon,
            &mut b.normed,
        );
        let gate = Product {
            matrix: &layer.gate,
            bias: None,
            out: &mut b.gate,
        };
        let up = Product {
            matrix: &layer.up,
            bias: None,
            out: &mut b.up,
        };
        ops.linear(&b.normed, [gate, up]);
        ops.swiglu(&mut b.gate, &b.up);
        ops.linear_add(&b.gate, &layer.down, &mut b.residual);
    }

    /// `output · norm(residual)` of the rows that are wanted
    fn logits(&mut self, batch: &Batch) -> Logits<'_> {
        let Self {
            ops,
            config,
            embedding,
            output_norm,
            output,
            buffers: b,
            ..
        } = self;
        if batch.logits.is_empty() {
            return Logits::new(&[], config.vocabulary);
        }
        ops.select(&b.residual, &batch.logits, &mut b.last);
        ops.rms_norm(&b.last, output_norm, config.epsilon, &mut b.last_normed);
        let matrix = output.as_ref().unwrap_or(embedding);
        ops.linear(
            &b.last_normed,
            [Product {
                matrix,
                bias: None,
                out: &mut b.logits,
            }],
        );
        Logits::new(ops.read(&b.logits), config.vocabulary)
    }
}

impl<O: Ops> Layer<O> {
    fn load(tensors: &mut Tensors<'_, O>, config: &Config, index: usize) -> Result<Self, ModelError> {
        let Config { width, hidden, .. } = *config;
        let (query, kv) = (config.query_width(), config.kv_width());
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Self {
            attention_norm: tensors.vector(&name("attn_norm.weight"), width)?,
            query: tensors.matrix(&name("attn_q.weight"), Care::Plain, query, width)?,
            query_bias: tensors.optional_vector(&name("attn_q.bias"), query)?,
            key: tensors.matrix(&name("attn_k.weight"), Care::Fine, kv, width)?,
            key_bias: tensors.optional_vector(&name("attn_k.bias"), kv)?,
            value: tensors.matrix(&name("attn_v.weight"), Care::Fine, kv, width)?,
            value_bias: tensors.optional_vector(&name("attn_v.bias"), kv)?,
            attention_output: tensors.matrix(&name("attn_output.weight"), Care::Plain, width, query)?,
            feed_forward_norm: tensors.vector(&name("ffn_norm.weight"), width)?,
            gate: tensors.matrix(&name("ffn_gate.weight"), Care::Plain, hidden, width)?,
            up: tensors.matrix(&name("ffn_up.weight"), Care::Plain, hidden, width)?,
            down: tensors.matrix(&name("ffn_down.weight"), Care::Plain, width, hidden)?,
        })
    }
}

impl<O: Ops> Buffers<O> {
    fn new(ops: &O, config: &Config, limits: &Limits) -> Self {
        let Limits { rows, logits, .. } = *limits;
        Self {
            residual: ops.tensor(rows, config.width),
            normed: ops.tensor(rows, config.width),
            query: ops.tensor(rows, config.query_width()),
            key: ops.tensor(rows, config.kv_width()),
            value: ops.tensor(rows, config.kv_width()),
            attended: ops.tensor(rows, config.query_width()),
            gate: ops.tensor(rows, config.hidden),
            up: ops.tensor(rows, config.hidden),
            last: ops.tensor(logits, config.width),
            last_normed: ops.tensor(logits, config.width),
            logits: ops.tensor(logits, config.vocabulary),
        }
    }
}

/// Hands out a file's tensors and remembers which were asked for.
struct Tensors<'a, O> {
    file: &'a ModelFile,
    ops: &'a O,
    used: BTreeSet<String>,
}

impl<O: Ops> Tensors<'_, O> {
    fn optional_matrix(
        &mut self,
        name: &str,
        care: Care,
        rows: usize,
        columns: usize,
    ) -> Result<Option<O::Matrix>, ModelError> {
        self.used.insert(name.to_owned());
        Ok(self
            .file
            .matrix(name, rows, columns)?
            .map(|raw| self.ops.matrix(raw, care)))
    }

    fn matrix(
        &mut self,
        name: &str,
        care: Care,
        rows: usize,
        columns: usize,
    ) -> Result<O::Matrix, ModelError> {
        self.optional_matrix(name, care, rows, columns)?
            .ok_or_else(|| self.missing(name))
    }

    fn optional_floats(&mut self, name: &str, length: usize) -> Result<Option<Vec<f32>>, ModelError> {
        self.used.insert(name.to_owned());
        self.file.vector(name, length)
    }

    fn optional_vector(&mut self, name: &str, length: usize) -> Result<Option<O::Vector>, ModelError> {
        Ok(self
            .optional_floats(name, length)?
            .map(|values| self.ops.vector(values)))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<O::Vector, ModelError> {
        self.optional_vector(name, length)?
            .ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> ModelError {
        self.file.refuse(&format!("tensor {name}"), "is missing")
    }

    /// A tensor that nobody asked for belongs to an architecture that this code does not compute.
    fn refuse_unused(&self) -> Result<(), ModelError> {
        match self
            .file
            .header()
            .tensors
            .keys()
            .find(|name| !self.used.contains(*name))
        {
            None => Ok(()),
            Some(name) => Err(self.file.refuse(
                &format!("tensor {name}"),
                "is not part of a supported architecture",
            )),
        }
    }
}

/// `(cos, sin)` of every position and frequency, `[context, rope_size / 2, 2]`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "positions are small; the table is f32"
)]
fn rotation_table(config: &Config, context: usize, factors: Option<&[f32]>) -> Vec<f32> {
    let pairs = config.rope_size / 2;
    let frequency = |pair: usize| {
        let exponent = -2.0 * pair as f64 / config.rope_size as f64;
        let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
        f64::from(config.rope_base).powf(exponent) / factor / f64::from(config.rope_scale)
    };
    let frequencies: Vec<f64> = (0..pairs).map(frequency).collect();
    let mut table = Vec::with_capacity(context * pairs * 2);
    for position in 0..context {
        for frequency in &frequencies {
            let angle = position as f64 * frequency;
            table.extend([angle.cos() as f32, angle.sin() as f32]);
        }
    }
    table
}
