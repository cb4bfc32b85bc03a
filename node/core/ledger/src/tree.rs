//! The authenticated accounts: a Jellyfish Merkle tree over all accounts, kept in memory.
//!
//! Only the newest version's nodes are kept; the accounts themselves live in the ledger.

use crate::{Account, account_key, hash};
use alloc::{collections::BTreeMap, vec::Vec};
use jmt::{
    JellyfishMerkleTree, KeyHash, OwnedValue, RootHash, Version,
    proof::SparseMerkleProof,
    storage::{LeafNode, Node, NodeKey, TreeReader},
};
use qbind_types::Address;

pub(crate) type Hasher = hash::TreeHasher;

/// The tree library's errors are all about nodes missing from the store, which here would be our
/// own fault.
const COMPLETE: &str = "the store holds every node of the newest version";

/// The tree's place for an account.
pub(crate) fn key_hash(address: &Address) -> KeyHash {
    KeyHash(hash::sha3_256(&[&account_key(address)]))
}

/// The newest version of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    nodes: BTreeMap<NodeKey, Node>,
    /// Version of the next update; the library wants them consecutive.
    next_version: Version,
    root: RootHash,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            next_version: 0,
            root: JellyfishMerkleTree::<Nodes<'_>, Hasher>::EMPTY_ROOT,
        }
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        self.root.0
    }

    /// Writes accounts and forgets the nodes that no longer belong to the tree.
    pub(crate) fn update(&mut self, changes: &[(Address, Account)]) {
        if changes.is_empty() {
            return;
        }
        let values: Vec<(KeyHash, OwnedValue)> = changes
            .iter()
            .map(|(address, account)| (key_hash(address), account.encode().to_vec()))
            .collect();
        let reader = Nodes { nodes: &self.nodes, value: None };
        let (roots, batch) = JellyfishMerkleTree::<_, Hasher>::new(&reader)
            .batch_put_value_sets(alloc::vec![values], None, self.next_version)
            .expect(COMPLETE);
        for stale in &batch.stale_node_index_batch {
            self.nodes.remove(&stale.node_key);
        }
        for (key, node) in batch.node_batch.nodes() {
            self.nodes.insert(key.clone(), node.clone());
        }
        self.root = roots[0];
        self.next_version += 1;
    }

    /// The path from an account (or the gap where it would be) to the root.
    pub(crate) fn prove(
        &self,
        address: &Address,
        account: Option<Account>,
    ) -> Option<SparseMerkleProof<Hasher>> {
        let version = self.next_version.checked_sub(1)?;
        let value = account.map(|account| account.encode().to_vec());
        let reader = Nodes { nodes: &self.nodes, value };
        let (_, proof) = JellyfishMerkleTree::<_, Hasher>::new(&reader)
            .get_with_proof(key_hash(address), version)
            .expect(COMPLETE);
        Some(proof)
    }

    /// Nodes kept.
    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

/// What the library reads: nodes, and the one value a proof is about.
struct Nodes<'a> {
    nodes: &'a BTreeMap<NodeKey, Node>,
    value: Option<OwnedValue>,
}

impl TreeReader for Nodes<'_> {
    fn get_node_option(&self, node_key: &NodeKey) -> Result<Option<Node>, anyhow::Error> {
        Ok(self.nodes.get(node_key).cloned())
    }

    fn get_value_option(
        &self,
        _max_version: Version,
        _key_hash: KeyHash,
    ) -> Result<Option<OwnedValue>, anyhow::Error> {
        Ok(self.value.clone())
    }

    fn get_rightmost_leaf(&self) -> Result<Option<(NodeKey, LeafNode)>, anyhow::Error> {
        // Asked only while restoring from chunks, which we do not do.
        Ok(None)
    }
}
