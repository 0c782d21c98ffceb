//! Scores and weighted values, written once for every width of vector.
//!
//! A module that calls [`attention_kernel`] brings `LANES`, `COLUMNS` (registers of sums that one walk over the values
//! fills) and the operations on its vectors. Products and sums are rounded one by one, so the vectors are written out:
//! the compiler makes none of such loops.

/// The functions of a module of vectors.
macro_rules! attention_kernel {
    ($features:literal) => {
        /// `scores[t] = Σ query[e] · keys[e, t]` for 16 positions, in four interleaved sums.
        pub(in super::super) fn scores(query: &[f32], keys: &[f32], scores: &mut [f32]) {
            assert!(keys.len() >= query.len() * BLOCK_TOKENS && scores.len() == BLOCK_TOKENS);
            for half in 0..BLOCK_TOKENS / LANES {
                // SAFETY: this instruction set is chosen only where `Isa::detect` found its features; the lengths are
                // those that the assertion demands.
                unsafe {
                    half_scores(
                        query,
                        keys.as_ptr().add(half * LANES),
                        &mut scores[half * LANES..],
                    )
                };
            }
        }

        /// # Safety
        /// `keys` points to a row of 16 floats for each element of the query, of which `LANES` are read.
        #[target_feature(enable = $features)]
        unsafe fn half_scores(query: &[f32], keys: *const f32, scores: &mut [f32]) {
            let mut chains = [splat(0.0); CHAINS];
            let (whole, rest) = query.as_chunks::<CHAINS>();
            let mut keys = keys;
            for elements in whole {
                for (chain, element) in chains.iter_mut().zip(elements) {
                    // SAFETY: by the caller.
                    unsafe {
                        *chain = multiply_add(*chain, splat(*element), load(keys));
                        keys = keys.add(BLOCK_TOKENS);
                    }
                }
            }
            for (chain, element) in chains.iter_mut().zip(rest) {
                // SAFETY: by the caller.
                unsafe {
                    *chain = multiply_add(*chain, splat(*element), load(keys));
                    keys = keys.add(BLOCK_TOKENS);
                }
            }
            let [a, b, c, d] = chains;
            // SAFETY: the caller's slice has room for a register.
            unsafe { store(scores[..LANES].as_mut_ptr(), add(add(a, b), add(c, d))) };
        }

        /// `sums[e] += weights[t] · values[t, e]`, one position after the other.
        pub(in super::super) fn add_values(weights: &[f32], values: &[f32], sums: &mut [f32]) {
            assert!(values.len() >= weights.len() * sums.len());
            // SAFETY: as above.
            unsafe { add_rows(weights, values.as_ptr(), sums) };
        }

        /// # Safety
        /// `values` points to a row as long as `sums` for each weight.
        #[target_feature(enable = $features)]
        unsafe fn add_rows(weights: &[f32], values: *const f32, sums: &mut [f32]) {
            let stride = sums.len();
            let mut done = 0;
            // SAFETY: columns up to the last whole register are within every row.
            unsafe {
                while done + COLUMNS * LANES <= stride {
                    columns::<COLUMNS>(weights, values.add(done), stride, &mut sums[done..]);
                    done += COLUMNS * LANES;
                }
                while done + LANES <= stride {
                    columns::<1>(weights, values.add(done), stride, &mut sums[done..]);
                    done += LANES;
                }
            }
            for (offset, sum) in sums[done..].iter_mut().enumerate() {
                for (row, weight) in weights.iter().enumerate() {
                    // SAFETY: by the caller.
                    let value = unsafe { *values.add(row * stride + done + offset) };
                    *sum += weight * value;
                }
            }
        }

        /// # Safety
        /// `values` points to `N` registers for each weight, `stride` floats apart, and `sums` has room for as many.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn columns<const N: usize>(
            weights: &[f32],
            values: *const f32,
            stride: usize,
            sums: &mut [f32],
        ) {
            let mut values = values;
            let out = sums[..N * LANES].as_mut_ptr();
            let mut local = [splat(0.0); N];
            // SAFETY: by the caller.
            unsafe {
                for (index, sum) in local.iter_mut().enumerate() {
                    *sum = load(out.add(index * LANES));
                }
                for weight in weights {
                    let weight = splat(*weight);
                    for (index, sum) in local.iter_mut().enumerate() {
                        *sum = multiply_add(*sum, weight, load(values.add(index * LANES)));
                    }
                    values = values.add(stride);
                }
                for (index, sum) in local.iter().enumerate() {
                    store(out.add(index * LANES), *sum);
                }
            }
        }
    };
}
pub(super) use attention_kernel;
