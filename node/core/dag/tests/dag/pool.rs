//! The pool under random workloads, told by what it reports and judged by a model that keeps its own
//! lists; and the same with faults planted, each of which must be found.

use crate::{
    cluster::Random,
    keys::{Account, Keys, rich},
};
use qbind_dag::{
    BatchLimits, EvictionMode, Mempool, MempoolConfig, PendingTransaction, Rejection, Standing,
    Submission, transaction_bytes,
};
use qbind_types::{Address, Millis, TxId};
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: u16 = 5;
const NONCES: u64 = 10;
const FEES: [u128; 4] = [10, 11, 13, 40];

/// What the model knows of a pending transaction.
#[derive(Clone, Copy)]
struct Held {
    sender: Address,
    nonce: u64,
    bytes: usize,
    gas: u64,
    fee: u128,
    cost: u128,
    taken: bool,
}

/// The model: lists of its own, made of what the pool reports and nothing else.
struct Model {
    /// The limits the pool is judged by.
    limits: MempoolConfig,
    held: BTreeMap<TxId, Held>,
    /// When each eviction was.
    evictions: Vec<Millis>,
    used: BTreeMap<Address, u64>,
    found: BTreeSet<&'static str>,
}

impl Model {
    fn new(limits: MempoolConfig) -> Self {
        let (held, used) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, held, evictions: Vec::new(), used, found: BTreeSet::new() }
    }

    fn note(&mut self, what: &'static str, holds: bool) {
        if !holds {
            self.found.insert(what);
        }
    }

    fn of<'a>(&'a self, sender: &'a Address) -> impl Iterator<Item = &'a Held> {
        self.held.values().filter(move |h| h.sender == *sender)
    }

    /// Whether a nonce before this one is missing.
    fn waits(&self, sender: &Address, nonce: u64) -> bool {
        let used = self.used.get(sender).copied().unwrap_or(0);
        let after = self.of(sender).filter(|h| h.taken).map(|h| h.nonce + 1).max();
        let due = after.unwrap_or(0).max(used);
        (due..nonce).any(|missing| self.of(sender).all(|h| h.nonce != missing))
    }

    fn insert(&mut self, offer: &Submission, result: &Result<qbind_dag::Inserted, Rejection>) {
        let Ok(inserted) = result else { return };
        for id in inserted.replaced.iter().chain(&inserted.obsolete) {
            let was_held = self.held.remove(id).is_some();
            self.note("what is replaced was held", was_held);
        }
        if let Some(evicted) = inserted.evicted {
            self.evictions.push(offer.now);
            let Some(gone) = self.held.remove(&evicted) else {
                return self.note("what is evicted was held", false);
            };
            let newcomer = offer.transaction.get();
            let waits = self.waits(&newcomer.sender, newcomer.nonce);
            self.note("a full pool takes nothing behind a gap", !waits);
            let did_wait = self.waits(&gone.sender, gone.nonce);
            let nobody_waits = self.held.values().all(|h| !self.waits(&h.sender, h.nonce));
            self.note("what waits behind a gap goes first", did_wait || nobody_waits);
            let is_last = self.of(&gone.sender).all(|h| h.taken || h.nonce < gone.nonce);
            self.note("evictions leave no gap", is_last);
            let cheapest = self.held.values().filter(|h| !h.taken).map(|h| h.fee).min();
            let cheapest = cheapest.unwrap_or(u128::MAX).min(gone.fee);
            let pays_more = did_wait || offer.fee_per_gas > cheapest;
            self.note("the newcomer pays more than the worst paid", pays_more);
        }
        let transaction = offer.transaction.get();
        let held = Held {
            sender: transaction.sender,
            nonce: transaction.nonce,
            bytes: transaction_bytes(transaction),
            gas: offer.gas,
            fee: offer.fee_per_gas,
            cost: offer.cost,
            taken: false,
        };
        let is_single = self.of(&held.sender).all(|h| h.nonce != held.nonce);
        self.note("one transaction a nonce", is_single);
        self.held.insert(offer.id, held);
    }

    fn take(&mut self, batch: &[PendingTransaction], limits: BatchLimits) {
        let bytes: usize = batch.iter().map(|p| transaction_bytes(&p.transaction)).sum();
        let gas: u64 = batch.iter().map(|p| p.gas).sum();
        self.note("batches keep their count", batch.len() <= limits.transactions);
        self.note("batches keep their bytes", bytes <= limits.bytes);
        self.note("batches keep their gas", gas <= limits.gas);
        for pending in batch {
            let (sender, nonce) = (pending.transaction.sender, pending.transaction.nonce);
            let used = self.used.get(&sender).copied().unwrap_or(0);
            let after = self.of(&sender).filter(|h| h.taken).map(|h| h.nonce + 1).max();
            let next = after.unwrap_or(0).max(used);
            self.note("a sender's nonces leave in order", nonce == next);
            match self.held.get_mut(&pending.id) {
                Some(held) => held.taken = true,
                None => self.note("what leaves was held", false),
            }
        }
    }

    fn drop_all(&mut self, ids: &[TxId]) {
        for id in ids {
            let was_held = self.held.remove(id).is_some();
            self.note("what is dropped was held", was_held);
        }
    }

    /// What must hold after every step.
    fn judge(&mut self, pool: &Mempool, clients: &[Client]) {
        self.note("the pool keeps its size", self.held.len() <= self.limits.capacity);
        self.note("the pool counts right", pool.len() == self.held.len());
        let gas: u64 = self.held.values().filter(|h| h.taken).map(|h| h.gas).sum();
        self.note("gas in batches is counted right", pool.taken_gas() == gas);
        for client in clients {
            let sender = client.account.address;
            let count = self.of(&sender).count();
            let bytes: usize = self.of(&sender).map(|h| h.bytes).sum();
            self.note("a sender keeps its count", count <= self.limits.sender_transactions);
            self.note("a sender keeps its bytes", bytes <= self.limits.sender_bytes);
            self.note("a sender's count is right", pool.pending_of(&sender) == count);
            self.note("a sender's bytes are right", pool.bytes_of(&sender) == bytes);
        }
        if self.limits.eviction_mode == EvictionMode::Enforce {
            // An interval starts with the first eviction after the one before has ended.
            let (mut start, mut count, mut most) = (None, 0, 0);
            for at in &self.evictions {
                if start.is_none_or(|s: Millis| *at >= s.plus(self.limits.eviction_interval)) {
                    (start, count) = (Some(*at), 0);
                }
                count += 1;
                most = most.max(count);
            }
            self.note("evictions keep their limit", most <= self.limits.evictions_per_interval);
        }
    }
}

struct Client {
    account: Account,
    /// By nonce and fee.
    offers: Vec<Vec<Submission>>,
}

fn clients() -> Vec<Client> {
    let verifier = Keys::new(&[1]).verifier;
    let client = |seed| {
        let account = Account::new(seed);
        let offer = |nonce, fee: &u128| account.submission(&verifier, nonce, *fee, 0, Millis(0));
        let offers =
            (0..NONCES).map(|nonce| FEES.iter().map(|fee| offer(nonce, fee)).collect()).collect();
        Client { account, offers }
    };
    (1..=CLIENTS).map(client).collect()
}

/// What is done to what the pool hands out before the model sees it.
type Fault = fn(&mut Vec<PendingTransaction>);

fn limits(mode: EvictionMode) -> MempoolConfig {
    let bytes = transaction_bytes(&Account::new(1).transfer(0, 1));
    MempoolConfig {
        capacity: 14,
        sender_transactions: 6,
        sender_bytes: 5 * bytes,
        nonce_window: 7,
        eviction_mode: mode,
        evictions_per_interval: 2,
        eviction_interval: Millis(400),
        lifetime: Millis(2_500),
        ..MempoolConfig::default()
    }
}

/// Runs a pool under `config` for 500 random steps and judges it by `limits`.
fn run(
    seed: u64,
    clients: &[Client],
    config: MempoolConfig,
    limits: MempoolConfig,
    fault: Fault,
) -> BTreeSet<&'static str> {
    let mut random = Random::new(seed);
    let (mut pool, mut model) = (Mempool::new(config), Model::new(limits));
    let bytes = model.limits.sender_bytes / 5;
    let mut now = Millis(0);
    let mut batch: Vec<TxId> = Vec::new();
    for _ in 0..500 {
        now = now.plus(Millis(random.below(40)));
        let client = &clients[random.below(u64::from(CLIENTS)) as usize];
        let sender = client.account.address;
        let used = model.used.get(&sender).copied().unwrap_or(0);
        match random.below(12) {
            0..=7 => {
                let nonce = (used + random.below(7)).min(NONCES - 1) as usize;
                let fee = random.below(FEES.len() as u64) as usize;
                let mut offer = client.offers[nonce][fee].clone();
                (offer.account, offer.now) = (rich(used), now);
                let result = pool.insert(offer.clone());
                model.insert(&offer, &result);
            }
            8 => {
                let limits = BatchLimits {
                    transactions: random.below(5) as usize,
                    bytes: bytes * random.below(5) as usize,
                    gas: 21_000 * random.below(5),
                };
                let mut taken = pool.take_batch(limits, now, |_| 0);
                batch.extend(taken.iter().map(|p| p.id));
                fault(&mut taken);
                model.take(&taken, limits);
            }
            9 => {
                let next = (used + random.below(3)).min(NONCES);
                model.used.insert(sender, next);
                let cost = client.offers[0][1].cost;
                let spendable = match random.below(3) {
                    0 => cost * u128::from(random.below(6)),
                    _ => u128::MAX,
                };
                let gone = pool.on_committed(&sender, Standing { nonce: next, spendable });
                model.drop_all(&gone);
                let left: u128 = model.of(&sender).map(|h| h.cost).sum();
                let is_covered = left <= spendable || model.of(&sender).all(|h| h.taken);
                model.note("what waits can be paid", is_covered);
                let used = client.offers[..next as usize].iter().flatten();
                let used: BTreeSet<TxId> = used.map(|offer| offer.id).collect();
                let only_used = gone.iter().all(|id| used.contains(id));
                model.note("what can be paid stays", spendable < u128::MAX || only_used);
            }
            10 => {
                let ids = core::mem::take(&mut batch);
                let returned = pool.return_unused(&ids);
                model.drop_all(&returned.dropped);
                for id in returned.requeued {
                    if let Some(held) = model.held.get_mut(&id) {
                        held.taken = false;
                    }
                }
            }
            _ => {
                let gone = pool.expire(now);
                model.drop_all(&gone);
            }
        }
        model.judge(&pool, clients);
    }
    model.found
}

#[test]
fn quotas_order_bytes_and_the_eviction_limit_hold_under_any_workload() {
    let clients = clients();
    for mode in [EvictionMode::Off, EvictionMode::Warn, EvictionMode::Enforce] {
        for seed in 0..60 {
            let found = run(seed, &clients, limits(mode), limits(mode), |_| ());
            assert_eq!(found, BTreeSet::new(), "mode {mode:?}, seed {seed}");
        }
    }
}

/// Everything some seed finds.
fn found(change: fn(&mut MempoolConfig), fault: Fault) -> BTreeSet<&'static str> {
    let clients = clients();
    let limits = limits(EvictionMode::Enforce);
    let mut config = limits.clone();
    change(&mut config);
    (0..20).flat_map(|s| run(s, &clients, config.clone(), limits.clone(), fault)).collect()
}

#[test]
fn a_pool_that_exceeds_a_limit_is_found_by_the_name_of_the_limit() {
    let only = |name| BTreeSet::from([name]);
    assert_eq!(found(|c| c.capacity = 15, |_| ()), only("the pool keeps its size"));
    // The sixth transaction fits by count and not by bytes.
    let bytes = found(|c| c.sender_bytes *= 2, |_| ());
    assert_eq!(bytes, only("a sender keeps its bytes"));
    let evictions = found(|c| c.evictions_per_interval = 3, |_| ());
    assert_eq!(evictions, only("evictions keep their limit"));
    let shorter = found(|c| c.eviction_interval = Millis(100), |_| ());
    assert_eq!(shorter, only("evictions keep their limit"));
    let both = found(|c| (c.sender_transactions, c.sender_bytes) = (9, 2 * c.sender_bytes), |_| ());
    assert!(both.contains("a sender keeps its count"), "{both:?}");
}

#[test]
fn a_batch_out_of_order_or_with_something_else_in_it_is_found() {
    let reversed = found(|_| (), |batch| batch.reverse());
    assert!(reversed.contains("a sender's nonces leave in order"), "{reversed:?}");
    let lost = found(|_| (), |batch| drop(batch.pop()));
    assert!(lost.contains("gas in batches is counted right"), "{lost:?}");
    let twice = found(
        |_| (),
        |batch| {
            let again = batch.first().cloned();
            batch.extend(again);
        },
    );
    assert!(twice.contains("a sender's nonces leave in order"), "{twice:?}");
    assert!(twice.contains("batches keep their count"), "{twice:?}");
}

#[test]
fn what_was_evicted_may_come_again() {
    let clients = clients();
    let mut pool = Mempool::new(MempoolConfig { capacity: 1, ..limits(EvictionMode::Off) });
    let (cheap, dear) = (&clients[0].offers[0][0], &clients[1].offers[0][3]);
    pool.insert(cheap.clone()).expect("room");
    assert_eq!(pool.insert(dear.clone()).expect("pays more").evicted, Some(cheap.id));
    assert_eq!(pool.insert(cheap.clone()), Err(Rejection::Full { pending: 1 }));
    assert_eq!(pool.on_committed(&clients[1].account.address, rich(1)), [dear.id]);
    pool.insert(cheap.clone()).expect("room again");
    assert!(pool.contains(&cheap.id));
}
