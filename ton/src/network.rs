//! Which TON network: a name for people and the global id that signatures are bound to.

use std::borrow::Cow;

/// A TON network.
///
/// The global id (config parameter 19) goes into vouchers and wallet ids, so nothing signed for one network is
/// valid on another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    name: Cow<'static, str>,
    global_id: i32,
}

impl Network {
    /// The network whose coins are money.
    pub const MAINNET: Self = Self {
        name: Cow::Borrowed("mainnet"),
        global_id: -239,
    };
    /// The public test network.
    pub const TESTNET: Self = Self {
        name: Cow::Borrowed("testnet"),
        global_id: -3,
    };
    /// The network that `testbed/chain` runs on one machine.
    pub const TESTBED: Self = Self {
        name: Cow::Borrowed("testbed"),
        global_id: -217,
    };

    /// A network of the given name and global id.
    pub fn new(name: impl Into<String>, global_id: i32) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            global_id,
        }
    }

    /// One of the three networks known by name: `mainnet`, `testnet`, `testbed`.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::MAINNET, Self::TESTNET, Self::TESTBED]
            .into_iter()
            .find(|network| network.name == name)
    }

    /// The name, as in `CocoonProvider.spec.payout.network`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Config parameter 19.
    pub fn global_id(&self) -> i32 {
        self.global_id
    }

    /// Whether addresses of this network are printed without the test-only flag.
    pub fn is_mainnet(&self) -> bool {
        self.global_id == Self::MAINNET.global_id
    }
}
