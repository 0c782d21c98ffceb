use proptest::prelude::*;

use super::*;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).expect("in range")
}

#[test]
fn a_bag_with_several_roots_is_refused() {
    let bag = BoC::from_roots([Layout::new().uint(1, 8).build(), Layout::new().uint(2, 8).build()]);
    assert!(decode_boc(&bag.to_bytes(true).expect("encodes")).is_err());
}

#[test]
fn an_oversized_bag_is_refused_before_it_is_read() {
    assert!(decode_boc(&vec![0; MAX_BOC_BYTES + 1]).is_err());
}

#[test]
fn amounts_beyond_the_range_of_money_are_refused() {
    let bytes = (u64::try_from(i64::MAX).expect("positive") + 1).to_be_bytes();
    let cell = Layout::new().uint(8, 4).bytes(&bytes).build();
    assert!(Fields::new(&cell, "amount").coins().is_err());
    let cell = Layout::new().uint(15, 4).bytes(&[0xff; 15]).build();
    assert!(Fields::new(&cell, "amount").coins().is_err());
}

#[test]
fn addresses_with_anycast_or_of_variable_length_are_refused() {
    for prefix in [0b101, 0b110] {
        let cell = Layout::new().uint(prefix, 3).bytes(&[0; 40]).build();
        assert!(
            Fields::new(&cell, "address").address().is_err(),
            "prefix {prefix:#b}"
        );
    }
}

proptest! {
    #[test]
    fn amounts_survive_a_cell(value in 0..=u64::try_from(i64::MAX).expect("positive")) {
        let cell = Layout::new().coins(nano(value)).build();
        prop_assert_eq!(Fields::new(&cell, "amount").coins().expect("reads"), nano(value));
    }

    #[test]
    fn addresses_survive_a_cell(workchain: i8, account: [u8; 32]) {
        let address = Address { workchain, account };
        let cell = Layout::new().address(&address).build();
        prop_assert_eq!(Fields::new(&cell, "address").address().expect("reads"), address);
    }

    #[test]
    fn cells_survive_a_bag(bytes in proptest::collection::vec(any::<u8>(), 0..120), depth in 0usize..20) {
        let leaf = Layout::new().bytes(&bytes).build();
        let root = (0..depth).fold(leaf, |child, level| {
            Layout::new().uint(level as u64, 8).reference(&child).reference(&child).build()
        });
        let bag = encode_boc(&root).expect("encodes");
        let decoded = decode_boc(&bag).expect("decodes");
        prop_assert_eq!(cell_hash(&decoded).expect("hash"), cell_hash(&root).expect("hash"));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode_boc(&bytes);
    }

    #[test]
    fn no_damage_to_a_bag_makes_decoding_panic(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
        let leaf = Layout::new().bytes(&[7; 33]).build();
        let mut bag = encode_boc(&Layout::new().reference(&leaf).reference(&leaf).build()).expect("encodes");
        let at = at.index(bag.len());
        bag[at] = value;
        bag.truncate(cut.index(bag.len()) + 1);
        let _ = decode_boc(&bag);
    }
}
