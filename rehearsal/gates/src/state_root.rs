//! The state root, computed here from balances and nonces, not by the node's code; only the digest of
//! what the state holds beside accounts is the nodes' word.
//!
//! A binary Merkle tree over 256-bit keys in which a subtree with one account is that account's
//! leaf and an empty one a constant (the Jellyfish Merkle tree's hashing, with SHA3-256): leaf
//! `H("JMT::LeafNode" ‖ key ‖ H(value))`, inner node `H("JMT::IntrnalNode" ‖ left ‖ right)`, key
//! `H("acct:" ‖ address)`, value nonce (u64) and balance (u128), big-endian.

use qbind_crypto::sha3_256;
use qbind_types::{Address, StateRoot, SystemRoot};
use std::collections::BTreeMap;

const EMPTY: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: u128,
}

/// Leaves by key; only changed ones are hashed again.
#[derive(Debug, Default)]
pub(crate) struct Leaves(BTreeMap<[u8; 32], [u8; 32]>);

impl Leaves {
    pub(crate) fn set(&mut self, address: &Address, account: Account) {
        let key = sha3_256(&[b"acct:", &address.0]);
        let value = sha3_256(&[&account.nonce.to_be_bytes(), &account.balance.to_be_bytes()]);
        self.0.insert(key, sha3_256(&[b"JMT::LeafNode", &key, &value]));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn root(&self) -> AccountsRoot {
        let leaves: Vec<_> = self.0.iter().collect();
        AccountsRoot(subtree(&leaves, 0))
    }
}

/// Root of the accounts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountsRoot(pub(crate) [u8; 32]);

impl AccountsRoot {
    /// The state root, with what nodes say of the state beside the accounts: no other word leads from
    /// these accounts to the root that a quorum certified.
    pub(crate) fn with(self, system: &SystemRoot) -> StateRoot {
        StateRoot(sha3_256(&[b"QBIND:STATE:v1", &self.0, &system.0]))
    }
}

/// *Shape*: `leaves` ascend by key and agree in the first `depth` bits.
fn subtree(leaves: &[(&[u8; 32], &[u8; 32])], depth: usize) -> [u8; 32] {
    match leaves {
        [] => EMPTY,
        [(_, leaf)] => **leaf,
        _ => {
            let is_left = |key: &[u8; 32]| key[depth / 8] >> (7 - depth % 8) & 1 == 0;
            let (left, right) = leaves.split_at(leaves.partition_point(|(k, _)| is_left(k)));
            let (left, right) = (subtree(left, depth + 1), subtree(right, depth + 1));
            sha3_256(&[b"JMT::IntrnalNode", &left, &right])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jmt::{JellyfishMerkleTree, KeyHash, SimpleHasher, mock::MockTreeStore};
    use sha3::{Digest, Sha3_256};

    struct Hasher(Sha3_256);

    impl SimpleHasher for Hasher {
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

    #[test]
    fn agrees_with_the_tree_library() {
        let mut leaves = Leaves::default();
        let store = MockTreeStore::default();
        let tree = JellyfishMerkleTree::<_, Hasher>::new(&store);
        for n in 0..200u64 {
            let address = Address(sha3_256(&[&(n % 150).to_be_bytes()]));
            let account = Account { nonce: n, balance: u128::from(n) << 70 };
            leaves.set(&address, account);
            let key = KeyHash(sha3_256(&[b"acct:", &address.0]));
            let mut value = n.to_be_bytes().to_vec();
            value.extend_from_slice(&account.balance.to_be_bytes());
            let (root, batch) = tree.put_value_set([(key, Some(value))], n).unwrap();
            store.write_tree_update_batch(batch).unwrap();
            assert_eq!(leaves.root().0, root.0, "after {n}");
        }
        assert_eq!(leaves.len(), 150);
    }
}
