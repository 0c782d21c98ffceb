//! A network in process with a payer, a provider and a funded channel between them.

use std::sync::Arc;

use cocoon_api::{
    NanoTon,
    conditions::SettlementFailed,
    crd::{
        PaymentChannel, PaymentChannelSpec, PaymentChannelStatus, ProviderReference, SettlementSpec,
        SettlementStatus, channel::Voucher,
    },
    receipt::Sha256Digest,
};
use cocoon_core::{
    funds::Payee,
    settlement::{Candidate, InFlight, Landed, Next},
};
use cocoon_operator::{
    chain::{Chain, ChainError, Endpoint, Entry, Networks},
    metrics::Metrics,
    settlement::{Claim, look, message},
};
use cocoon_ton::{
    Address, ChannelParams, Network, SecretKey, Signer as _, Voucher as Promise, Wallet, channel,
    reader::ChannelOnChain, wallet::SendMode,
};
use testbed_chain::testing::{LocalNetwork, Options};

/// One TON is deposited.
pub const DEPOSIT: u64 = 1_000_000_000;
/// What most tests claim.
pub const CLAIM: u64 = 100_000_000;
/// What the provider's wallet holds for fees.
pub const FEES: u64 = 1_000_000_000;
/// An address of which nobody here has the key.
const PAYOUT: Address = Address {
    workchain: 0,
    account: [0xCD; 32],
};
/// Looks after which a test gives up: a message takes a handful.
const LOOKS: usize = 200;

/// What a sender keeps from one step to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Its memory.
    Memory,
    /// Only what is stored, as if it were killed.
    Nothing,
}

pub struct World {
    pub network: LocalNetwork,
    pub chain: Arc<Chain>,
    payer: SecretKey,
    provider: SecretKey,
    params: ChannelParams,
    deposited: u64,
}

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

/// One network behind these endpoints.
pub fn chain(global_id: i32, endpoints: &[String]) -> Arc<Chain> {
    let entry = Entry {
        name: "testbed".into(),
        global_id,
        endpoints: endpoints.iter().map(Endpoint::open).collect(),
    };
    Networks::new(vec![entry], &Arc::new(Metrics::new().unwrap()))
        .unwrap()
        .get("testbed")
        .unwrap()
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(FEES).await
    }

    /// A world whose provider holds this much for fees.
    pub async fn start_with(fees: u64) -> Self {
        Self::start_on(Options::default(), fees).await
    }

    /// A world in which gas and messages cost so many times as much.
    pub async fn start_at(price_factor: u32) -> Self {
        let options = Options {
            price_factor,
            ..Options::default()
        };
        Self::start_on(options, FEES).await
    }

    /// A world whose provider is paid at an address of which nobody here has the key.
    pub async fn start_apart(price_factor: u32) -> Self {
        let options = Options {
            price_factor,
            ..Options::default()
        };
        Self::start_paid_at(options, FEES, Some(PAYOUT)).await
    }

    async fn start_on(options: Options, fees: u64) -> Self {
        Self::start_paid_at(options, fees, None).await
    }

    async fn start_paid_at(options: Options, fees: u64, payout: Option<Address>) -> Self {
        let network = tokio::task::block_in_place(|| LocalNetwork::start(options)).unwrap();
        let (payer, provider) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let wallet = |key: &SecretKey| Wallet::new(key.public_key(), &Network::TESTBED);
        let params = ChannelParams {
            payer_key: payer.public_key(),
            payer: wallet(&payer).address(),
            provider: payout.unwrap_or(wallet(&provider).address()),
            claimer: wallet(&provider).address(),
            challenge_period: 3_600,
            salt: 0,
        };
        network.fund(&params.claimer.to_string(), fees).unwrap();
        network.fund(&params.payer.to_string(), 2 * DEPOSIT).unwrap();
        let chain = chain(Network::TESTBED.global_id(), &[network.base_url()]);
        let mut world = Self {
            network,
            chain,
            payer,
            provider,
            params,
            deposited: 0,
        };
        world.open(&wallet(&world.payer)).await;
        world
    }

    async fn open(&mut self, payer: &Wallet) {
        let deploy = channel::deploy_and_fund(&self.params, nano(DEPOSIT), 0).unwrap();
        let until = self.network.status().unwrap().utime + 60;
        let signed = payer
            .transfer(0, until, &[(SendMode::ExactValue, deploy)])
            .unwrap()
            .sign(&self.payer)
            .unwrap();
        self.chain.send(&signed.boc).await.unwrap();
        self.deposited = self.deployed(&self.address()).await;
    }

    /// Waits for new blocks.
    pub async fn blocks(&self, count: usize) {
        let mut blocks = self.network.network().blocks();
        for _ in 0..count {
            blocks.changed().await.unwrap();
        }
    }

    pub fn address(&self) -> Address {
        self.params.address()
    }

    /// The wallet that claims.
    pub fn claimer(&self) -> Address {
        self.params.claimer
    }

    /// Whom the provider wants its channels to pay.
    fn payee(&self) -> Payee {
        Payee {
            address: self.params.provider.to_string(),
            claimer: self.params.claimer.to_string(),
        }
    }

    fn wallet(&self) -> Wallet {
        Wallet::new(self.provider.public_key(), &Network::TESTBED)
    }

    /// The channel with a voucher over the whole deposit.
    pub fn channel(&self) -> PaymentChannel {
        self.channel_with(&Network::TESTBED, DEPOSIT)
    }

    pub fn channel_with_cap(&self, cap: u64) -> PaymentChannel {
        self.channel_with(&Network::TESTBED, cap)
    }

    pub fn channel_on(&self, network: &Network) -> PaymentChannel {
        self.channel_with(network, DEPOSIT)
    }

    fn channel_with(&self, network: &Network, cap: u64) -> PaymentChannel {
        self.voucher_for(&self.address(), network, cap)
    }

    fn voucher_for(&self, address: &Address, network: &Network, cap: u64) -> PaymentChannel {
        let valid_until = self.network.status().unwrap().utime + 86_400;
        let promise = Promise {
            global_id: network.global_id(),
            channel: *address,
            cap: nano(cap),
            valid_until,
            epoch: 0,
        };
        let signed = promise.sign(&self.payer).unwrap();
        let voucher = Voucher {
            cap_nano: nano(cap),
            valid_until,
            epoch: 0,
            signature: hex::encode(signed.signature.0),
        };
        let mut channel = PaymentChannel::new(
            "channel",
            PaymentChannelSpec {
                provider: ProviderReference {
                    name: "farm".into(),
                    namespace: None,
                },
                network: "testbed".into(),
                contract_address: address.to_string(),
                payer_public_key: self.payer.public_key().to_string(),
                binding: None,
                voucher: Some(voucher.clone()),
            },
        );
        channel.status = Some(PaymentChannelStatus {
            epoch: Some(0),
            vouchers: vec![voucher],
            ..PaymentChannelStatus::default()
        });
        channel
    }

    /// Opens this many more channels with one message of the payer, and signs one message that claims from all.
    pub async fn sign_many(&self, count: u32, deposit: u64, claim: u64) -> SettlementSpec {
        let all: Vec<ChannelParams> = (1..=count)
            .map(|salt| ChannelParams { salt, ..self.params })
            .collect();
        self.network
            .fund(
                &self.params.payer.to_string(),
                u64::from(count) * (deposit + DEPOSIT / 20),
            )
            .unwrap();
        let deploys: Vec<_> = all
            .iter()
            .map(|params| {
                (
                    SendMode::ExactValue,
                    channel::deploy_and_fund(params, nano(deposit), 0).unwrap(),
                )
            })
            .collect();
        let payer = Wallet::new(self.payer.public_key(), &Network::TESTBED);
        let until = self.network.status().unwrap().utime + 60;
        let signed = payer
            .transfer(1, until, &deploys)
            .unwrap()
            .sign(&self.payer)
            .unwrap();
        self.chain.send(&signed.boc).await.unwrap();
        let mut claims = Vec::new();
        for params in &all {
            self.deployed(&params.address()).await;
            claims.push(self.claim_from(params, claim).await);
        }
        let time = self.chain.time().await.unwrap();
        let wallet = self.wallet();
        let seqno = self.chain.wallet(&wallet.address()).await.unwrap().seqno;
        message::sign("farm", &wallet, &self.provider, seqno, time, claims).unwrap()
    }

    async fn claim_from(&self, params: &ChannelParams, claim: u64) -> Claim {
        let channel = self.voucher_for(&params.address(), &Network::TESTBED, DEPOSIT);
        let candidate = Candidate {
            uid: String::new(),
            until: i64::MAX,
            name: format!("channel-{}", params.salt),
            contract_address: params.address().to_string(),
            claim: nano(claim),
            redeemed: NanoTon::ZERO,
            accruing_since: 0,
            urgency: None,
            receipts_root: Sha256Digest::of(b"receipts"),
            jobs: Vec::new(),
        };
        let time = self.chain.time().await.unwrap();
        Claim::check(candidate, &channel, &self.chain, &self.payee(), time)
            .await
            .unwrap()
            .unwrap()
    }

    /// Waits for a channel and answers what can be claimed from it.
    async fn deployed(&self, address: &Address) -> u64 {
        for _ in 0..LOOKS {
            if let ChannelOnChain::Channel { state, .. } = self.chain.channel(address).await.unwrap() {
                return state.available.nano();
            }
            self.blocks(1).await;
        }
        panic!("the channel was not deployed in {LOOKS} blocks");
    }

    /// Checks a claim against the chain and signs it.
    pub async fn sign(&self, claim: u64) -> Result<SettlementSpec, String> {
        self.sign_for(&self.channel(), claim).await
    }

    pub async fn sign_for(&self, channel: &PaymentChannel, claim: u64) -> Result<SettlementSpec, String> {
        let redeemed = self.redeemed().await;
        let candidate = Candidate {
            uid: String::new(),
            until: i64::MAX,
            name: "channel".into(),
            contract_address: channel.spec.contract_address.clone(),
            claim: nano(claim),
            redeemed: nano(redeemed),
            accruing_since: 0,
            urgency: None,
            receipts_root: Sha256Digest::of(b"receipts"),
            jobs: Vec::new(),
        };
        let time = self.chain.time().await.unwrap();
        let claim = Claim::check(candidate, channel, &self.chain, &self.payee(), time)
            .await
            .unwrap()?;
        let wallet = self.wallet();
        let seqno = self.chain.wallet(&wallet.address()).await.unwrap().seqno;
        Ok(message::sign("farm", &wallet, &self.provider, seqno, time, vec![claim]).unwrap())
    }

    /// Signs that so much goes on to the payout address.
    pub async fn sweep(&self, amount: u64) -> SettlementSpec {
        let (wallet, to) = (self.wallet(), self.params.provider);
        let time = self.chain.time().await.unwrap();
        let seqno = self.chain.wallet(&wallet.address()).await.unwrap().seqno;
        message::sweep("farm", &wallet, &self.provider, (seqno, time), (to, nano(amount))).unwrap()
    }

    /// One look and what follows from it, from the stored bytes alone.
    pub async fn step(&self, spec: &SettlementSpec) -> Result<Next, ChainError> {
        let clock = i64::from(self.network.status().unwrap().utime);
        self.step_at(spec, clock).await
    }

    pub async fn step_at(&self, spec: &SettlementSpec, clock: i64) -> Result<Next, ChainError> {
        let in_flight = message::in_flight(spec, Some(&SettlementStatus::default()), None);
        self.act(spec, in_flight, clock).await
    }

    async fn act(&self, spec: &SettlementSpec, in_flight: InFlight, clock: i64) -> Result<Next, ChainError> {
        let stored = message::stored(spec).unwrap();
        let seen = look(&self.chain, spec, &stored, clock).await?;
        let next = in_flight.next(&seen.sighting);
        if let Next::Send(_) = next {
            // What an endpoint answers to a message says nothing.
            drop(self.chain.send(&stored.boc).await);
        }
        Ok(next)
    }

    /// What the message cost, as one more look tells.
    pub async fn fee(&self, spec: &SettlementSpec) -> u64 {
        let stored = message::stored(spec).unwrap();
        let clock = i64::from(self.network.status().unwrap().utime);
        let seen = look(&self.chain, spec, &stored, clock).await.unwrap();
        assert_eq!(seen.sighting.returned, spec.redeems.len());
        seen.fee.nano()
    }

    /// Brings a stored message to its end.
    pub async fn drive(&self, spec: &SettlementSpec, keep: Keep) -> Result<Landed, SettlementFailed> {
        let fresh = message::in_flight(spec, None, None);
        let mut in_flight = fresh.clone();
        for _ in 0..LOOKS {
            let clock = i64::from(self.network.status().unwrap().utime);
            match self.act(spec, in_flight, clock).await.unwrap() {
                Next::Send(kept) | Next::Wait(kept, _) => {
                    in_flight = if keep == Keep::Memory { kept } else { fresh.clone() };
                }
                Next::Confirmed(landed) => return Ok(landed),
                Next::Failed(reason, _) => return Err(reason),
            }
            self.blocks(1).await;
        }
        panic!("the message did not end in {LOOKS} looks");
    }

    /// What the wallet that claims holds.
    pub fn balance(&self) -> u64 {
        self.balance_of(&self.params.claimer)
    }

    /// What the address holds that is paid.
    pub fn paid_out(&self) -> u64 {
        self.balance_of(&self.params.provider)
    }

    fn balance_of(&self, address: &Address) -> u64 {
        let balance = self.network.balance(&address.to_string()).unwrap();
        balance.try_into().unwrap()
    }

    pub async fn send(&self, spec: &SettlementSpec) -> Result<(), ChainError> {
        self.chain.send(&message::stored(spec).unwrap().boc).await
    }

    async fn redeemed(&self) -> u64 {
        match self.chain.channel(&self.address()).await.unwrap() {
            ChannelOnChain::Channel { state, .. } => state.redeemed.nano(),
            other => panic!("no channel: {other:?}"),
        }
    }

    /// What the contract says and what it holds both show exactly this much paid.
    pub async fn assert_paid(&self, paid: u64) {
        self.blocks(4).await;
        let ChannelOnChain::Channel { state, .. } = self.chain.channel(&self.address()).await.unwrap() else {
            panic!("the channel is gone");
        };
        assert_eq!(state.redeemed.nano(), paid, "redeemed");
        let left = self.deposited - paid;
        // Rent is a few nanoTON in a test's minutes of chain time.
        assert!(
            (left.saturating_sub(10_000)..=left).contains(&state.available.nano()),
            "{} of {left}",
            state.available
        );
    }
}
