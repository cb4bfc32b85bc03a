//! The pool alone.

use crate::keys::{Account, Keys, rich};
use qbind_crypto::Verifier;
use qbind_dag::{
    BatchLimits, EvictionMode, Mempool, MempoolConfig, PendingTransaction, Rejection, Standing,
    Submission,
};
use qbind_types::Millis;
use std::sync::Arc;

const ALL: BatchLimits = BatchLimits { transactions: 1_000, bytes: usize::MAX, gas: u64::MAX };

struct Client {
    account: Account,
    verifier: Arc<Verifier>,
}

impl Client {
    fn new(seed: u16) -> Self {
        Self { account: Account::new(seed), verifier: Keys::new(&[1]).verifier }
    }

    fn offer(&self, nonce: u64, fee: u128) -> Submission {
        self.account.submission(&self.verifier, nonce, fee, 0, Millis(0))
    }
}

fn pool(change: impl FnOnce(&mut MempoolConfig)) -> Mempool {
    let mut config = MempoolConfig::default();
    change(&mut config);
    Mempool::new(config)
}

fn nonces(batch: &[PendingTransaction], of: &Client) -> Vec<u64> {
    let of_sender = batch.iter().filter(|p| p.transaction.sender == of.account.address);
    of_sender.map(|p| p.transaction.nonce).collect()
}

fn poor(nonce: u64, spendable: u128) -> Standing {
    Standing { nonce, spendable }
}

fn take(pool: &mut Mempool) -> Vec<PendingTransaction> {
    pool.take_batch(ALL, Millis(0), |_| 0)
}

#[test]
fn a_transaction_behind_a_gap_is_never_taken() {
    let (a, mut pool) = (Client::new(1), pool(|_| {}));
    for nonce in [0, 1, 3] {
        pool.insert(a.offer(nonce, 5)).expect("accepted");
    }
    assert_eq!(pool.ready(), 2);
    assert_eq!(nonces(&take(&mut pool), &a), [0, 1]);
    assert!(take(&mut pool).is_empty());
    pool.insert(a.offer(2, 5)).expect("accepted");
    assert_eq!(pool.ready(), 2);
    assert_eq!(nonces(&take(&mut pool), &a), [2, 3]);
}

#[test]
fn the_fee_chooses_between_senders_and_never_breaks_a_nonce_order() {
    let (a, b, mut pool) = (Client::new(1), Client::new(2), pool(|_| {}));
    // b pays best, but for a nonce that has to wait for its cheap predecessor.
    for (client, nonce, fee) in [(&a, 0, 50), (&b, 0, 10), (&b, 1, 900), (&a, 1, 40)] {
        pool.insert(client.offer(nonce, fee)).expect("accepted");
    }
    let fees: Vec<u128> = take(&mut pool).iter().map(|p| p.fee_per_gas).collect();
    assert_eq!(fees, [50, 40, 10, 900]);
}

#[test]
fn without_fee_priority_the_first_come_is_the_first_served() {
    let (a, b) = (Client::new(1), Client::new(2));
    let mut pool = pool(|c| c.fee_priority = false);
    for (client, nonce, fee) in [(&a, 0, 1), (&b, 0, 900), (&a, 1, 2)] {
        pool.insert(client.offer(nonce, fee)).expect("accepted");
    }
    let fees: Vec<u128> = take(&mut pool).iter().map(|p| p.fee_per_gas).collect();
    assert_eq!(fees, [1, 900, 2]);
}

#[test]
fn each_rule_refuses_with_its_own_code() {
    let a = Client::new(1);
    let mut pool = pool(|c| {
        c.sender_transactions = 3;
        c.nonce_window = 10;
        c.transaction_gas = 50_000;
    });
    pool.insert(a.offer(0, 100)).expect("accepted");
    let code = |r: Result<_, Rejection>| r.map(|_| ()).expect_err("refused").code();
    assert_eq!(code(pool.insert(a.offer(0, 100))), "E_DUPLICATE");
    assert_eq!(code(pool.insert(a.offer(0, 109))), "E_FEE_LOW");
    assert_eq!(code(pool.insert(a.offer(11, 100))), "E_NONCE");
    assert_eq!(
        code(pool.insert(Submission { account: poor(0, 1), ..a.offer(1, 100) })),
        "E_BALANCE"
    );
    // Enough for one, not for both.
    let both = Submission { account: poor(0, 3 * 21_000 * 100 / 2), ..a.offer(1, 100) };
    assert_eq!(code(pool.insert(both)), "E_BALANCE");
    assert_eq!(code(pool.insert(Submission { gas: 50_001, ..a.offer(1, 100) })), "E_GAS_LIMIT");
    pool.insert(a.offer(1, 100)).expect("accepted");
    pool.insert(a.offer(2, 100)).expect("accepted");
    assert_eq!(code(pool.insert(a.offer(3, 100))), "E_SENDER_LIMIT");
    assert_eq!(code(pool.insert(Submission { account: rich(2), ..a.offer(1, 200) })), "E_NONCE");
    assert_eq!(pool.len(), 1, "nonces 0 and 1 are used");
}

#[test]
fn ten_per_cent_more_replaces_unless_the_old_one_is_in_a_batch() {
    let (a, mut pool) = (Client::new(1), pool(|_| {}));
    let old = a.offer(0, 100);
    let old_id = old.id;
    pool.insert(old).expect("accepted");
    let inserted = pool.insert(a.offer(0, 110)).expect("outbid");
    assert_eq!(inserted.replaced, Some(old_id));
    assert_eq!(pool.len(), 1);
    assert_eq!(take(&mut pool)[0].fee_per_gas, 110);
    assert_eq!(pool.insert(a.offer(0, 1_000)), Err(Rejection::Duplicate));
}

#[test]
fn what_is_in_a_batch_counts_until_it_is_committed() {
    let a = Client::new(1);
    let mut pool = pool(|c| c.sender_transactions = 2);
    pool.insert(a.offer(0, 1)).expect("accepted");
    pool.insert(a.offer(1, 1)).expect("accepted");
    assert_eq!(take(&mut pool).len(), 2);
    assert!(matches!(pool.insert(a.offer(2, 1)), Err(Rejection::SenderLimit { .. })));
    assert_eq!(pool.on_committed(&a.account.address, rich(1)).len(), 1);
    pool.insert(a.offer(2, 1)).expect("accepted");
    assert_eq!(nonces(&take(&mut pool), &a), [2]);
}

#[test]
fn a_committed_nonce_of_another_nodes_batch_moves_the_queue_on() {
    let (a, mut pool) = (Client::new(1), pool(|_| {}));
    pool.insert(a.offer(3, 1)).expect("accepted");
    assert!(take(&mut pool).is_empty());
    pool.on_committed(&a.account.address, rich(3));
    assert_eq!(nonces(&take(&mut pool), &a), [3]);
}

#[test]
fn a_transaction_without_effect_waits_for_another_batch_and_not_for_ever() {
    let (a, mut pool) = (Client::new(1), pool(|_| {}));
    let offer = a.offer(0, 1);
    let id = offer.id;
    pool.insert(offer).expect("accepted");
    let mut rounds = 0;
    while pool.contains(&id) {
        assert_eq!(nonces(&take(&mut pool), &a), [0]);
        pool.return_unused(&[id]);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert_eq!(rounds, 9, "taken once, and again eight times");
    assert!(pool.is_empty() && pool.ready() == 0);
}

#[test]
fn a_full_pool_drops_the_tail_behind_the_worst_paid() {
    let (a, b, c) = (Client::new(1), Client::new(2), Client::new(3));
    let mut pool = pool(|config| config.capacity = 3);
    pool.insert(a.offer(0, 10)).expect("accepted");
    let tail = a.offer(1, 500);
    let tail_id = tail.id;
    pool.insert(tail).expect("accepted");
    pool.insert(b.offer(0, 20)).expect("accepted");
    // Equal pay came later: no.
    assert!(matches!(pool.insert(c.offer(0, 10)), Err(Rejection::Full { pending: 3 })));
    // Better paid itself, but behind the worst paid: worth no more than that.
    assert!(matches!(pool.insert(a.offer(2, 900)), Err(Rejection::Full { .. })));
    let inserted = pool.insert(c.offer(0, 11)).expect("better paid");
    assert_eq!(inserted.evicted, Some(tail_id), "a's first one cannot go without a gap");
    assert_eq!(pool.len(), 3);
    assert_eq!(nonces(&take(&mut pool), &a), [0]);
}

#[test]
fn evictions_are_limited_by_mode_and_interval() {
    let clients: Vec<Client> = (1..7).map(Client::new).collect();
    for mode in [EvictionMode::Off, EvictionMode::Warn, EvictionMode::Enforce] {
        let mut pool = pool(|c| {
            c.capacity = 1;
            c.eviction_mode = mode;
            c.evictions_per_interval = 1;
        });
        pool.insert(clients[0].offer(0, 1)).expect("accepted");
        pool.insert(clients[1].offer(0, 2)).expect("the first eviction");
        let second = pool.insert(clients[2].offer(0, 3));
        match mode {
            EvictionMode::Off => assert!(!second.expect("unmetered").is_over_eviction_limit),
            EvictionMode::Warn => assert!(second.expect("noted").is_over_eviction_limit),
            EvictionMode::Enforce => {
                assert_eq!(second, Err(Rejection::Rate));
                let later = Submission { now: Millis(10_000), ..clients[3].offer(0, 3) };
                pool.insert(later).expect("a new interval");
            }
        }
    }
}

#[test]
fn a_batch_respects_count_bytes_and_gas_and_skips_only_the_sender_that_does_not_fit() {
    let (a, b, mut pool) = (Client::new(1), Client::new(2), pool(|_| {}));
    pool.insert(Submission { gas: 90_000, ..a.offer(0, 9) }).expect("accepted");
    pool.insert(a.offer(1, 9)).expect("accepted");
    pool.insert(b.offer(0, 5)).expect("accepted");
    pool.insert(b.offer(1, 5)).expect("accepted");
    let by_gas = pool.clone().take_batch(BatchLimits { gas: 42_000, ..ALL }, Millis(0), |_| 0);
    assert_eq!(nonces(&by_gas, &a), [] as [u64; 0]);
    assert_eq!(nonces(&by_gas, &b), [0, 1]);
    let by_count =
        pool.clone().take_batch(BatchLimits { transactions: 3, ..ALL }, Millis(0), |_| 0);
    assert_eq!(by_count.len(), 3);
    let by_bytes = pool.take_batch(BatchLimits { bytes: 4_000, ..ALL }, Millis(0), |_| 0);
    assert_eq!(by_bytes.len(), 1);
    assert_eq!(pool.ready(), 3);
}

#[test]
fn what_waits_too_long_is_dropped_unless_it_is_in_a_batch() {
    let (a, mut pool) = (Client::new(1), pool(|c| c.lifetime = Millis(1_000)));
    pool.insert(a.offer(0, 1)).expect("accepted");
    pool.insert(a.offer(2, 1)).expect("accepted");
    assert_eq!(take(&mut pool).len(), 1);
    assert!(pool.expire(Millis(999)).is_empty());
    assert_eq!(pool.expire(Millis(1_000)).len(), 1);
    assert_eq!(pool.len(), 1);
}

#[test]
fn what_its_sender_can_no_longer_pay_is_dropped_from_the_end() {
    let (a, b) = (Client::new(1), Client::new(2));
    let (mut pool, cost) = (pool(|_| {}), 1 + 21_000 * 5);
    // Nonce 0 is with another node: these wait for it, all covered.
    for nonce in 1..6 {
        pool.insert(Submission { account: poor(0, 5 * cost), ..a.offer(nonce, 5) })
            .expect("covered");
    }
    pool.insert(b.offer(0, 5)).expect("accepted");
    // It took nearly all the money away.
    let gone = pool.on_committed(&a.account.address, poor(1, 2 * cost));
    assert_eq!(gone.len(), 3);
    assert_eq!(nonces(&take(&mut pool), &a), [1, 2]);
    // What is in a batch stays until the batch is committed, and goes then.
    assert!(pool.on_committed(&a.account.address, poor(1, 0)).is_empty());
    let ids = [a.offer(1, 5).id, a.offer(2, 5).id, b.offer(0, 5).id];
    let returned = pool.return_unused(&ids);
    assert_eq!((returned.requeued, returned.dropped.len()), (vec![ids[2]], 2));
    assert_eq!((pool.len(), pool.ready()), (1, 1));
}

#[test]
fn a_full_pool_takes_nothing_behind_a_gap_and_what_waits_there_goes_first() {
    let (a, b, c) = (Client::new(1), Client::new(2), Client::new(3));
    let mut pool = pool(|c| c.capacity = 4);
    for nonce in [1, 2, 3] {
        pool.insert(a.offer(nonce, 900)).expect("room");
    }
    pool.insert(b.offer(0, 10)).expect("room");
    let full = Err(Rejection::Full { pending: 4 });
    assert_eq!(pool.insert(b.offer(2, 9_000)), full, "nonce 1 is missing");
    assert_eq!(pool.insert(c.offer(1, 9_000)), full, "nonce 0 is missing");
    // The cheapest that can be executed is worth more than the dearest that cannot.
    let inserted = pool.insert(c.offer(0, 1)).expect("a place of one that waits");
    assert_eq!(inserted.evicted, Some(a.offer(3, 900).id));
    // Its first nonce ends the waiting.
    let inserted = pool.insert(a.offer(0, 1)).expect("likewise");
    assert_eq!(inserted.evicted, Some(a.offer(2, 900).id));
    assert_eq!(pool.insert(b.offer(1, 1)), full, "nobody waits, and it pays least");
    assert_eq!(nonces(&take(&mut pool), &a), [0, 1]);
}

/// The pool against a plain model, under every operation in a pseudo-random order.
#[test]
fn counters_and_order_survive_any_sequence_of_operations() {
    let clients: Vec<Client> = (1..5).map(Client::new).collect();
    let offers: Vec<Vec<Submission>> = clients
        .iter()
        .map(|c| (0..12).map(|n| c.offer(n, 1 + (n * 7) as u128 % 5)).collect())
        .collect();
    for seed in 0..40u64 {
        let mut random = crate::cluster::Random::new(seed);
        let mut pool = pool(|c| {
            c.capacity = 20;
            c.evictions_per_interval = 1_000_000;
        });
        let mut committed = [0u64; 4];
        let mut in_batch: Vec<PendingTransaction> = Vec::new();
        for _ in 0..400 {
            let who = random.below(4) as usize;
            match random.below(10) {
                0..=5 => {
                    let mut offer = offers[who][random.below(12) as usize].clone();
                    offer.account = rich(committed[who]);
                    drop(pool.insert(offer));
                }
                6..=7 => {
                    let limit = BatchLimits { transactions: random.below(5) as usize, ..ALL };
                    for taken in pool.take_batch(limit, Millis(0), |_| 0) {
                        let same_sender = |p: &&PendingTransaction| {
                            p.transaction.sender == taken.transaction.sender
                        };
                        let at = clients
                            .iter()
                            .position(|c| c.account.address == taken.transaction.sender)
                            .expect("known");
                        let next =
                            in_batch.iter().filter(same_sender).map(|p| p.transaction.nonce + 1);
                        let expected = next.max().unwrap_or(0).max(committed[at]);
                        assert_eq!(taken.transaction.nonce, expected, "seed {seed}");
                        in_batch.push(taken);
                    }
                }
                8 => {
                    committed[who] = (committed[who] + random.below(3)).min(12);
                    let address = clients[who].account.address;
                    pool.on_committed(&address, rich(committed[who]));
                    let next = committed[who];
                    in_batch
                        .retain(|p| p.transaction.sender != address || p.transaction.nonce >= next);
                }
                _ => {
                    let ids: Vec<_> = in_batch.drain(..).map(|p| p.id).collect();
                    pool.return_unused(&ids);
                }
            }
            assert!(pool.len() <= 20 && pool.ready() + in_batch.len() <= pool.len(), "seed {seed}");
            let held: usize = clients.iter().map(|c| pool.pending_of(&c.account.address)).sum();
            assert_eq!(held, pool.len(), "seed {seed}");
        }
        let ready = pool.ready();
        assert_eq!(take(&mut pool).len(), ready, "seed {seed}");
    }
}
