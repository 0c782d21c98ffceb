use super::*;

const LIMITS: Limits = Limits {
    rows: 8,
    logits: 2,
    context: 32,
    blocks: 4,
    vocabulary: 10,
};

fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.push(&[1, 2, 3], 16, &[3, 0]);
    let row = batch.push(&[4], 0, &[1]);
    batch.want_logits(row);
    batch
}

fn refused(change: impl FnOnce(&mut Batch)) -> bool {
    let mut batch = batch();
    change(&mut batch);
    batch.check(&LIMITS).is_err()
}

#[test]
fn what_push_builds_is_accepted() {
    assert_eq!(batch().check(&LIMITS), Ok(()));
    assert_eq!(batch().positions, [16, 17, 18, 0]);
}

#[test]
fn a_batch_beyond_the_limits_is_refused() {
    assert!(refused(|batch| batch.tokens[0] = 10));
    assert!(refused(|batch| batch.sequences[0].block_table[0] = 4));
    assert!(refused(|batch| batch.logits.push(4)));
    assert!(refused(|batch| batch.logits = vec![0, 1, 2]));
    assert!(refused(|batch| {
        batch.push(&[1; 5], 0, &[1]);
    }));
    assert!(refused(|batch| batch.tokens.clear()));
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    assert!(refused(|batch| batch.positions[1] = 3));
    assert!(refused(|batch| batch.sequences[1].start = 0));
    assert!(refused(|batch| batch.sequences[0].block_table.truncate(1)));
    assert!(refused(|batch| {
        batch.sequences.pop();
    }));
}
