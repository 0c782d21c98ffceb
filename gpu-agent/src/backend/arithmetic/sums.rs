//! Sums of many floats, in one order.

/// Partial sums of a sum over a row of floats.
pub const STRIDES: usize = 128;

/// The sum of `terms`: term `i` is added to partial sum `i mod 128` in order, and the partial sums become one in a
/// tree.
pub fn strided_sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut partials = [0.0; STRIDES];
    for (index, term) in terms.enumerate() {
        partials[index % STRIDES] += term;
    }
    tree_sum(&mut partials)
}

/// The sum of a power of two of values, by halves: `p[j] += p[j + n/2]`, then `+ n/4`, and so on.
pub fn tree_sum(partials: &mut [f32]) -> f32 {
    let mut half = partials.len() / 2;
    while half > 0 {
        for index in 0..half {
            partials[index] += partials[index + half];
        }
        half /= 2;
    }
    partials[0]
}
