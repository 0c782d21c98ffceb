//! Attention of one query head over the positions that it sees.

use std::ops::Range;

use super::{CHAINS, CHUNK, exp, soft_cap, tree_sum};

/// How a layer's scores are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Scores are squeezed between minus and plus this.
    pub soft_cap: Option<f32>,
}

/// Weighted values of the chunks so far: `largest` score, `total` of the weights relative to it, and the sums.
struct Running {
    largest: f32,
    total: f32,
    sums: Vec<f32>,
}

/// `out = softmax(query · keys) · values` over the positions `visible`.
///
/// `key(t)` and `value(t)` are those of position `t`, `[head_size]`. Positions belong to chunks of 64 counted from 0,
/// whatever is visible. The chunks' results are combined in order (Dao et al. 2022).
pub fn attend<'a>(
    query: &[f32],
    key: impl Fn(usize) -> &'a [f32],
    value: impl Fn(usize) -> &'a [f32],
    visible: Range<usize>,
    attention: Attention,
    out: &mut [f32],
) {
    let mut running: Option<Running> = None;
    for chunk in visible.start / CHUNK..visible.end.div_ceil(CHUNK) {
        let positions = visible.start.max(chunk * CHUNK)..visible.end.min((chunk + 1) * CHUNK);
        let scores = positions.clone().map(|t| score(query, key(t), attention));
        let next = attend_chunk(positions.clone().zip(scores), &value, out.len());
        running = Some(match running {
            None => next,
            Some(before) => combine(&before, &next),
        });
    }
    let Some(Running { total, sums, .. }) = running else {
        out.fill(0.0);
        return;
    };
    let scale = 1.0 / total;
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
}

/// Four interleaved sums hide the latency of additions.
fn score(query: &[f32], key: &[f32], attention: Attention) -> f32 {
    let mut chains = [0.0f32; CHAINS];
    for (index, (q, k)) in query.iter().zip(key).enumerate() {
        chains[index % CHAINS] += q * k;
    }
    let score = ((chains[0] + chains[1]) + (chains[2] + chains[3])) * attention.scale;
    attention.soft_cap.map_or(score, |cap| soft_cap(score, cap))
}

fn attend_chunk<'a>(
    scores: impl Iterator<Item = (usize, f32)> + Clone,
    value: &impl Fn(usize) -> &'a [f32],
    head_size: usize,
) -> Running {
    // A comparison with NaN is false: such a score is no candidate, and its weight is NaN.
    let largest = scores.clone().fold(
        f32::NEG_INFINITY,
        |a, (_, score)| if score > a { score } else { a },
    );
    let mut weights = [0.0; CHUNK];
    let mut sums = vec![0.0; head_size];
    for (t, score) in scores {
        let weight = exp(score - largest);
        weights[t % CHUNK] = weight;
        for (sum, value) in sums.iter_mut().zip(value(t)) {
            *sum += weight * value;
        }
    }
    Running {
        largest,
        total: tree_sum(&mut weights),
        sums,
    }
}

fn combine(before: &Running, next: &Running) -> Running {
    let largest = if next.largest > before.largest {
        next.largest
    } else {
        before.largest
    };
    let (a, b) = (exp(before.largest - largest), exp(next.largest - largest));
    let sums = before
        .sums
        .iter()
        .zip(&next.sums)
        .map(|(before, next)| before * a + next * b)
        .collect();
    Running {
        largest,
        total: before.total * a + next.total * b,
        sums,
    }
}
