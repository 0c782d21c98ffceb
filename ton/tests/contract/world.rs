//! A network with a payer, a provider, the provider's claimer and a stranger, each with a funded wallet.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, Claim, StackEntry};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::transaction::Transaction;
use cocoon_ton::wallet::SendMode;
use cocoon_ton::{
    Address, ChannelParams, ChannelState, Network, SecretKey, SignedMessage, SignedVoucher, Signer, Voucher,
    Wallet, decode_boc,
};
use testbed_chain::chain::{self, Chain, ExternalMessage, method_id};
use tycho_types::models::StdAddr;
use tycho_types::prelude::{Boc, HashBytes};

/// First moment of every test.
pub const START: u32 = 1_792_000_000;
/// Seconds between close and settle in these tests.
pub const CHALLENGE: u32 = 3_600;
/// Last second of the vouchers that [`World::voucher`] signs.
pub const VALID_UNTIL: u32 = START + 86_400;
/// What each wallet starts with.
pub const FUNDS: NanoTon = ton(100);
/// Blocks within which a message and all that it causes must be over: wallet, channel, receiver, and as many bounces.
const BLOCKS_PER_MESSAGE: usize = 8;

/// What storage may cost within one of these tests.
pub const RENT_OF_A_DAY: NanoTon = match NanoTon::from_nano(5_000) {
    Ok(amount) => amount,
    Err(_) => panic!("out of range"),
};

/// Whole TON.
pub const fn ton(whole: u64) -> NanoTon {
    milli(whole * 1_000)
}

/// Thousandths of a TON.
pub const fn milli(thousandths: u64) -> NanoTon {
    match NanoTon::from_nano(thousandths * 1_000_000) {
        Ok(amount) => amount,
        Err(_) => panic!("out of range"),
    }
}

/// A key with its wallet.
pub struct Party {
    pub key: SecretKey,
    pub wallet: Wallet,
    pub seqno: u32,
}

impl Party {
    fn new(seed: u8, network: &Network) -> Self {
        let key = SecretKey::from_seed(&[seed; 32]);
        let wallet = Wallet::new(key.public_key(), network);
        Self {
            key,
            wallet,
            seqno: 0,
        }
    }

    pub fn address(&self) -> Address {
        self.wallet.address()
    }
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Payer,
    Provider,
    Stranger,
    /// The provider's key for claims.
    Claimer,
}

pub struct World {
    chain: Chain,
    pub now: u32,
    pub payer: Party,
    pub provider: Party,
    pub stranger: Party,
    pub claimer: Party,
    nonce: u64,
    network: Network,
    /// Of the channel that is deployed next.
    pub challenge_period: u32,
}

impl World {
    /// Funded wallets and no channel, on the testbed's network.
    pub fn new() -> Self {
        Self::on(Network::TESTBED)
    }

    /// Funded wallets and no channel, on a network of this global id.
    pub fn on(network: Network) -> Self {
        let mut world = Self {
            chain: Chain::genesis(network.global_id(), START).expect("genesis"),
            now: START,
            payer: Party::new(1, &network),
            provider: Party::new(2, &network),
            stranger: Party::new(3, &network),
            claimer: Party::new(4, &network),
            nonce: 0,
            network,
            challenge_period: CHALLENGE,
        };
        for address in [
            world.payer.address(),
            world.provider.address(),
            world.stranger.address(),
            world.claimer.address(),
        ] {
            world.fund(address, FUNDS);
        }
        world
    }

    /// A channel that holds at least `deposit`.
    pub fn with_channel(deposit: NanoTon) -> Self {
        Self::new().with_deposit(deposit)
    }

    /// Deploys the channel.
    pub fn with_deposit(self, deposit: NanoTon) -> Self {
        let mut world = self;
        let message = channel::deploy_and_fund(&world.params(), deposit, 1).expect("amount");
        let landed = world.send(Who::Payer, &[message]);
        assert!(
            landed.iter().all(Transaction::succeeded),
            "deployment: {landed:#?}"
        );
        world
    }

    pub fn params(&self) -> ChannelParams {
        ChannelParams {
            payer_key: self.payer.key.public_key(),
            payer: self.payer.address(),
            provider: self.provider.address(),
            claimer: self.claimer.address(),
            challenge_period: self.challenge_period,
            salt: 7,
        }
    }

    pub fn channel(&self) -> Address {
        self.params().address()
    }

    /// Pays from the faucet.
    pub fn fund(&mut self, to: Address, amount: NanoTon) {
        self.nonce += 1;
        let message = self
            .chain
            .faucet_request(&std_addr(&to), u128::from(amount.nano()), self.nonce)
            .expect("faucet");
        self.chain.submit(message).expect("faucet's message");
        self.make_blocks();
    }

    fn party(&mut self, who: Who) -> &mut Party {
        match who {
            Who::Payer => &mut self.payer,
            Who::Provider => &mut self.provider,
            Who::Stranger => &mut self.stranger,
            Who::Claimer => &mut self.claimer,
        }
    }

    /// Signs a transfer with the wallet's next seqno.
    pub fn sign(&mut self, who: Who, messages: &[InternalMessage]) -> SignedMessage {
        let valid_until = self.now + 60;
        let party = self.party(who);
        let messages: Vec<_> = messages
            .iter()
            .map(|message| (SendMode::ExactValue, message.clone()))
            .collect();
        let unsigned = party
            .wallet
            .transfer(party.seqno, valid_until, &messages)
            .expect("transfer");
        unsigned.sign(&party.key).expect("signature")
    }

    /// Sends from a wallet and returns every transaction that this caused, in order.
    pub fn send(&mut self, who: Who, messages: &[InternalMessage]) -> Vec<Transaction> {
        let signed = self.sign(who, messages);
        self.party(who).seqno += 1;
        self.broadcast(&signed.boc).expect("accepted")
    }

    /// Hands bytes to the network; the error is the exit code with which the contract refused.
    pub fn broadcast(&mut self, boc: &[u8]) -> Result<Vec<Transaction>, String> {
        let message = ExternalMessage::parse(boc).map_err(|error| error.to_string())?;
        self.chain.check(&message).map_err(|error| error.to_string())?;
        self.chain.submit(message).map_err(|error| error.to_string())?;
        Ok(self.make_blocks())
    }

    fn make_blocks(&mut self) -> Vec<Transaction> {
        let mut landed = Vec::new();
        for _ in 0..BLOCKS_PER_MESSAGE {
            let record = self.chain.plan_block(self.now).expect("block");
            for transaction in &record.transactions {
                let cell = decode_boc(&Boc::encode(&transaction.cell)).expect("transaction's bag of cells");
                landed.push(Transaction::parse(&cell).expect("transaction"));
            }
            self.chain.apply(record).expect("block applied");
            if self.chain.queued() == 0 && self.chain.waiting() == 0 {
                return landed;
            }
        }
        panic!("messages are still under way after {BLOCKS_PER_MESSAGE} blocks");
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: u32) {
        self.now += seconds;
        self.make_blocks();
    }

    pub fn balance(&self, address: Address) -> NanoTon {
        let nano = self.chain.balance(&std_addr(&address)).expect("balance");
        NanoTon::from_nano(u64::try_from(nano).expect("in range")).expect("in range")
    }

    /// What the getter `channel_state` shows.
    pub fn state(&self) -> ChannelState {
        let address = std_addr(&self.channel());
        let output = self
            .chain
            .run_get_method(&address, method_id("channel_state"), &[])
            .expect("getter");
        assert_eq!(output.exit_code, 0, "getter");
        let stack: Vec<StackEntry> = output.stack.iter().map(stack_entry).collect();
        ChannelState::from_stack(&stack).expect("channel state")
    }

    /// What the getter `redeemed` shows.
    pub fn redeemed(&self) -> NanoTon {
        let address = std_addr(&self.channel());
        let output = self
            .chain
            .run_get_method(&address, method_id("redeemed"), &[])
            .expect("getter");
        let [chain::StackEntry::Int(value)] = output.stack.as_slice() else {
            panic!("one number: {output:?}")
        };
        NanoTon::from_nano(u64::try_from(value).expect("in range")).expect("in range")
    }

    /// A voucher that the contract accepts in epoch 0.
    pub fn voucher(&self, cap: NanoTon) -> SignedVoucher {
        self.sign_voucher(self.valid_voucher(cap))
    }

    pub fn valid_voucher(&self, cap: NanoTon) -> Voucher {
        let global_id = self.network.global_id();
        Voucher {
            global_id,
            channel: self.channel(),
            cap,
            valid_until: VALID_UNTIL,
            epoch: 0,
        }
    }

    pub fn sign_voucher(&self, voucher: Voucher) -> SignedVoucher {
        voucher.sign(&self.payer.key).expect("signature")
    }

    /// Redeems from the provider's wallet.
    pub fn redeem(&mut self, voucher: &SignedVoucher, claim: NanoTon) -> Vec<Transaction> {
        self.send(Who::Provider, &[channel::redeem(&Claim::new(*voucher, claim), 1)])
    }
}

fn stack_entry(entry: &chain::StackEntry) -> StackEntry {
    match entry {
        chain::StackEntry::Int(value) => StackEntry::Number {
            negative: value.sign() == num_bigint::Sign::Minus,
            magnitude: value.magnitude().to_bytes_be(),
        },
        chain::StackEntry::Cell(cell) | chain::StackEntry::Slice(cell) => {
            StackEntry::Cell(decode_boc(&Boc::encode(cell)).expect("cell"))
        }
        _ => StackEntry::Other,
    }
}

fn std_addr(address: &Address) -> StdAddr {
    StdAddr::new(address.workchain, HashBytes(address.account))
}

/// The channel's transaction among those that one wallet message caused.
pub fn on_channel<'a>(world: &World, landed: &'a [Transaction]) -> &'a Transaction {
    let channel = world.channel().account;
    let mut of_channel = landed.iter().filter(|transaction| transaction.account == channel);
    let transaction = of_channel.next().expect("a transaction on the channel");
    assert!(of_channel.next().is_none(), "one transaction on the channel");
    transaction
}
