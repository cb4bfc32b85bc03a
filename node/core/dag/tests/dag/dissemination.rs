//! Honest nodes: what is accepted is committed, once, whatever the network does.

use crate::{
    cluster::{Cluster, Random},
    keys::Account,
};
use qbind_dag::{Event, Note};
use qbind_types::{TxId, ValidatorIndex};
use std::collections::BTreeSet;

fn accepted(cluster: &Cluster) -> BTreeSet<TxId> {
    cluster.nodes.iter().flat_map(|n| n.accepted.iter().copied()).collect()
}

fn committed(cluster: &Cluster) -> BTreeSet<TxId> {
    cluster.committed.keys().copied().collect()
}

/// Proposes in turn until everything accepted is committed.
fn drain(cluster: &mut Cluster, validators: usize) {
    for turn in 0..400 {
        cluster.run(250);
        cluster.propose(turn % validators);
        if committed(cluster) == accepted(cluster) {
            return;
        }
    }
    panic!("{} of {} committed", cluster.committed.len(), accepted(cluster).len());
}

#[test]
fn a_batch_is_certified_by_a_quorum_and_held_by_everybody() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 1, 1);
    let account = Account::new(1);
    for nonce in 0..5 {
        cluster.submit(2, &account, nonce, 10);
    }
    cluster.run(49);
    assert_eq!(cluster.dag(2).sizes().own_backlog, 1, "the interval after the first is not over");
    cluster.run(400);
    for node in 0..5 {
        let dag = cluster.dag(node);
        let refs = dag.candidates(&cluster.included(), 8, u64::MAX, &|_| 1);
        let found: Vec<_> = refs
            .iter()
            .map(|r| (r.creator.0, r.round, dag.batch(&r.id).expect("held").transactions.len()))
            .collect();
        assert_eq!(found, [(2, 0, 1), (2, 1, 4)], "who comes after a pause does not wait");
    }
    assert!(cluster.propose(0));
    assert_eq!(cluster.committed.len(), 5);
    assert!(cluster.dag(2).mempool().is_empty());
    assert!(cluster.nodes[2].disk.pending.is_empty());
    cluster.check_invariants();
}

#[test]
fn full_batches_leave_at_once_until_four_lack_a_certificate() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 1);
    let account = Account::new(1);
    for nonce in 0..65 {
        cluster.submit(0, &account, nonce, 10);
    }
    let now = cluster.now;
    assert_eq!(cluster.dag(0).sizes().own_backlog, 4, "the first, and three times twenty");
    assert_eq!(cluster.now, now);
    cluster.crash(2);
    cluster.crash(3);
    cluster.run(5_000);
    assert_eq!(cluster.dag(0).sizes().own_backlog, 4, "two of four are no quorum");
    cluster.restart(2);
    cluster.run(10_000);
    assert_eq!(cluster.dag(0).sizes().own_backlog, 5);
    let refs = cluster.dag(1).candidates(&cluster.included(), 8, u64::MAX, &|_| 1);
    let sizes: Vec<usize> = refs
        .iter()
        .map(|r| cluster.dag(1).batch(&r.id).expect("held").transactions.len())
        .collect();
    assert_eq!(sizes, [1, 20, 20, 20, 4]);
    cluster.check_invariants();
}

#[test]
fn own_batches_without_a_certificate_go_on_after_a_crash() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 1);
    let account = Account::new(1);
    for nonce in 0..65 {
        cluster.submit(0, &account, nonce, 10);
    }
    // Nobody has heard of them yet, and their creator dies.
    cluster.crash(0);
    cluster.run(1_000);
    cluster.restart(0);
    cluster.run(10_000);
    let refs = cluster.dag(3).candidates(&cluster.included(), 8, u64::MAX, &|_| 1);
    let rounds: Vec<u64> = refs.iter().map(|r| r.round).collect();
    assert_eq!(rounds, [0, 1, 2, 3, 4]);
    drain(&mut cluster, 4);
    assert_eq!(cluster.committed.len(), 65);
    cluster.check_invariants();
}

#[test]
fn a_quorum_is_of_stake() {
    // 10 of 13 is a quorum (9 needed): validator 0 alone; three others together are none.
    let mut cluster = Cluster::new(&[10, 1, 1, 1], 0, 1);
    cluster.crash(0);
    let account = Account::new(1);
    cluster.submit(1, &account, 0, 10);
    cluster.run(10_000);
    assert!(cluster.dag(2).candidates(&cluster.included(), 8, u64::MAX, &|_| 1).is_empty());
    cluster.restart(0);
    cluster.run(10_000);
    assert_eq!(cluster.dag(2).candidates(&cluster.included(), 8, u64::MAX, &|_| 1).len(), 1);
}

#[test]
fn nothing_accepted_is_lost_under_loss_and_reordering() {
    for seed in 0..6 {
        let mut cluster = Cluster::new(&[1, 1, 1, 1], 1, seed);
        cluster.loss = 20;
        cluster.most_delay = 400;
        let mut random = Random::new(seed);
        let accounts: Vec<Account> = (0..4).map(Account::new).collect();
        // One sender's transactions go to different nodes, some to two, in no order.
        for nonce in [1, 0, 2, 4, 3, 5] {
            for account in &accounts {
                cluster.submit(random.below(5) as usize, account, nonce, 10);
                if random.below(4) == 0 {
                    cluster.submit(random.below(5) as usize, account, nonce, 10);
                }
            }
            cluster.run(random.below(300));
            cluster.propose(random.below(4) as usize);
        }
        drain(&mut cluster, 4);
        assert_eq!(cluster.committed.len(), 24, "seed {seed}");
        cluster.check_invariants();
    }
}

#[test]
fn nothing_accepted_is_lost_when_validators_crash_at_any_moment() {
    for seed in 0..6 {
        let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, seed);
        cluster.loss = 5;
        cluster.most_delay = 150;
        let mut random = Random::new(seed ^ 0xC0FFEE);
        let account = Account::new(1);
        for nonce in 0..30 {
            let at = random.below(4) as usize;
            if cluster.nodes[at].dag.is_some() {
                cluster.submit(at, &account, nonce, 10);
            } else {
                cluster.submit((at + 1) % 4, &account, nonce, 10);
            }
            if let Some(down) = (0..4).find(|at| cluster.nodes[*at].dag.is_none()) {
                if random.below(3) == 0 {
                    cluster.restart(down);
                }
            } else if random.below(3) == 0 {
                cluster.crash(random.below(4) as usize);
            }
            cluster.run(random.below(200));
            cluster.propose(random.below(4) as usize);
        }
        if let Some(down) = (0..4).find(|at| cluster.nodes[*at].dag.is_none()) {
            cluster.restart(down);
        }
        drain(&mut cluster, 4);
        assert_eq!(cluster.committed.len(), 30, "seed {seed}");
        cluster.check_invariants();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 7);
        cluster.loss = 20;
        let account = Account::new(1);
        for nonce in 0..10 {
            cluster.submit(nonce as usize % 4, &account, nonce, 10);
        }
        drain(&mut cluster, 4);
        (cluster.blocks, cluster.now)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_restart_sends_the_same_own_batch_again() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 3);
    let account = Account::new(1);
    cluster.submit(0, &account, 0, 10);
    cluster.loss = 100;
    cluster.run(100);
    assert_eq!(cluster.dag(0).sizes().own_backlog, 1);
    cluster.crash(0);
    cluster.restart(0);
    // More work came meanwhile, which must not get into that round.
    cluster.submit(0, &account, 1, 10);
    cluster.run(1_000);
    cluster.loss = 0;
    cluster.run(5_000);
    cluster.propose(1);
    cluster.run(1_000);
    cluster.propose(1);
    assert_eq!(cluster.committed.len(), 2);
    cluster.check_invariants();
    assert_eq!(cluster.signed_batches.len(), 2);
}

#[test]
fn a_full_node_holds_fetches_and_forwards_but_never_acks() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 2, 3);
    let account = Account::new(1);
    for nonce in 0..3 {
        cluster.submit(4, &account, nonce, 10);
    }
    drain(&mut cluster, 4);
    assert!(cluster.nodes[4].disk.pending.is_empty());
    assert!(cluster.dag(4).mempool().is_empty());
    assert_eq!(cluster.nodes[5].disk.batches.len(), cluster.blocks.iter().flatten().count());
    assert!(cluster.signed_acks.keys().all(|(validator, ..)| *validator < 4));
}

#[test]
fn a_full_node_forwards_to_a_near_validator_and_to_another_if_that_fails() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 1, 3);
    let now = cluster.now;
    cluster.feed(4, Event::Near { validators: vec![ValidatorIndex(2)], now });
    cluster.submit(4, &Account::new(1), 0, 10);
    cluster.run(100);
    assert_eq!(cluster.nodes[2].accepted.len(), 1);
    cluster.crash(2);
    cluster.submit(4, &Account::new(2), 0, 10);
    cluster.run(20_000);
    let others: usize = [0, 1, 3].map(|node| cluster.nodes[node].accepted.len()).iter().sum();
    assert!(others > 0, "a validator that is down keeps nothing");
}

#[test]
fn a_node_that_was_down_fetches_what_was_committed_meanwhile_even_from_disks() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 3);
    let account = Account::new(1);
    cluster.crash(3);
    for nonce in 0..15 {
        cluster.submit(0, &account, nonce, 10);
        cluster.run(500);
        assert!(cluster.propose(0));
    }
    assert_eq!(cluster.blocks.len(), 15);
    cluster.restart(3);
    for _ in 0..40 {
        cluster.run(500);
        cluster.propose(1);
    }
    assert_eq!(cluster.dag(3).included(ValidatorIndex(0)), 15);
    assert_eq!(cluster.nodes[3].disk.batches.len(), 15);
    assert!(cluster.nodes[3].notes.contains(&Note::Fetched));
}

#[test]
fn two_nodes_with_the_same_nonce_commit_it_once_and_forget_the_other() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 3);
    let account = Account::new(1);
    cluster.submit(0, &account, 0, 10);
    // Another transaction of the same nonce, given to another node.
    cluster.submit(1, &account, 0, 99);
    cluster.run(2_000);
    cluster.propose(2);
    cluster.run(1_000);
    assert_eq!(cluster.committed.len(), 1);
    for node in 0..4 {
        assert!(cluster.dag(node).mempool().is_empty());
        assert!(cluster.nodes[node].disk.pending.is_empty());
    }
}

#[test]
fn acks_that_were_lost_are_asked_for_again_and_their_certificate_announced() {
    let mut cluster = Cluster::new(&[1, 1, 1, 1], 0, 3);
    cluster.most_delay = 1;
    cluster.submit(0, &Account::new(1), 0, 10);
    // The batch is on its way; every ack is lost.
    cluster.loss = 100;
    cluster.run(10);
    cluster.loss = 0;
    let known = |cluster: &Cluster| {
        cluster.nodes.iter().filter(|n| !n.disk.certificates.is_empty()).count()
    };
    assert_eq!(known(&cluster), 0);
    cluster.run(1_500);
    assert_eq!(known(&cluster), 1, "the creator asked again, and alone was answered");
    cluster.run(2_000);
    assert_eq!(known(&cluster), 4);
    assert!(cluster.propose(2));
    cluster.run(60_000);
    assert!(cluster.dag(0).next_deadline().is_none(), "nothing left to do");
}

#[test]
fn a_committed_transaction_without_effect_is_put_in_another_batch() {
    let mut cluster = Cluster::new(&[1], 0, 3);
    let account = Account::new(1);
    let id = cluster.submit(0, &account, 0, 10);
    cluster.run(100);
    let refs = cluster.dag(0).candidates(&cluster.included(), 8, u64::MAX, &|_| 1);
    assert_eq!(refs.len(), 1);
    // The ledger could not charge it: the account's nonce is what it was.
    let now = cluster.now;
    cluster.feed(0, Event::Committed { refs: refs.clone(), accounts: vec![], now });
    assert!(cluster.nodes[0].notes.contains(&Note::Requeued { count: 1 }));
    assert!(cluster.nodes[0].disk.pending.contains_key(&id));
    cluster.run(100);
    let included = [(ValidatorIndex(0), 1)].into();
    let again = cluster.dag(0).candidates(&included, 8, u64::MAX, &|_| 1);
    assert_eq!(again.len(), 1);
    assert_eq!(cluster.dag(0).batch(&again[0].id).expect("held").transactions.len(), 1);
}
