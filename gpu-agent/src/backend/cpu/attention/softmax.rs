//! Weights of a chunk's scores, and how chunks become one.

use crate::backend::{
    arithmetic::CHUNK,
    cpu::{
        elementwise::{capped, exp},
        isa::for_every_isa,
    },
};

/// What a query keeps of the chunks so far, beside their sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Largest score.
    largest: f32,
    /// Sum of the weights relative to it.
    pub(super) total: f32,
}

for_every_isa! {
    /// Makes weights of the sums in `scores`, of which those from `start` to `end` are visible.
    pub(super) fn weigh(
        scale: f32,
        soft_cap: Option<f32>,
        start: usize,
        end: usize,
        scores: &mut [f32; CHUNK],
    ) -> State {
        for score in scores.iter_mut() {
            *score *= scale;
        }
        if let Some(cap) = soft_cap {
            for score in scores.iter_mut() {
                *score = capped(*score, cap);
            }
        }
        // What is not visible is no candidate and has no weight.
        for score in &mut scores[..start] {
            *score = f32::NEG_INFINITY;
        }
        for score in &mut scores[end..] {
            *score = f32::NEG_INFINITY;
        }
        let largest = largest(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - largest);
        }
        scores[..start].fill(0.0);
        scores[end..].fill(0.0);
        let mut partials = *scores;
        let mut half = CHUNK / 2;
        while half > 0 {
            for index in 0..half {
                partials[index] += partials[index + half];
            }
            half /= 2;
        }
        State { largest, total: partials[0] }
    }
}

/// The largest score that is a number, in any order.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn largest(scores: &[f32; CHUNK]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    for scores in scores.as_chunks::<16>().0 {
        for (lane, score) in lanes.iter_mut().zip(scores) {
            *lane = if *score > *lane { *score } else { *lane };
        }
    }
    let mut half = 8;
    while half > 0 {
        for index in 0..half {
            lanes[index] = if lanes[index + half] > lanes[index] {
                lanes[index + half]
            } else {
                lanes[index]
            };
        }
        half /= 2;
    }
    lanes[0]
}

for_every_isa! {
    /// Adds a chunk to those before it.
    pub(super) fn combine(before: &mut State, sums: &mut [f32], next: &State, next_sums: &[f32]) {
        let largest = if next.largest > before.largest { next.largest } else { before.largest };
        let (a, b) = (exp(before.largest - largest), exp(next.largest - largest));
        before.largest = largest;
        before.total = before.total * a + next.total * b;
        for (sum, next) in sums.iter_mut().zip(next_sums) {
            *sum = *sum * a + next * b;
        }
    }
}
