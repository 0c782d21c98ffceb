//! Into how many microbatches a batch is cut where several machines have a range of layers each.
//!
//! With one batch at a time, one machine computes and the others wait. Cut into microbatches, the first machine goes on
//! with the next while the second has the one before. Smaller ones fill the machines sooner, but each reads all weights
//! again, and below some number of rows that is what takes the time: so the number follows from what the machines were
//! measured to do.

/// Rows of the smallest microbatch: as many as share one read of the weights in a product without tensor cores.
const LEAST_ROWS: usize = 8;
/// Microbatches for each machine. With so many the machines stand still for a fifth of the time at most; each further
/// one gains less than its launches cost a host of two cores.
const MOST_EACH: usize = 4;

/// Rows of each microbatch but the last one: all of them where cutting does not pay. `machines` has what each takes for
/// a product with some number of rows, and the layers that it has.
pub(super) fn rows_of_each(rows: usize, machines: &[(impl Fn(usize) -> Option<f64>, usize)]) -> usize {
    let most = MOST_EACH * machines.len();
    let sizes = std::iter::successors(Some(LEAST_ROWS), |size| Some(size * 2));
    let cut = sizes
        .take_while(|size| *size < rows && machines.len() > 1)
        .filter(|size| rows.div_ceil(*size) <= most);
    cut.chain([rows])
        .filter_map(|size| Some((size, seconds(rows, size, machines)?)))
        // The larger one at a tie.
        .min_by(|(one, a), (other, b)| a.total_cmp(b).then(other.cmp(one)))
        .map_or(rows, |(size, _)| size)
}

/// Seconds for a batch in microbatches of `size` rows: the first one through all machines, and then the others through
/// the slowest, which the rest keep up with.
#[expect(clippy::cast_precision_loss, reason = "rows and layers are few")]
fn seconds(rows: usize, size: usize, machines: &[(impl Fn(usize) -> Option<f64>, usize)]) -> Option<f64> {
    let each = machines
        .iter()
        .map(|(of_rows, layers)| Some(of_rows(size)? * *layers as f64))
        .collect::<Option<Vec<f64>>>()?;
    let slowest = each.iter().copied().fold(0.0, f64::max);
    let others = (rows.div_ceil(size) - 1) as f64;
    Some(each.iter().sum::<f64>() + others * slowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card that takes a second for a row, and no less than for `read` rows.
    fn card(read: f64) -> impl Fn(usize) -> Option<f64> {
        move |rows| Some(f64::from(u32::try_from(rows).expect("few")).max(read))
    }

    #[test]
    fn cards_that_arithmetic_binds_get_as_many_as_keep_them_busy() {
        let two = [(card(1.0), 16), (card(1.0), 16)];
        assert_eq!(rows_of_each(64, &two), 8);
        assert_eq!(rows_of_each(512, &two), 64);
        assert_eq!(rows_of_each(17, &two), 8);
    }

    #[test]
    fn cards_that_their_memory_binds_read_the_weights_no_more_often_than_they_gain() {
        // Two reads of 8 rows take as long as one of 16, and a third read has nobody to overlap with.
        assert_eq!(rows_of_each(16, &[(card(16.0), 16), (card(16.0), 16)]), 16);
        assert_eq!(rows_of_each(64, &[(card(32.0), 16), (card(32.0), 16)]), 32);
    }

    #[test]
    fn one_machine_or_few_rows_or_machines_that_wait_for_each_other_get_whole_batches() {
        assert_eq!(rows_of_each(512, &[(card(1.0), 32)]), 512);
        assert_eq!(rows_of_each(8, &[(card(1.0), 16), (card(1.0), 16)]), 8);
        assert_eq!(rows_of_each(1, &[(card(1.0), 16), (card(1.0), 16)]), 1);
        let none = |_| None;
        assert_eq!(rows_of_each(512, &[(none, 16), (none, 16)]), 512);
    }

    #[test]
    fn a_slow_card_sets_the_pace_of_all() {
        let fast: fn(usize) -> Option<f64> = |rows| Some(1e-3 * f64::from(u32::try_from(rows).expect("few")));
        let slow: fn(usize) -> Option<f64> = |_| Some(1.0);
        // The slow one reads its weights for each microbatch, and nothing makes up for that.
        assert_eq!(rows_of_each(64, &[(fast, 31), (slow, 1)]), 64);
    }
}
