//! The tree hashes as the library it took the place of, whatever the order and the number of threads.

use crate::{Account, LevelRunner, SerialRunner, tree::Tree};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use jmt::{JellyfishMerkleTree, KeyHash, SimpleHasher, mock::MockTreeStore};
use proptest::{prelude::*, test_runner::TestRunner};
use qbind_types::{Address, SystemRoot};
use sha3::{Digest, Sha3_256};

struct Sha3(Sha3_256);

impl SimpleHasher for Sha3 {
    fn new() -> Self {
        Self(Sha3_256::new())
    }
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finalize(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The last job first.
struct Backwards;

impl LevelRunner for Backwards {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).rev().for_each(job);
    }
}

type Change = ([u8; 32], Account);

/// The root after each of the steps, by the library.
fn library(steps: &[Vec<Change>]) -> Vec<[u8; 32]> {
    let store = MockTreeStore::default();
    let tree = JellyfishMerkleTree::<_, Sha3>::new(&store);
    let mut roots = Vec::new();
    for (version, step) in (0..).zip(steps) {
        let values = step.iter().map(|(key, a)| (KeyHash(*key), Some(a.encode().to_vec())));
        let (root, batch) = tree.put_value_set(values, version).expect("complete");
        store.write_tree_update_batch(batch).expect("in memory");
        roots.push(root.0);
    }
    roots
}

fn ours(steps: &[Vec<Change>], runner: &dyn LevelRunner) -> Vec<[u8; 32]> {
    let mut tree = Tree::new();
    steps
        .iter()
        .map(|step| {
            tree.place(step, runner);
            tree.root()
        })
        .collect()
}

/// Keys of which some share a long beginning, so that paths get deep.
fn key() -> impl Strategy<Value = [u8; 32]> {
    let near = (0usize..32, any::<u8>(), 0u8..3).prop_map(|(at, byte, family)| {
        let mut key = [family.wrapping_mul(0x55); 32];
        key[at] = byte;
        key
    });
    prop_oneof![any::<[u8; 32]>(), near]
}

fn steps() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let account = (any::<u64>(), any::<u128>());
    let account = account.prop_map(|(nonce, balance)| Account { nonce, balance });
    let step = prop::collection::btree_map(key(), account, 1..60);
    prop::collection::vec(step.prop_map(|step| step.into_iter().collect()), 1..6)
}

#[test]
fn roots_are_those_of_a_jellyfish_merkle_tree() {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })
        .run(&steps(), |steps| {
            let expected = library(&steps);
            prop_assert_eq!(&ours(&steps, &SerialRunner), &expected);
            prop_assert_eq!(&ours(&steps, &Backwards), &expected);
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
}

fn address(n: u64) -> Address {
    Address(Sha3_256::digest(n.to_be_bytes()).into())
}

fn accounts(count: u64, balance: u128) -> Vec<(Address, Account)> {
    (0..count).map(|n| (address(n), Account { nonce: n, balance })).collect()
}

#[test]
fn the_root_depends_on_the_accounts_alone() {
    let all = accounts(1_000, 7);
    let mut whole = Tree::new();
    whole.update(&all, &SerialRunner);
    for (size, runner) in
        [(1, &SerialRunner as &dyn LevelRunner), (7, &Backwards), (300, &Backwards)]
    {
        let mut pieces = Tree::new();
        pieces.update(&accounts(500, 9), runner);
        all.rchunks(size).for_each(|piece| pieces.update(piece, runner));
        assert_eq!(pieces.root(), whole.root(), "in pieces of {size}");
    }
    let mut other = Tree::new();
    other.update(&all[1..], &SerialRunner);
    assert_ne!(whole.root(), other.root());
}

#[test]
fn a_tree_of_before_stays_and_shares_what_did_not_change() {
    let mut tree = Tree::new();
    tree.update(&accounts(10_000, 1), &SerialRunner);
    let before = tree.clone();
    let prove = |tree: &Tree| tree.prove(address(3), SystemRoot::default());
    let (root, path) = (before.root(), prove(&before));
    tree.update(&[(address(3), Account::default())], &SerialRunner);
    assert_eq!((before.root(), prove(&before)), (root, path));
    assert_ne!(tree.root(), root);
    let new = tree.beside(&before);
    assert!((2..30).contains(&new), "{new} new nodes for one account of 10,000");
}

#[test]
fn a_runner_that_skips_or_repeats_is_noticed() {
    struct Skips;
    impl LevelRunner for Skips {
        fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
            (1..jobs).for_each(job);
        }
    }
    struct Repeats;
    impl LevelRunner for Repeats {
        fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
            (0..jobs).chain([0]).for_each(job);
        }
    }
    extern crate std;
    for runner in [Box::new(Skips) as Box<dyn LevelRunner>, Box::new(Repeats)] {
        let update = || Tree::new().update(&accounts(100, 1), &*runner);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(update)).is_err());
    }
}

#[test]
fn every_account_and_every_gap_has_its_path() {
    let all: BTreeMap<Address, Account> = accounts(300, 5).into_iter().collect();
    let mut tree = Tree::new();
    tree.update(&all.iter().map(|(a, b)| (*a, *b)).collect::<Vec<_>>(), &SerialRunner);
    for n in 0..600 {
        let proof = tree.prove(address(n), SystemRoot::default());
        let root = qbind_crypto::state_root(&tree.root(), &proof.system_root);
        assert_eq!(proof.verify(root), Ok(()));
        let found = proof.account().map(|a| Account { nonce: a.nonce, balance: a.balance });
        assert_eq!(found, all.get(&address(n)).copied());
    }
}
