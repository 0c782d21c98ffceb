use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    rows: 8,
    outputs: 2,
    context: 32,
    blocks: 4,
    block_tokens: 16,
    vocabulary: 10,
};

fn batch() -> Batch {
    let mut batch = Batch::new(16);
    batch.push(&[1, 2, 3], 16, &[3, 0]);
    let row = batch.push(&[4], 0, &[1]);
    batch.want(row);
    batch
}

fn refused(change: impl FnOnce(&mut Batch)) -> bool {
    let mut batch = batch();
    change(&mut batch);
    batch.check(&LIMITS).is_err()
}

#[test]
fn what_push_builds_is_accepted() {
    let batch = batch();
    assert_eq!(batch.check(&LIMITS), Ok(()));
    assert_eq!(batch.positions, [16, 17, 18, 0]);
    assert_eq!(batch.slots, [0, 1, 2, 16]);
    assert_eq!((&*batch.starts, &*batch.tables), (&[0, 3, 4][..], &[0, 2, 3][..]));
    assert_eq!(
        [0, 2, 3, 4].map(|row| batch.sequence_of(row)),
        [Some(0), Some(0), Some(1), None]
    );
}

#[test]
fn only_the_blocks_that_are_needed_are_copied() {
    let mut batch = Batch::new(16);
    batch.push(&[1], 15, &[2, 3, 1]);
    assert_eq!(batch.part(0).blocks, [2]);
}

#[test]
fn a_cleared_batch_is_as_new() {
    let mut batch = batch();
    batch.clear();
    assert_eq!(batch, Batch::new(16));
}

#[test]
fn a_batch_beyond_the_limits_is_refused() {
    assert!(refused(|batch| batch.tokens[0] = 10));
    assert!(refused(|batch| batch.blocks[0] = 4));
    assert!(refused(|batch| batch.outputs.push(4)));
    assert!(refused(|batch| batch.outputs = vec![0, 1, 2]));
    assert!(refused(|batch| {
        batch.push(&[1; 5], 0, &[1]);
    }));
    assert!(refused(|batch| batch.tokens.clear()));
    assert!(refused(|batch| {
        batch.clear();
        batch.push(&[1], 32, &[0, 1, 2]);
    }));
    let blocks_of_8 = Limits {
        block_tokens: 8,
        blocks: 8,
        ..LIMITS
    };
    assert!(batch().check(&blocks_of_8).is_err());
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    assert!(refused(|batch| batch.positions[1] = 3));
    assert!(refused(|batch| batch.slots[1] = 17));
    assert!(refused(|batch| batch.starts[1] = 0));
    assert!(refused(|batch| batch.starts[1] = 4));
    assert!(refused(|batch| batch.tables[1] = 1));
    assert!(refused(|batch| batch.lengths[0] = 35));
    assert!(refused(|batch| batch.outputs = vec![1, 1]));
    assert!(refused(|batch| {
        batch.lengths.pop();
    }));
    assert!(refused(|batch| {
        batch.push(&[1], 16, &[2]);
    }));
}

proptest::proptest! {
    #[test]
    fn arbitrary_numbers_are_refused_or_accepted_but_never_a_panic(
        tokens in proptest::collection::vec(0u32..12, 0..6),
        arrays in proptest::collection::vec(proptest::collection::vec(0u32..40, 0..6), 7),
    ) {
        let mut batch = Batch::new(16);
        let [positions, slots, starts, lengths, blocks, tables, outputs] =
            <[Vec<u32>; 7]>::try_from(arrays).expect("seven arrays");
        (batch.tokens, batch.positions, batch.slots, batch.starts) = (tokens, positions, slots, starts);
        (batch.lengths, batch.blocks, batch.tables, batch.outputs) = (lengths, blocks, tables, outputs);
        let _ = batch.check(&LIMITS);
    }
}

proptest! {
    #[test]
    fn pieces_of_a_batch_are_batches_and_hold_what_it_holds(
        sequences in prop::collection::vec((0_usize..40, 1_usize..20), 1..6),
        rows in 1_usize..24,
        wanted in prop::collection::vec(any::<bool>(), 120),
    ) {
        let limits = Limits { rows: 120, outputs: 120, context: 64, blocks: 24, ..LIMITS };
        let mut batch = Batch::new(16);
        for (sequence, (cached, count)) in (0..).zip(&sequences) {
            let tokens: Vec<u32> = (0..*count).map(|token| number(token % 10)).collect();
            batch.push(&tokens, *cached, &[0, 1, 2, 3].map(|block| 4 * sequence + block));
        }
        (0..batch.rows()).filter(|row| wanted[*row]).for_each(|row| batch.want(row));
        prop_assert_eq!(batch.check(&limits), Ok(()));
        let (mut piece, mut outputs) = (Batch::new(16), 0);
        let mut together = [const { Vec::new() }; 4];
        for first in (0..batch.rows()).step_by(rows) {
            let wanted = batch.cut(first..batch.rows().min(first + rows), &mut piece);
            prop_assert_eq!(piece.check(&limits), Ok(()));
            prop_assert_eq!((wanted.start, wanted.len()), (outputs, piece.outputs.len()));
            outputs = wanted.end;
            let moved = piece.outputs.iter().map(|row| number(first) + row).collect();
            let parts = [piece.tokens.clone(), piece.positions.clone(), piece.slots.clone(), moved];
            for (all, part) in together.iter_mut().zip(parts) {
                all.extend(part);
            }
        }
        let Batch { tokens, positions, slots, outputs, .. } = batch;
        prop_assert_eq!(together, [tokens, positions, slots, outputs]);
    }
}
