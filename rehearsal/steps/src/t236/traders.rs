//! Who trades: honest senders that raise their bid when they have to wait, and attackers.

use super::market::{Included, Market};
use qbind_crypto::{SecretKey, address_of, preimage};
use qbind_types::{
    Address, Network, Payload, SIGNATURE_BYTES, Signature, Transaction, TransferV1, TxId,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

/// What honest senders bid, and how far they go.
pub(super) const HONEST_FEES: RangeInclusive<u128> = 50..=200;
/// Blocks an honest sender waits before it raises the bid of its first pending transfer.
const PATIENCE: u64 = 3;

/// An account with its key.
pub(super) struct Wallet {
    network: Network,
    key: SecretKey,
    pub(super) address: Address,
}

impl Wallet {
    pub(super) fn new(network: Network, rng: &mut ChaCha8Rng) -> Self {
        let mut seed = [0; 32];
        rng.fill(&mut seed);
        let key = SecretKey::from_seed(&seed);
        let address = address_of(&key.public_key());
        Self { network, key, address }
    }

    pub(super) fn sign(&self, nonce: u64, payload: Vec<u8>) -> Transaction {
        let blank = Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("its length");
        let mut tx = Transaction {
            sender: self.address,
            nonce,
            payload,
            suite: 100,
            public_key: self.key.public_key(),
            signature: blank,
        };
        tx.signature = self.key.sign(&preimage::transaction(self.network, &tx));
        tx
    }

    pub(super) fn transfer(&self, nonce: u64, to: Address, amount: u128, fee: u128) -> Transaction {
        let t = TransferV1 { recipient: to, amount, gas_limit: 37_352, max_fee_per_gas: fee };
        self.sign(nonce, Payload::V1(t).encode())
    }
}

/// A transfer somebody wants, until it is included.
struct Wish {
    tx: Transaction,
    id: TxId,
    fee: u128,
    since: u64,
    bid_at: u64,
}

/// What honest senders got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HonestTally {
    pub(super) submitted: u64,
    pub(super) included: u64,
    pub(super) fees: u128,
    /// Included within 3 blocks, within 10, later.
    pub(super) waits: [u64; 3],
}

/// Honest senders: one transfer each per block, bid again while it waits.
pub(super) struct Honest {
    wallets: Vec<Wallet>,
    wishes: BTreeMap<Address, BTreeMap<u64, Wish>>,
    next: BTreeMap<Address, u64>,
    pub(super) tally: HonestTally,
}

impl Honest {
    pub(super) fn new(wallets: Vec<Wallet>) -> Self {
        let (wishes, next) = (BTreeMap::new(), BTreeMap::new());
        Self { wallets, wishes, next, tally: HonestTally::default() }
    }

    /// One new transfer per sender, and a second try for those not in the pool. Returns the new
    /// bids, for whoever watches the pool.
    pub(super) fn trade(
        &mut self,
        market: &mut Market,
        rng: &mut ChaCha8Rng,
        height: u64,
    ) -> Vec<u128> {
        let mut bids = Vec::new();
        for (i, wallet) in self.wallets.iter().enumerate() {
            let to = self.wallets[(i + 1) % self.wallets.len()].address;
            let nonce = self.next.entry(wallet.address).or_default();
            let fee = rng.random_range(HONEST_FEES);
            let tx = wallet.transfer(*nonce, to, rng.random_range(1..=1_000), fee);
            let id = market.id(&tx);
            let wishes = self.wishes.entry(wallet.address).or_default();
            wishes.insert(*nonce, Wish { tx, id, fee, since: height, bid_at: height });
            *nonce += 1;
            self.tally.submitted += 1;
            bids.push(fee);
            raise_first(wallet, market, wishes, height);
            for wish in wishes.values() {
                // Refused for now or evicted: nothing is lost by asking again in order, and the
                // first refusal makes the rest pointless.
                if !market.is_pending(&wish.id) && market.submit(&wish.tx).is_err() {
                    break;
                }
            }
        }
        bids
    }

    /// Notes what a block included.
    pub(super) fn settle(&mut self, included: &[Included], height: u64) {
        for one in included {
            let Some(wishes) = self.wishes.get_mut(&one.sender) else { continue };
            self.tally.fees += one.fee;
            let found = wishes.iter().find(|(_, w)| w.id == one.id).map(|(nonce, _)| *nonce);
            let Some(wish) = found.and_then(|nonce| wishes.remove(&nonce)) else { continue };
            if !one.is_success {
                continue;
            }
            self.tally.included += 1;
            self.tally.waits[latency_class(height - wish.since)] += 1;
        }
    }
}

/// Included within 3 blocks, within 10, later.
fn latency_class(blocks: u64) -> usize {
    if blocks <= 3 { 0 } else { usize::from(blocks > 10) + 1 }
}

/// Raises the bid of the first pending transfer, which all later ones wait for.
fn raise_first(
    wallet: &Wallet,
    market: &mut Market,
    wishes: &mut BTreeMap<u64, Wish>,
    height: u64,
) {
    let Some((nonce, wish)) = wishes.iter_mut().next() else { return };
    let most = *HONEST_FEES.end();
    if height < wish.bid_at + PATIENCE || wish.fee >= most {
        return;
    }
    // Replacing takes ten per cent more; a quarter leaves no doubt.
    let fee = (wish.fee * 5 / 4).min(most);
    let payload = Payload::decode(&wish.tx.payload).expect("made here");
    let tx = wallet.transfer(*nonce, payload.recipient(), payload.amount(), fee);
    wish.bid_at = height;
    if let Ok(id) = market.submit(&tx) {
        (wish.tx, wish.id, wish.fee) = (tx, id, fee);
    }
}

/// How attackers behave.
#[derive(Debug, Clone)]
pub(super) enum Attack {
    /// Not at all.
    None,
    /// Cheap transfers, as many times the honest load.
    Spam { load: u64, fees: RangeInclusive<u128> },
    /// Bids a little more than each honest bid seen.
    FrontRun { above: RangeInclusive<u128> },
    /// Bursts to push others out of the pool, with probability `burst_percent`.
    Churn { burst: u64, calm_halves: u64, burst_percent: u32, fees: RangeInclusive<u128> },
}

/// What attackers got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AttackTally {
    pub(super) submitted: u64,
    pub(super) accepted: u64,
    pub(super) included: u64,
    pub(super) fees: u128,
    /// Included within 3 blocks, within 10, later.
    pub(super) waits: [u64; 3],
}

/// The attackers.
pub(super) struct Attackers {
    wallets: Vec<Wallet>,
    attack: Attack,
    turn: usize,
    /// When each accepted transfer was handed in.
    since: BTreeMap<TxId, u64>,
    pub(super) tally: AttackTally,
}

impl Attackers {
    pub(super) fn new(wallets: Vec<Wallet>, attack: Attack) -> Self {
        Self { wallets, attack, turn: 0, since: BTreeMap::new(), tally: AttackTally::default() }
    }

    pub(super) fn addresses(&self) -> BTreeSet<Address> {
        self.wallets.iter().map(|w| w.address).collect()
    }

    /// Submits this block's attack against honest bids just seen.
    pub(super) fn trade(
        &mut self,
        market: &mut Market,
        rng: &mut ChaCha8Rng,
        bids: &[u128],
        height: u64,
    ) {
        let honest = u64::try_from(bids.len()).expect("a few bids");
        let fees: Vec<u128> = match self.attack.clone() {
            Attack::None => Vec::new(),
            Attack::Spam { load, fees } => draw(rng, load * honest, &fees),
            Attack::FrontRun { above } => {
                bids.iter().map(|bid| bid + rng.random_range(above.clone())).collect()
            }
            Attack::Churn { burst, calm_halves, burst_percent, fees } => {
                let is_burst = rng.random_range(0..100) < burst_percent;
                let count = if is_burst { burst * honest } else { calm_halves * honest / 2 };
                draw(rng, count, &fees)
            }
        };
        for fee in fees {
            let wallet = &self.wallets[self.turn % self.wallets.len()];
            self.turn += 1;
            let nonce = market.next_nonce(&wallet.address);
            let tx = wallet.transfer(nonce, wallet.address, 1, fee);
            self.tally.submitted += 1;
            if let Ok(id) = market.submit(&tx) {
                self.tally.accepted += 1;
                self.since.insert(id, height);
            }
        }
    }

    pub(super) fn settle(&mut self, included: &[Included], height: u64) {
        let mine = self.addresses();
        for one in included.iter().filter(|one| mine.contains(&one.sender)) {
            self.tally.included += 1;
            self.tally.fees += one.fee;
            // A double spend was never handed in: it comes with the block it is made for.
            let since = self.since.remove(&one.id).unwrap_or(height);
            self.tally.waits[latency_class(height - since)] += 1;
        }
    }

    /// What a dishonest validator adds to a block: its transactions again, an old one, and another
    /// transfer under a nonce the block already uses.
    pub(super) fn inject(&self, block: &[Transaction], old: &[Transaction]) -> Vec<Transaction> {
        let mut extra: Vec<Transaction> = block.iter().take(2).chain(old).cloned().collect();
        let double = block.iter().rev().find_map(|tx| {
            let wallet = self.wallets.iter().find(|w| w.address == tx.sender)?;
            let elsewhere = Address([0x66; 32]);
            Some(wallet.transfer(tx.nonce, elsewhere, 999, *HONEST_FEES.end()))
        });
        extra.extend(double);
        extra
    }
}

fn draw(rng: &mut ChaCha8Rng, count: u64, fees: &RangeInclusive<u128>) -> Vec<u128> {
    (0..count).map(|_| rng.random_range(fees.clone())).collect()
}

/// Wallets from a seed.
pub(super) fn wallets(network: Network, seed: u64, count: usize) -> Vec<Wallet> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| Wallet::new(network, &mut rng)).collect()
}
