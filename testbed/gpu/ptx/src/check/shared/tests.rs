use super::super::order::Order;
use super::*;

fn by(order: &Order, thread: u32) -> Accessor<'_> {
    let (warp, seen) = ((thread / 32) as usize, order.seen((thread / 32) as usize));
    Accessor {
        thread,
        clock: seen[warp],
        seen,
    }
}

fn fresh(warps: usize) -> (Order, Record) {
    let (mut order, mut record) = (Order::default(), Record::default());
    order.reset(warps);
    record.reset(64);
    (order, record)
}

const WRITE: Touch = Touch::Write { same: false };

#[test]
fn a_read_needs_a_write_before_it() {
    let (order, mut record) = fresh(1);
    assert_eq!(
        record.touch(0, 4, Touch::Read, &by(&order, 0)),
        Some(Hazard::Uninitialised)
    );
    assert_eq!(record.touch(0, 4, WRITE, &by(&order, 0)), None);
    assert_eq!(record.touch(0, 4, Touch::Read, &by(&order, 0)), None);
    assert_eq!(record.touch(2, 1, Touch::Read, &by(&order, 0)), None);
    assert_eq!(
        record.touch(4, 4, Touch::Read, &by(&order, 0)),
        Some(Hazard::Uninitialised)
    );
}

#[test]
fn lanes_of_a_warp_race_until_the_warp_synchronises() {
    let (mut order, mut record) = fresh(1);
    assert_eq!(record.touch(0, 4, WRITE, &by(&order, 3)), None);
    assert_eq!(
        record.touch(0, 4, Touch::Read, &by(&order, 4)),
        Some(Hazard::AfterWrite { thread: 3 })
    );
    order.advance(0);
    assert_eq!(record.touch(0, 4, Touch::Read, &by(&order, 4)), None);
    assert_eq!(
        record.touch(0, 4, WRITE, &by(&order, 3)),
        Some(Hazard::AfterRead { thread: 4 })
    );
}

#[test]
fn of_two_readers_both_are_remembered() {
    let (mut order, mut record) = fresh(1);
    assert_eq!(record.touch(8, 4, WRITE, &by(&order, 1)), None);
    order.advance(0);
    for thread in [1, 2] {
        assert_eq!(record.touch(8, 4, Touch::Read, &by(&order, thread)), None);
    }
    assert_eq!(
        record.touch(8, 4, WRITE, &by(&order, 2)),
        Some(Hazard::AfterRead { thread: 1 })
    );
    assert_eq!(
        record.touch(8, 4, WRITE, &by(&order, 1)),
        Some(Hazard::AfterRead { thread: 2 })
    );
}

#[test]
fn bytes_of_one_word_are_apart() {
    let (order, mut record) = fresh(1);
    for thread in 0..4 {
        assert_eq!(record.touch(thread as usize, 1, WRITE, &by(&order, thread)), None);
    }
    assert_eq!(
        record.touch(1, 1, WRITE, &by(&order, 0)),
        Some(Hazard::AfterWrite { thread: 1 })
    );
    assert_eq!(
        record.touch(0, 4, Touch::Read, &by(&order, 0)),
        Some(Hazard::AfterWrite { thread: 1 })
    );
}

#[test]
fn a_barrier_orders_its_members_alone() {
    let (mut order, mut record) = fresh(3);
    assert_eq!(record.touch(0, 4, WRITE, &by(&order, 0)), None);
    let mut joined = Vec::new();
    order.arrive(0, &mut joined);
    order.arrive(1, &mut joined);
    order.leave(1, &joined);
    assert_eq!(record.touch(0, 4, Touch::Read, &by(&order, 40)), None);
    assert_eq!(
        record.touch(0, 4, Touch::Read, &by(&order, 70)),
        Some(Hazard::AfterWrite { thread: 0 })
    );
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let (order, mut record) = fresh(1);
    assert_eq!(
        record.touch(0, 4, Touch::Atomic, &by(&order, 0)),
        Some(Hazard::Uninitialised)
    );
    let (mut order, mut record) = fresh(2);
    assert_eq!(record.touch(0, 4, WRITE, &by(&order, 0)), None);
    let mut joined = Vec::new();
    for warp in 0..2 {
        order.arrive(warp, &mut joined);
    }
    for warp in 0..2 {
        order.leave(warp, &joined);
    }
    for thread in [1, 33, 2] {
        assert_eq!(record.touch(0, 4, Touch::Atomic, &by(&order, thread)), None);
    }
    assert_eq!(
        record.touch(0, 4, Touch::Read, &by(&order, 40)),
        Some(Hazard::AfterWrite { thread: 2 })
    );
}

#[test]
fn what_is_copied_must_be_waited_for() {
    let (order, mut record) = fresh(1);
    assert_eq!(record.touch(0, 16, Touch::Begin, &by(&order, 0)), None);
    assert_eq!(
        record.touch(4, 4, Touch::Read, &by(&order, 0)),
        Some(Hazard::Pending { thread: 0 })
    );
    assert_eq!(record.touch(0, 16, Touch::Finish, &by(&order, 0)), None);
    assert_eq!(record.touch(4, 4, Touch::Read, &by(&order, 0)), None);
}
