//! The contract against a model of a dozen lines: whatever the parties send, in whatever order and however
//! long apart, both say the same about every message, and no nanoTON appears or is lost.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, Claim, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::{ChannelStatus, Voucher};
use proptest::prelude::*;

use crate::world::{CHALLENGE, VALID_UNTIL, Who, World, milli, on_channel, ton};

/// Most that rent and the deposits' own gas may take in one run, all together.
const SLACK: NanoTon = milli(40);

/// Most that rent may take between a look at the channel and the message after it: two windows, at 4,000 nanoTON a day,
/// twenty-four times over.
const RENT: NanoTon = match NanoTon::from_nano(10_000) {
    Ok(amount) => amount,
    Err(_) => panic!("out of range"),
};

#[derive(Debug, Clone, Copy)]
enum Step {
    TopUp {
        amount: u64,
    },
    Redeem {
        cap: u64,
        claim: u64,
        epoch_back: u32,
    },
    Close,
    Settle,
    Refund {
        last: Option<(u64, u64)>,
        epoch_back: u32,
    },
    Wait {
        seconds: u32,
    },
}

/// Amounts in thousandths of a TON.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u64..2_000).prop_map(|amount| Step::TopUp { amount }),
        6 => (1u64..5_000, 0u64..5_000, prop_oneof![4 => Just(0u32), 1 => Just(1)])
            .prop_map(|(cap, claim, epoch_back)| Step::Redeem { cap, claim, epoch_back }),
        2 => Just(Step::Close),
        2 => Just(Step::Settle),
        1 => (proptest::option::of((1u64..5_000, 0u64..5_000)), prop_oneof![4 => Just(0u32), 1 => Just(1)])
            .prop_map(|(last, epoch_back)| Step::Refund { last, epoch_back }),
        3 => (1u32..2 * CHALLENGE).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn party() -> impl Strategy<Value = Who> {
    // Mostly whoever may do it; the step decides.
    prop_oneof![
        Just(Who::Payer),
        Just(Who::Provider),
        Just(Who::Stranger),
        Just(Who::Claimer)
    ]
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
        let closed = self.status == ChannelStatus::Closed;
        let over = matches!(self.status, ChannelStatus::Closing { deadline } if now >= deadline);
        let is_old = |epoch_back: u32| epoch_back > 0 && self.epoch > 0;
        match step {
            Step::TopUp { .. } if closed && who != Who::Payer => exit_code::NOT_PAYER,
            Step::Redeem { .. } if !matches!(who, Who::Provider | Who::Claimer) => exit_code::NOT_PROVIDER,
            Step::Refund { .. } if who != Who::Provider => exit_code::NOT_PROVIDER,
            Step::Redeem { .. } | Step::Refund { .. } if closed => exit_code::CLOSED,
            Step::Redeem { .. } if over => exit_code::WINDOW_OVER,
            Step::Redeem { epoch_back, .. } | Step::Refund { epoch_back, .. } if is_old(epoch_back) => {
                exit_code::WRONG_EPOCH
            }
            Step::Refund { last: Some(_), .. } if over => exit_code::WINDOW_OVER,
            Step::Redeem { cap, claim, .. }
            | Step::Refund {
                last: Some((cap, claim)),
                ..
            } => self.judge(cap, claim, available),
            Step::Close if who != Who::Payer => exit_code::NOT_PAYER,
            Step::Close if self.status != ChannelStatus::Open => exit_code::NOT_OPEN,
            Step::Settle if !matches!(self.status, ChannelStatus::Closing { .. }) => exit_code::NOT_CLOSING,
            Step::Settle if !over => exit_code::WINDOW_RUNNING,
            Step::TopUp { .. } | Step::Refund { .. } | Step::Close | Step::Settle | Step::Wait { .. } => 0,
        }
    }

    fn judge(&self, cap: u64, claim: u64, available: NanoTon) -> i32 {
        match milli(claim).checked_sub(self.redeemed) {
            _ if claim > cap => exit_code::CLAIM_ABOVE_CAP,
            Ok(step) if step >= channel::MIN_STEP && step > available => exit_code::CANNOT_PAY,
            Ok(step) if step >= channel::MIN_STEP => 0,
            Ok(_) | Err(_) => exit_code::STEP_TOO_SMALL,
        }
    }

    fn apply(&mut self, who: Who, step: Step, now: u32) {
        match step {
            Step::TopUp { amount } => {
                self.deposit = self.deposit.checked_add(milli(amount)).expect("in range");
                if who == Who::Payer {
                    self.status = ChannelStatus::Open;
                }
            }
            Step::Redeem { claim, .. } => self.pay(claim),
            Step::Close => {
                self.status = ChannelStatus::Closing {
                    deadline: now + CHALLENGE,
                }
            }
            Step::Settle | Step::Refund { .. } => {
                if let Step::Refund {
                    last: Some((_, claim)),
                    ..
                } = step
                {
                    self.pay(claim);
                }
                self.status = ChannelStatus::Closed;
                self.epoch += 1;
                self.deposit = NanoTon::ZERO;
            }
            Step::Wait { .. } => {}
        }
    }

    fn pay(&mut self, claim: u64) {
        let paid = milli(claim).checked_sub(self.redeemed).expect("a step up");
        self.deposit = self.deposit.saturating_sub(paid);
        self.redeemed = milli(claim);
    }
}

fn claim(world: &World, epoch: u32, cap: u64, claim: u64) -> Claim {
    let voucher = Voucher {
        epoch,
        valid_until: VALID_UNTIL * 2,
        ..world.valid_voucher(milli(cap))
    };
    Claim::new(world.sign_voucher(voucher), milli(claim))
}

fn message(world: &World, model: &Model, step: Step) -> Option<InternalMessage> {
    let channel = world.channel();
    Some(match step {
        Step::TopUp { amount } => channel::top_up(channel, milli(amount), 1).expect("amount"),
        Step::Redeem {
            cap,
            claim: total,
            epoch_back,
        } => {
            let epoch = model.epoch.saturating_sub(epoch_back);
            channel::redeem(&claim(world, epoch, cap, total), 1)
        }
        Step::Close => channel::close(channel, 1),
        Step::Settle => channel::settle(channel, 1),
        Step::Refund { last, epoch_back } => {
            let epoch = model.epoch.saturating_sub(epoch_back);
            let last = last.map(|(cap, total)| claim(world, model.epoch, cap, total));
            channel::refund(channel, epoch, last.as_ref(), 1)
        }
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
                Step::Redeem { .. } | Step::Refund { .. } if entitled => Who::Provider,
                Step::TopUp { .. } | Step::Close if entitled => Who::Payer,
                _ => anyone,
            };
            if let Step::Wait { seconds } = step {
                world.pass(seconds);
            }
            let Some(message) = message(&world, &model, step) else { continue };
            let before = world.state();
            let provider_had = world.balance(world.provider.address());
            let expected = model.expect(who, step, world.now, before.available);
            let landed = world.send(who, &[message]);
            let transaction = on_channel(&world, &landed);
            prop_assert_eq!(transaction.exit_code(), Some(expected), "{:?} by {:?} in {:?}", step, who, model);
            if expected == 0 {
                prop_assert!(transaction.succeeded());
                model.apply(who, step, world.now);
            }

            let after = world.state();
            prop_assert_eq!((after.status, after.epoch, after.redeemed), (model.status, model.epoch, model.redeemed));
            prop_assert!(after.redeemed >= before.redeemed && after.epoch >= before.epoch);
            let most = model.deposit.checked_add(SLACK).expect("in range");
            prop_assert!(after.available <= most, "{} available, model {:?}", after.available, model);
            let least = model.deposit.saturating_sub(SLACK);
            prop_assert!(after.available >= least, "{} available, model {:?}", after.available, model);

            // Every unit that reaches the provider raises `redeemed` by as much, and nobody else gets one of them.
            let paid = after.redeemed.checked_sub(before.redeemed).expect("a step up");
            let payments = transaction.payments();
            if paid > NanoTon::ZERO {
                let to_provider: Vec<_> =
                    payments.iter().filter(|payment| payment.destination == world.provider.address()).collect();
                prop_assert_eq!(to_provider.len(), 1);
                prop_assert!(to_provider[0].value >= paid, "the whole step arrives");
            }
            if who != Who::Provider {
                let gained = world.balance(world.provider.address()).saturating_sub(provider_had);
                prop_assert!(gained <= paid, "{} gained for a step of {}", gained, paid);
            }
            if expected == 0 && after.status == ChannelStatus::Closed {
                let returned = before.available.checked_sub(paid).expect("covered");
                let to_payer = payments.iter().find(|payment| payment.destination == world.payer.address());
                let got = to_payer.map_or(NanoTon::ZERO, |payment| payment.value);
                prop_assert!(got >= returned.saturating_sub(RENT), "{} came back of {}", got, returned);
            }
        }
    }
}
