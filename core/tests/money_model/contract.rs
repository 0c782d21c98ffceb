//! The channel contract, as `contracts/README.md` specifies it.

use cocoon_api::crd::channel::Voucher;
use cocoon_core::funds::Stage;

/// Seconds between close and settle.
pub(super) const WINDOW: u32 = 900;

/// The contract's state.
#[derive(Debug)]
pub(super) struct Contract {
    pub(super) stage: Stage,
    pub(super) epoch: u32,
    pub(super) redeemed: u64,
    pub(super) available: u64,
}

impl Contract {
    pub(super) fn new(deposit: u64) -> Self {
        Self {
            stage: Stage::Open,
            epoch: 0,
            redeemed: 0,
            available: deposit,
        }
    }

    pub(super) fn close(&mut self, now: i64) {
        if self.stage == Stage::Open {
            let deadline = u32::try_from(now).unwrap_or_default() + WINDOW;
            self.stage = Stage::Closing { deadline };
        }
    }

    /// The payer settles at the first moment that it may.
    pub(super) fn pass(&mut self, now: i64) {
        if let Stage::Closing { deadline } = self.stage
            && now >= i64::from(deadline)
        {
            self.stage = Stage::Closed;
            self.epoch += 1;
            self.available = 0;
        }
    }

    pub(super) fn top_up(&mut self, amount: u64) {
        if self.stage == Stage::Closed {
            self.stage = Stage::Open;
        }
        self.available += amount;
    }

    /// Whether it pays the claim, in the order of its checks; the signature is the caller's to check.
    pub(super) fn redeem(&mut self, voucher: &Voucher, claim: u64, now: i64) -> bool {
        let in_time = match self.stage {
            Stage::Open => true,
            Stage::Closing { deadline } => now < i64::from(deadline),
            Stage::Closed => false,
        };
        let is_good = in_time
            && voucher.epoch == self.epoch
            && now <= i64::from(voucher.valid_until)
            && claim <= voucher.cap_nano.nano()
            && claim >= self.redeemed + 1_000
            && claim - self.redeemed <= self.available;
        if is_good {
            self.available -= claim - self.redeemed;
            self.redeemed = claim;
        }
        is_good
    }
}
