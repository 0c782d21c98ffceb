use super::*;

#[test]
fn addresses_are_aligned_and_not_reused() {
    let memory = Memory::new(1 << 20);
    let first = memory.allocate(100).expect("room");
    assert_eq!(first % ALIGNMENT, 0);
    assert_eq!(memory.free_bytes(), (1 << 20) - 256);
    memory.free(first).expect("live");
    assert_eq!(memory.free_bytes(), 1 << 20);
    let second = memory.allocate(100).expect("room");
    assert_ne!(first, second);
    assert_eq!(
        memory.free(first),
        Err(AccessError::Freed {
            address: first,
            size: 0
        })
    );
    assert_eq!(
        memory.free(second + 8),
        Err(AccessError::NotAllocated { address: second + 8 })
    );
    assert_eq!(memory.range(second + 50), Some((second, 100)));
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_free() {
    let memory = Memory::new(4_096);
    memory.allocate(1_000).expect("room");
    let refused = memory.allocate(3_100).expect_err("too much");
    assert_eq!(
        refused,
        OutOfMemory {
            asked: 3_100,
            free: 3_072,
            total: 4_096
        }
    );
    assert_eq!(memory.allocate(u64::MAX).expect_err("too much").asked, u64::MAX);
    memory.allocate(3_072).expect("what is free can be taken");
}

#[test]
fn bytes_come_back_at_every_offset() {
    let memory = Memory::new(1 << 20);
    let base = memory.allocate(64).expect("room");
    for offset in 0..20 {
        for size in 0..30 {
            let bytes: Vec<u8> = (0..size)
                .map(|i| u8::try_from(i * 7 + offset).expect("small"))
                .collect();
            memory.write(base + offset, &bytes).expect("within");
            let mut back = vec![0; bytes.len()];
            memory.read(base + offset, &mut back).expect("within");
            assert_eq!(back, bytes);
        }
    }
    let outside = memory.write(base + 60, &[0; 5]);
    assert_eq!(
        outside,
        Err(AccessError::OutOfBounds {
            address: base + 60,
            size: 5
        })
    );
    memory.free(base).expect("live");
    assert_eq!(
        memory.read(base, &mut [0]),
        Err(AccessError::Freed {
            address: base,
            size: 1
        })
    );
}

#[test]
fn a_copy_takes_along_what_was_written() {
    let memory = Memory::new(1 << 20);
    let (a, b) = (
        memory.allocate(300).expect("room"),
        memory.allocate(300).expect("room"),
    );
    memory.fill(a + 10, &[1, 2, 3, 4], 20).expect("within");
    assert_eq!(memory.is_written(a + 10, 80), Ok(true));
    assert_eq!(memory.is_written(a + 9, 2), Ok(false));
    memory.copy(b, a, 100).expect("within");
    assert_eq!(memory.is_written(b + 10, 80), Ok(true));
    assert_eq!(memory.is_written(b, 11), Ok(false));
    let mut back = [0; 8];
    memory.read(b + 12, &mut back).expect("within");
    assert_eq!(back, [3, 4, 1, 2, 3, 4, 1, 2]);
}

#[test]
fn memory_that_is_mapped_or_lent_is_reached_and_takes_nothing() {
    let (one, two) = (
        Memory::within(GLOBAL_BASE..1 << 40, 1024),
        Memory::within(1 << 40..1 << 41, 1024),
    );
    let address = one.allocate(8).expect("room");
    assert!(one.lend(&two, address));
    two.write(address, &[7; 8]).expect("lent");
    let mut bytes = [0; 8];
    one.read(address, &mut bytes).expect("its own");
    assert_eq!(bytes, [7; 8]);
    assert!(two.map(3 << 40, 16));
    two.write(3 << 40, &[1; 16]).expect("mapped");
    assert_eq!(two.free_bytes(), 1024);
    assert_eq!(two.snapshot().len(), 2);
    let snapshot = two.snapshot();
    assert!(Arc::ptr_eq(&snapshot, &two.snapshot()), "nothing came or went");
    two.unmap(address);
    assert_eq!(two.snapshot().len(), 1);
    assert_eq!(
        two.read(address, &mut bytes),
        Err(AccessError::Freed { address, size: 8 })
    );
    assert!(!one.lend(&two, address + 8));
}

#[test]
fn a_launch_runs_over_what_is_allocated_at_its_start() {
    let memory = Memory::new(1 << 20);
    let first = memory.allocate(8).expect("room");
    assert_eq!(memory.snapshot().len(), 1);
    memory.allocate(8).expect("room");
    assert_eq!(memory.snapshot().len(), 2);
    memory.free(first).expect("live");
    assert_eq!(memory.snapshot().len(), 1);
}

#[test]
fn fills_of_every_length_end_where_they_should() {
    let memory = Memory::new(1 << 20);
    let base = memory.allocate(200_000).expect("room");
    for (count, width) in [(1, 4), (3, 2), (5, 1), (49_999, 4), (65_537, 1)] {
        memory.fill(base, &[0], 200_000).expect("its own");
        let pattern = [1, 2, 3, 4];
        memory.fill(base, &pattern[..width], count).expect("its own");
        let mut bytes = vec![0; 200_000];
        memory.read(base, &mut bytes).expect("its own");
        let filled = usize::try_from(count).expect("few") * width;
        assert!(
            bytes[..filled]
                .iter()
                .enumerate()
                .all(|(place, byte)| *byte == pattern[place % width])
        );
        assert!(bytes[filled..].iter().all(|byte| *byte == 0));
    }
}
