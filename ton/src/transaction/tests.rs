use proptest::prelude::*;

use super::*;
use crate::cells::Layout;

/// `HmLabel`s of a 15-bit key with the bits that a reader must take for each.
#[test]
fn labels_of_all_three_forms_are_measured() {
    let short = Layout::new().uint(0b0, 1).uint(0b110, 3).uint(0b01, 2).build();
    let long = Layout::new().uint(0b10, 2).uint(3, 4).uint(0b101, 3).build();
    let same = Layout::new().uint(0b11, 2).uint(1, 1).uint(15, 4).build();
    let measure = |cell: &Cell| Fields::new(cell, "label").skip_label(15).expect("a label");
    assert_eq!((measure(&short), measure(&long), measure(&same)), (2, 3, 15));
}

#[test]
fn a_dictionary_that_unfolds_beyond_the_limit_is_refused() {
    // One shared leaf under 15 levels of forks: 16 cells, 32,768 values.
    let value = Layout::new().build();
    let leaf = Layout::new().uint(0b00, 2).reference(&value).build();
    let root = (0..15).fold(leaf, |child, _| {
        Layout::new()
            .uint(0b00, 2)
            .reference(&child)
            .reference(&child)
            .build()
    });
    let mut found = Vec::new();
    dictionary_references(&root, OUT_MESSAGE_KEY_BITS, &mut found).expect_err("too many");
    assert_eq!(found.len(), MAX_OUT_MESSAGES);
}

#[test]
fn a_label_longer_than_the_key_is_refused() {
    let cell = Layout::new()
        .uint(0b0, 1)
        .uint(0xFFFF, 16)
        .uint(0, 1)
        .uint(0, 16)
        .build();
    let mut found = Vec::new();
    dictionary_references(&cell, OUT_MESSAGE_KEY_BITS, &mut found).expect_err("too long");
}

proptest! {
    #[test]
    fn no_cells_make_reading_a_transaction_panic(
        bits in proptest::collection::vec(any::<u8>(), 80..127),
        child_bits in proptest::collection::vec(any::<u8>(), 0..127),
    ) {
        let grandchild = Layout::new().bytes(&child_bits).build();
        let child = (0..4).fold(Layout::new().bytes(&child_bits), |layout, _| layout.reference(&grandchild)).build();
        // The tag, so that reading goes past it.
        let root = Layout::new().uint(0b0111, 4).bytes(&bits);
        let root = (0..3).fold(root, |layout, _| layout.reference(&child)).build();
        let _ = Transaction::parse(&root);
        let _ = Outcome::parse(&child);
    }
}
