//! The contract against a model of a dozen lines: whatever the three parties send, in whatever order and however
//! long apart, both say the same about every message, and no nanoTON appears or is lost.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::{ChannelStatus, Voucher};
use proptest::prelude::*;

use crate::world::{CHALLENGE, VALID_UNTIL, Who, World, milli, on_channel, ton};

/// Most that rent and the deposits' own gas may take in one run, all together.
const SLACK: NanoTon = milli(40);

#[derive(Debug, Clone, Copy)]
enum Step {
    TopUp { amount: u64 },
    Redeem { cap: u64, claim: u64, epoch_back: u32 },
    Close,
    Settle,
    Refund,
    Wait { seconds: u32 },
}

/// Amounts in thousandths of a TON.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u64..2_000).prop_map(|amount| Step::TopUp { amount }),
        6 => (1u64..5_000, 0u64..5_000, prop_oneof![4 => Just(0u32), 1 => Just(1)])
            .prop_map(|(cap, claim, epoch_back)| Step::Redeem { cap, claim, epoch_back }),
        2 => Just(Step::Close),
        2 => Just(Step::Settle),
        1 => Just(Step::Refund),
        3 => (1u32..2 * CHALLENGE).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn party() -> impl Strategy<Value = Who> {
    // Mostly whoever may do it; the step decides.
    prop_oneof![Just(Who::Payer), Just(Who::Provider), Just(Who::Stranger)]
}

/// What the specification says.
#[derive(Debug)]
struct Model {
    status: ChannelStatus,
    epoch: u32,
    redeemed: NanoTon,
    /// At least this much is there to claim; at most [`SLACK`] more.
    deposit: NanoTon,
}

impl Model {
    fn expect(&self, who: Who, step: Step, now: u32, available: NanoTon) -> i32 {
        let is = |wanted: Who| std::mem::discriminant(&who) == std::mem::discriminant(&wanted);
        let closed = self.status == ChannelStatus::Closed;
        let over = matches!(self.status, ChannelStatus::Closing { deadline } if now >= deadline);
        match step {
            Step::TopUp { .. } if closed && !is(Who::Payer) => exit_code::NOT_PAYER,
            Step::Redeem { .. } | Step::Refund if !is(Who::Provider) => exit_code::NOT_PROVIDER,
            Step::Redeem { .. } | Step::Refund if closed => exit_code::CLOSED,
            Step::Redeem { .. } if over => exit_code::WINDOW_OVER,
            Step::Redeem { epoch_back, .. } if epoch_back > 0 && self.epoch > 0 => exit_code::WRONG_EPOCH,
            Step::Redeem { cap, claim, .. } => match milli(claim).checked_sub(self.redeemed) {
                _ if claim > cap => exit_code::CLAIM_ABOVE_CAP,
                Ok(step) if step >= channel::MIN_STEP && step > available => exit_code::CANNOT_PAY,
                Ok(step) if step >= channel::MIN_STEP => 0,
                Ok(_) | Err(_) => exit_code::STEP_TOO_SMALL,
            },
            Step::Close if !is(Who::Payer) => exit_code::NOT_PAYER,
            Step::Close if self.status != ChannelStatus::Open => exit_code::NOT_OPEN,
            Step::Settle if !matches!(self.status, ChannelStatus::Closing { .. }) => exit_code::NOT_CLOSING,
            Step::Settle if !over => exit_code::WINDOW_RUNNING,
            Step::TopUp { .. } | Step::Refund | Step::Close | Step::Settle | Step::Wait { .. } => 0,
        }
    }

    fn apply(&mut self, step: Step, now: u32) {
        match step {
            Step::TopUp { amount } => {
                self.deposit = self.deposit.checked_add(milli(amount)).expect("in range");
                if self.status == ChannelStatus::Closed {
                    self.status = ChannelStatus::Open;
                }
            }
            Step::Redeem { claim, .. } => {
                let paid = milli(claim).checked_sub(self.redeemed).expect("a step up");
                self.deposit = self.deposit.saturating_sub(paid);
                self.redeemed = milli(claim);
            }
            Step::Close => {
                self.status = ChannelStatus::Closing {
                    deadline: now + CHALLENGE,
                }
            }
            Step::Settle | Step::Refund => {
                self.status = ChannelStatus::Closed;
                self.epoch += 1;
                self.deposit = NanoTon::ZERO;
            }
            Step::Wait { .. } => {}
        }
    }
}

fn message(world: &World, model: &Model, step: Step) -> Option<InternalMessage> {
    let channel = world.channel();
    Some(match step {
        Step::TopUp { amount } => channel::top_up(channel, milli(amount), 1).expect("amount"),
        Step::Redeem {
            cap,
            claim,
            epoch_back,
        } => {
            let epoch = model.epoch.saturating_sub(epoch_back);
            let voucher = Voucher {
                epoch,
                valid_until: VALID_UNTIL * 2,
                ..world.valid_voucher(milli(cap))
            };
            channel::redeem(&world.sign_voucher(voucher), milli(claim), 1)
        }
        Step::Close => channel::close(channel, 1),
        Step::Settle => channel::settle(channel, 1),
        Step::Refund => channel::refund(channel, 1),
        Step::Wait { .. } => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_messages_goes_as_specified(
        steps in proptest::collection::vec((party(), any::<bool>(), step()), 1..24),
    ) {
        let mut world = World::with_channel(ton(1));
        let mut model =
            Model { status: ChannelStatus::Open, epoch: 0, redeemed: NanoTon::ZERO, deposit: ton(1) };
        for (anyone, entitled, step) in steps {
            let who = match step {
                Step::Redeem { .. } | Step::Refund if entitled => Who::Provider,
                Step::TopUp { .. } | Step::Close if entitled => Who::Payer,
                _ => anyone,
            };
            if let Step::Wait { seconds } = step {
                world.pass(seconds);
            }
            let Some(message) = message(&world, &model, step) else { continue };
            let before = world.state();
            let expected = model.expect(who, step, world.now, before.available);
            let landed = world.send(who, &[message]);
            let transaction = on_channel(&world, &landed);
            prop_assert_eq!(transaction.exit_code(), Some(expected), "{:?} by {:?} in {:?}", step, who, model);
            if expected == 0 {
                prop_assert!(transaction.succeeded());
                model.apply(step, world.now);
            }

            let after = world.state();
            prop_assert_eq!((after.status, after.epoch, after.redeemed), (model.status, model.epoch, model.redeemed));
            prop_assert!(after.redeemed >= before.redeemed && after.epoch >= before.epoch);
            let most = model.deposit.checked_add(SLACK).expect("in range");
            prop_assert!(after.available <= most, "{} available, model {:?}", after.available, model);
            let least = model.deposit.saturating_sub(SLACK);
            prop_assert!(after.available >= least, "{} available, model {:?}", after.available, model);
            if let (Step::Redeem { .. }, 0) = (step, expected) {
                let paid = after.redeemed.checked_sub(before.redeemed).expect("a step up");
                let payments = transaction.payments();
                prop_assert_eq!((payments.len(), payments[0].destination), (1, world.provider.address()));
                prop_assert!(payments[0].value >= paid, "the whole step arrives");
            }
        }
    }
}
