//! What the payer signed once stays evidence.

use proptest::prelude::*;

use super::*;

fn voucher(cap: u64, valid_for: i64, epoch: u32) -> Voucher {
    Voucher {
        cap_nano: nano(cap),
        valid_until: u32::try_from(NOW + valid_for).unwrap(),
        epoch,
        signature: format!("{cap:0>128}"),
    }
}

fn with(voucher: Voucher) -> PaymentChannelSpec {
    PaymentChannelSpec {
        voucher: Some(voucher),
        ..spec(1, 0)
    }
}

fn judged(status: &mut PaymentChannelStatus, voucher: Voucher, signature: Signature) {
    let facts = Facts {
        signature,
        ..facts(Sight::Escrow(escrow(0, 900)))
    };
    look(status, &with(voucher), &facts);
}

#[test]
fn a_spoiled_an_expired_and_a_raised_epoch_leave_the_evidence_as_it_was() {
    let mut status = fresh();
    let good = voucher(500, 7_200, 0);
    judged(&mut status, good.clone(), Signature::Genuine);
    let spoiled = Voucher {
        signature: "ff".repeat(64),
        ..voucher(600, 7_300, 0)
    };
    judged(&mut status, spoiled, Signature::Forged);
    judged(&mut status, voucher(500, -1, 0), Signature::Genuine);
    judged(&mut status, voucher(400, 7_200, 0), Signature::Genuine);
    judged(&mut status, voucher(9_000, 7_200, u32::MAX), Signature::Genuine);
    assert_eq!(evidence(&status, NOW), Some(&good));
    assert!(redeemable(&status, NOW), "what was delivered is claimed with it");
    assert_eq!(
        ledger::available(&status).unwrap(),
        NanoTon::ZERO,
        "new work needs a good one"
    );
}

#[test]
fn a_higher_voucher_takes_the_place_of_a_lower_one() {
    let mut status = fresh();
    judged(&mut status, voucher(500, 7_200, 0), Signature::Genuine);
    let higher = voucher(501, 7_200, 0);
    judged(&mut status, higher.clone(), Signature::Genuine);
    assert_eq!(status.vouchers, [higher]);
}

#[test]
fn evidence_ends_with_its_validity_and_its_epoch() {
    let mut status = fresh();
    judged(&mut status, voucher(500, 7_200, 0), Signature::Genuine);
    assert!(evidence(&status, NOW + 7_199).is_some());
    assert!(evidence(&status, NOW + 7_200).is_none());
    status.epoch = Some(1);
    assert!(evidence(&status, NOW).is_none());
}

proptest! {
    #[test]
    fn the_best_voucher_of_the_contracts_epoch_is_never_lost(
        signed in proptest::collection::vec((1..1_000u64, 3_600..9_000i64, 0..20u32, any::<bool>()), 1..40),
    ) {
        let mut status = fresh();
        let mut best = NanoTon::ZERO;
        for (cap, valid_for, epoch, genuine) in signed {
            let before = evidence(&status, NOW).cloned();
            let signature = if genuine { Signature::Genuine } else { Signature::Forged };
            judged(&mut status, voucher(cap, valid_for, epoch), signature);
            if let (Some(before), Some(after)) = (&before, evidence(&status, NOW)) {
                prop_assert!(after.cap_nano >= before.cap_nano && after.valid_until >= before.valid_until);
            }
            prop_assert!(before.is_none() || evidence(&status, NOW).is_some());
            best = best.max(evidence(&status, NOW).map(|held| held.cap_nano).unwrap_or_default());
            prop_assert!(status.vouchers.len() <= MAX_KEPT);
        }
        prop_assert_eq!(best, evidence(&status, NOW).map(|held| held.cap_nano).unwrap_or_default());
    }
}
