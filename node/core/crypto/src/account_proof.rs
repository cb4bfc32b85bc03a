//! A proof of one account's state, for whoever trusts a state root and nothing else.
//!
//! Accounts are the leaves of a binary Merkle tree over 256-bit keys in which a subtree with one
//! account is that account's leaf and an empty one a constant (the Jellyfish Merkle tree's hashing,
//! with SHA3-256): leaf `H("JMT::LeafNode" ‖ key ‖ H(value))`, inner node
//! `H("JMT::IntrnalNode" ‖ left ‖ right)`, key `H("acct:" ‖ address)`, value nonce (u64) and balance
//! (u128), big-endian. The state root binds the tree's root and that of everything else.

use crate::sha3_256;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{Address, StateRoot, SystemRoot};
use thiserror::Error;

/// The root of a tree, or subtree, without accounts.
pub const EMPTY_TREE: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";
/// Bits of a key: no path is longer.
const MOST_SIBLINGS: usize = 256;

/// The state root of a state whose accounts and whose other parts have these roots.
pub fn state_root(accounts: &[u8; 32], system: &SystemRoot) -> StateRoot {
    StateRoot(sha3_256(&[b"QBIND:STATE:v1", accounts, &system.0]))
}

/// An account's place in the tree.
pub fn account_key(address: &Address) -> [u8; 32] {
    sha3_256(&[b"acct:", &address.0])
}

/// The hash of a leaf: a key, and the hash of its value.
pub fn leaf_hash(key: &[u8; 32], value: &[u8; 32]) -> [u8; 32] {
    sha3_256(&[b"JMT::LeafNode", key, value])
}

/// The hash of a node with two subtrees.
pub fn inner_hash(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha3_256(&[b"JMT::IntrnalNode", left, right])
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ProvenAccount {
    /// The nonce its next transaction must carry.
    pub nonce: u64,
    /// Smallest units it holds.
    pub balance: u128,
}

impl ProvenAccount {
    /// The hash of it as a leaf's value.
    pub fn value_hash(&self) -> [u8; 32] {
        sha3_256(&[&self.nonce.to_be_bytes(), &self.balance.to_be_bytes()])
    }
}

/// What the path of an account ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PathEnd {
    /// Its leaf.
    Account(ProvenAccount),
    /// A subtree without accounts: this one does not exist.
    Empty,
    /// The leaf of the only account of the subtree, which is another: this one does not exist.
    Other {
        /// The other's place in the tree.
        key: [u8; 32],
        /// The hash of its value.
        value: [u8; 32],
    },
}

/// One account at one state root, with the path that proves it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// Its state, or what shows that the state does not hold it.
    pub end: PathEnd,
    /// Hashes of the subtrees beside the path. *Shape*: the lowest first, at most 256.
    pub siblings: Vec<[u8; 32]>,
    /// The root of everything in the state that is no account.
    pub system_root: SystemRoot,
}

/// Why a proof shows nothing: the prover's fault, or the root is of another height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccountProofError {
    /// No tree has such a path.
    #[error("the path of account {address} has {siblings} steps, at most 256 can be")]
    TooLong {
        /// Whose.
        address: Address,
        /// Steps given.
        siblings: usize,
    },
    /// The other account's leaf would not be where the path ends.
    #[error("what the path of account {address} ends in does not show that it is absent")]
    NotAbsent {
        /// Whose.
        address: Address,
    },
    /// Some hash is another.
    #[error("the proof of account {address} leads to state root {got}, expected {expected}")]
    Root {
        /// Whose.
        address: Address,
        /// Where it leads.
        got: StateRoot,
        /// Where it should have led.
        expected: StateRoot,
    },
}

impl AccountProof {
    /// The account; `None` if the state does not hold it.
    pub fn account(&self) -> Option<ProvenAccount> {
        match self.end {
            PathEnd::Account(account) => Some(account),
            PathEnd::Empty | PathEnd::Other { .. } => None,
        }
    }

    /// Checks that the account is, or is absent, at this state root.
    ///
    /// # Errors
    /// The prover's fault, or `root` is of another height.
    pub fn verify(&self, root: StateRoot) -> Result<(), AccountProofError> {
        let address = self.address;
        let key = account_key(&address);
        let depth = self.siblings.len();
        if depth > MOST_SIBLINGS {
            return Err(AccountProofError::TooLong { address, siblings: depth });
        }
        let end = match &self.end {
            PathEnd::Account(account) => leaf_hash(&key, &account.value_hash()),
            PathEnd::Empty => EMPTY_TREE,
            PathEnd::Other { key: other, value } => {
                let is_beside =
                    *other != key && (0..depth).all(|at| bit(other, at) == bit(&key, at));
                if !is_beside {
                    return Err(AccountProofError::NotAbsent { address });
                }
                leaf_hash(other, value)
            }
        };
        let accounts =
            self.siblings.iter().zip((0..depth).rev()).fold(end, |below, (beside, at)| {
                match bit(&key, at) {
                    true => inner_hash(beside, &below),
                    false => inner_hash(&below, beside),
                }
            });
        let got = state_root(&accounts, &self.system_root);
        match got == root {
            true => Ok(()),
            false => Err(AccountProofError::Root { address, got, expected: root }),
        }
    }
}

/// The bit of a key that decides at this depth, from the root down.
fn bit(key: &[u8; 32], at: usize) -> bool {
    key[at / 8] >> (7 - at % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_types::{decode, encode};
    use std::collections::BTreeMap;

    type Leaves = Vec<([u8; 32], [u8; 32])>;

    /// The plainest tree there is: no nodes, only subtrees.
    fn subtree(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
        match leaves {
            [] => EMPTY_TREE,
            [(key, value)] => leaf_hash(key, value),
            _ => {
                let (left, right) = split(leaves, depth);
                inner_hash(&subtree(left, depth + 1), &subtree(right, depth + 1))
            }
        }
    }

    type Pairs = [([u8; 32], [u8; 32])];

    fn split(leaves: &Pairs, depth: usize) -> (&Pairs, &Pairs) {
        leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, depth)))
    }

    fn address(n: u64) -> Address {
        Address(sha3_256(&[&n.to_be_bytes()]))
    }

    fn state(count: u64) -> (BTreeMap<u64, ProvenAccount>, Leaves) {
        let accounts: BTreeMap<u64, ProvenAccount> = (0..count)
            .map(|n| (n, ProvenAccount { nonce: n, balance: u128::from(n) << 70 }))
            .collect();
        let mut leaves: Leaves =
            accounts.iter().map(|(n, a)| (account_key(&address(*n)), a.value_hash())).collect();
        leaves.sort_unstable();
        (accounts, leaves)
    }

    fn prove(accounts: &BTreeMap<u64, ProvenAccount>, leaves: &Leaves, n: u64) -> AccountProof {
        let key = account_key(&address(n));
        let (mut rest, mut siblings) = (&leaves[..], Vec::new());
        while rest.len() > 1 {
            let depth = siblings.len();
            let (left, right) = split(rest, depth);
            let (with, beside) = if bit(&key, depth) { (right, left) } else { (left, right) };
            siblings.push(subtree(beside, depth + 1));
            rest = with;
        }
        siblings.reverse();
        let end = match (rest, accounts.get(&n)) {
            ([], _) => PathEnd::Empty,
            (_, Some(account)) => PathEnd::Account(*account),
            (leaf, None) => PathEnd::Other { key: leaf[0].0, value: leaf[0].1 },
        };
        AccountProof { address: address(n), end, siblings, system_root: SystemRoot([7; 32]) }
    }

    #[test]
    fn accounts_and_their_absence_are_proven_and_nothing_else_is() {
        for count in [0, 1, 2, 3, 50] {
            let (accounts, leaves) = state(count);
            let root = state_root(&subtree(&leaves, 0), &SystemRoot([7; 32]));
            let mut absences = Vec::new();
            for n in 0..count + 40 {
                let proof = prove(&accounts, &leaves, n);
                assert_eq!(proof.account(), accounts.get(&n).copied());
                proof.verify(root).unwrap();
                assert_eq!(decode::<AccountProof>(&encode(&proof)), Ok(proof.clone()));
                refuses_every_change(&proof, root);
                absences.push(core::mem::discriminant(&proof.end));
            }
            let other = core::mem::discriminant(&PathEnd::Other { key: [0; 32], value: [0; 32] });
            assert_eq!(absences.contains(&other), count > 0, "both kinds of absence are tried");
        }
    }

    #[track_caller]
    fn refuses_every_change(proof: &AccountProof, root: StateRoot) {
        let refuses = |changed: AccountProof, what: &str| {
            assert!(changed.verify(root).is_err(), "{what}: {changed:?}");
        };
        match proof.end {
            PathEnd::Account(account) => {
                let richer = ProvenAccount { balance: account.balance + 1, ..account };
                refuses(AccountProof { end: PathEnd::Account(richer), ..proof.clone() }, "balance");
                let later = ProvenAccount { nonce: account.nonce + 1, ..account };
                refuses(AccountProof { end: PathEnd::Account(later), ..proof.clone() }, "nonce");
                refuses(AccountProof { end: PathEnd::Empty, ..proof.clone() }, "denied");
                refuses(AccountProof { address: Address([9; 32]), ..proof.clone() }, "another's");
                let key = account_key(&proof.address);
                let own = PathEnd::Other { key, value: account.value_hash() };
                refuses(AccountProof { end: own, ..proof.clone() }, "its own leaf as another's");
            }
            PathEnd::Empty | PathEnd::Other { .. } => {
                let made_up = PathEnd::Account(ProvenAccount::default());
                refuses(AccountProof { end: made_up, ..proof.clone() }, "made up");
            }
        }
        for at in 0..proof.siblings.len() {
            let mut changed = proof.clone();
            changed.siblings[at][0] ^= 1;
            refuses(changed, "a sibling");
            let mut shorter = proof.clone();
            shorter.siblings.remove(at);
            refuses(shorter, "a step less");
        }
        let mut longer = proof.clone();
        longer.siblings.push(EMPTY_TREE);
        refuses(longer, "a step more");
        refuses(AccountProof { system_root: SystemRoot([8; 32]), ..proof.clone() }, "system root");
        let endless = AccountProof { siblings: vec![EMPTY_TREE; 257], ..proof.clone() };
        assert!(matches!(endless.verify(root), Err(AccountProofError::TooLong { .. })));
        assert!(proof.verify(StateRoot([1; 32])).is_err(), "another root");
    }

    #[test]
    fn a_leaf_from_elsewhere_shows_no_absence() {
        let (accounts, leaves) = state(50);
        let root = state_root(&subtree(&leaves, 0), &SystemRoot([7; 32]));
        let of = prove(&accounts, &leaves, 3);
        let from = prove(&accounts, &leaves, 4);
        let key = account_key(&from.address);
        let value = from.account().unwrap().value_hash();
        // The path is the other account's, the address ours.
        let lie = AccountProof { address: of.address, end: PathEnd::Other { key, value }, ..from };
        let address = of.address;
        assert_eq!(lie.verify(root), Err(AccountProofError::NotAbsent { address }));
    }
}
