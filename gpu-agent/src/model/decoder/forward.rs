//! One step: from a batch to logits or tokens.

use super::{
    load::{Layer, Segment},
    microbatch,
    room::Room,
};
use crate::{
    backend::{
        Backend, Batch, DeviceError, ForwardError, Limits, Logits, NumberError, SampleSpec, Sampled,
        ops::{Gated, Norm, Ops, Output, Product, ProductAdd, RotateStore},
    },
    model::spec::DecoderSpec,
};

/// A model with a cache, on one device or several.
pub struct Decoder<O: Ops> {
    pub(super) spec: DecoderSpec,
    pub(super) limits: Limits,
    /// At least one, in order of layers.
    pub(super) stages: Vec<Stage<O>>,
    /// From each stage to the next.
    pub(super) hops: Vec<O::Hop>,
    /// The microbatch that is computed, kept for its memory.
    pub(super) microbatch: Batch,
}

/// A range of layers on one device.
pub(super) struct Stage<O: Ops> {
    pub(super) segment: Segment<O>,
    pub(super) room: Room<O>,
}

impl<O: Ops> Backend for Decoder<O> {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn describe(&self) -> String {
        let machines: Vec<String> = self
            .stages
            .iter()
            .map(|stage| stage.segment.ops.describe())
            .collect();
        machines.join("; ")
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        self.stages
            .iter_mut()
            .try_for_each(|stage| stage.segment.ops.check())
    }

    fn step(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) -> Result<&Sampled, ForwardError> {
        batch.check(&self.limits)?;
        batch.check_specs(specs, &self.limits)?;
        self.forward(batch, Some(specs))?;
        let (last, before) = split_last(&mut self.stages);
        let bad = faulty(before)?;
        merge(bad, last.segment.ops.finish())
    }

    fn logits(&mut self, batch: &Batch) -> Result<Logits<'_>, ForwardError> {
        batch.check(&self.limits)?;
        let Self {
            spec, stages, hops, ..
        } = self;
        compute(spec, stages, hops, batch, None)?;
        let (last, before) = split_last(&mut self.stages);
        let bad = faulty(before)?;
        merge(bad, last.segment.ops.read(&last.room.logits))
    }
}

/// Ends the step on these devices: rows without a finite result.
fn faulty<O: Ops>(stages: &mut [Stage<O>]) -> Result<Vec<u32>, ForwardError> {
    let mut bad = Vec::new();
    for stage in stages {
        match stage.segment.ops.finish() {
            Ok(_) => {}
            Err(ForwardError::Numbers(NumberError { rows })) => bad.extend(rows),
            Err(error) => return Err(error),
        }
    }
    Ok(bad)
}

/// What the last device found, where no device before it met rows without a finite result.
fn merge<T>(mut bad: Vec<u32>, last: Result<T, ForwardError>) -> Result<T, ForwardError> {
    match last {
        Err(ForwardError::Numbers(NumberError { rows })) => bad.extend(rows),
        other if bad.is_empty() => return other,
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    bad.sort_unstable();
    bad.dedup();
    Err(NumberError { rows: bad }.into())
}

/// The last device, and those before it. There is at least one.
fn split_last<O: Ops>(stages: &mut [Stage<O>]) -> (&mut Stage<O>, &mut [Stage<O>]) {
    match stages.split_last_mut() {
        Some(split) => split,
        None => unreachable!("a decoder has at least one stage"),
    }
}

impl<O: Ops> Decoder<O> {
    /// Computes a batch up to its logits, or up to the tokens that are chosen by specifications: in microbatches, so
    /// that the devices work at once.
    fn forward(&mut self, batch: &Batch, specs: Option<&[SampleSpec<'_>]>) -> Result<(), DeviceError> {
        let Self {
            spec,
            stages,
            hops,
            microbatch,
            ..
        } = self;
        let rows = rows_of_each(stages, batch.rows());
        if rows >= batch.rows() {
            return compute(spec, stages, hops, batch, specs);
        }
        for first in (0..batch.rows()).step_by(rows) {
            let wanted = batch.cut(first..batch.rows().min(first + rows), microbatch);
            let specs = specs.map(|specs| &specs[wanted]);
            compute(spec, stages, hops, microbatch, specs)?;
        }
        Ok(())
    }
}

fn rows_of_each<O: Ops>(stages: &[Stage<O>], rows: usize) -> usize {
    let machines: Vec<_> = stages
        .iter()
        .map(|Stage { segment, .. }| (|rows| segment.ops.product_seconds(rows), segment.layers.len()))
        .collect();
    microbatch::rows_of_each(rows, &machines)
}

/// Begins a batch on one device after the other. Devices that wait for nobody go on with it while the next batch is
/// begun.
fn compute<O: Ops>(
    spec: &DecoderSpec,
    stages: &mut [Stage<O>],
    hops: &mut [O::Hop],
    batch: &Batch,
    specs: Option<&[SampleSpec<'_>]>,
) -> Result<(), DeviceError> {
    let count = stages.len();
    for index in 0..count {
        let (before, rest) = stages.split_at_mut(index);
        let (stage, is_last) = (&mut rest[0], index + 1 == count);
        let chosen_here = specs.filter(|_| is_last).unwrap_or(&[]);
        stage.segment.ops.stage(batch, chosen_here)?;
        let previous = before.last();
        if let Some(previous) = previous {
            stage.receive(previous, &mut hops[index - 1])?;
        }
        if stage.segment.ops.begin(!is_last || specs.is_some())? {
            if previous.is_none() {
                stage.embed(spec)?;
            }
            stage.compute(spec)?;
            if is_last && !batch.outputs.is_empty() {
                stage.output(spec)?;
                if specs.is_some() {
                    stage.segment.ops.sample(&stage.room.logits)?;
                }
            }
            stage.segment.ops.end()?;
        }
    }
    Ok(())
}

impl<O: Ops> Stage<O> {
    fn embed(&mut self, spec: &DecoderSpec) -> Result<(), DeviceError> {
        let Some(embedding) = &self.segment.embedding else {
            unreachable!("the first stage has the embedding")
        };
        self.segment
            .ops
            .embed(embedding, spec.embedding_scale, &mut self.room.residual)
    }

    fn receive(&mut self, previous: &Self, hop: &mut O::Hop) -> Result<(), DeviceError> {
        self.segment.ops.receive(
            &previous.segment.ops,
            &previous.room.residual,
            hop,
            &mut self.room.residual,
        )
    }

    fn compute(&mut self, spec: &DecoderSpec) -> Result<(), DeviceError> {
        for layer in 0..self.segment.layers.len() {
            self.attention(spec, layer)?;
            self.feed_forward(spec, layer)?;
        }
        Ok(())
    }

    /// `residual += output · attention(norm(residual))`
    fn attention(&mut self, spec: &DecoderSpec, index: usize) -> Result<(), DeviceError> {
        let (Segment { ops, layers, .. }, b) = (&mut self.segment, &mut self.room);
        let Layer { spec: kind, .. } = &layers[index];
        let (layer, attention) = (&layers[index], spec.attention(kind));
        let norm = |weight| Norm {
            weight,
            epsilon: spec.epsilon,
        };
        let product = |matrix, bias, out| Product { matrix, bias, out };
        ops.norm_products(
            &b.residual,
            norm(&layer.attention_norm),
            [
                product(&layer.query, layer.query_bias.as_ref(), &mut b.query),
                product(&layer.key, layer.key_bias.as_ref(), &mut b.key),
                product(&layer.value, layer.value_bias.as_ref(), &mut b.value),
            ],
        )?;
        let rotate = RotateStore {
            norms: layer
                .query_key_norms
                .as_ref()
                .map(|norms| norms.each_ref().map(norm)),
            rotation: spec.rotation(kind),
            table: &b.tables[b.table_of[index]],
            layer: index,
        };
        ops.rotate_store(rotate, &mut b.query, &mut b.key, &b.value, &mut b.cache)?;
        ops.attend(attention, &b.cache, index, &b.query, &mut b.attended)?;
        let add = ProductAdd {
            matrix: &layer.attention_output,
            norm: layer.attention_post_norm.as_ref().map(norm),
        };
        ops.product_add(&b.attended, add, &mut b.residual)
    }

    /// `residual += down · (activation(gate · x) · (up · x))` with `x = norm(residual)`
    fn feed_forward(&mut self, spec: &DecoderSpec, index: usize) -> Result<(), DeviceError> {
        let (Segment { ops, layers, .. }, b) = (&mut self.segment, &mut self.room);
        let layer = &layers[index];
        let norm = |weight| Norm {
            weight,
            epsilon: spec.epsilon,
        };
        let gated = Gated {
            norm: norm(&layer.feed_forward_norm),
            gate: &layer.gate,
            up: &layer.up,
            activation: layer.spec.activation,
        };
        ops.gated(&b.residual, gated, &mut b.gate)?;
        let add = ProductAdd {
            matrix: &layer.down,
            norm: layer.feed_forward_post_norm.as_ref().map(norm),
        };
        ops.product_add(&b.gate, add, &mut b.residual)
    }

    /// `output · norm(residual)` of the rows that are wanted
    fn output(&mut self, spec: &DecoderSpec) -> Result<(), DeviceError> {
        let (
            Segment {
                ops, head, embedding, ..
            },
            b,
        ) = (&mut self.segment, &mut self.room);
        let Some(head) = head else {
            unreachable!("the last stage has the output layer")
        };
        let Some(matrix) = head.matrix.as_ref().or(embedding.as_ref()) else {
            unreachable!("a stage with a tied output has the embedding")
        };
        let output = Output {
            norm: Norm {
                weight: &head.norm,
                epsilon: spec.epsilon,
            },
            matrix,
            soft_cap: spec.output_soft_cap,
        };
        ops.logits(&b.residual, output, &mut b.logits)
    }
}
