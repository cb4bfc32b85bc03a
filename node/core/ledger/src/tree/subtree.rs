//! Nodes of the tree.
//!
//! Up to [`FEW`] accounts share one node, ordered by key: most of a tree's nodes are at its lower
//! end, and as single ones they would take more memory than the accounts in them.

use crate::{ACCOUNT_BYTES, Account};
use alloc::{sync::Arc, vec::Vec};
use core::cmp::Ordering;
use qbind_crypto::{EMPTY_TREE, PathEnd, ProvenAccount, inner_hash, leaf_hash, sha3_256};

/// Accounts in one node at most.
const FEW: usize = 8;

/// The hash of an account as a leaf's value.
fn value_hash(account: &Account) -> [u8; 32] {
    sha3_256(&[&account.encode()])
}

/// The bit of a key that decides at this depth, from the root down.
fn bit(key: &[u8; 32], depth: usize) -> bool {
    key[depth / 8] >> (7 - depth % 8) & 1 == 1
}

/// An account where it is in the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    key: [u8; 32],
    hash: [u8; 32],
    value: [u8; ACCOUNT_BYTES],
}

impl Leaf {
    pub(super) fn new(key: [u8; 32], account: &Account) -> Self {
        Self { key, hash: leaf_hash(&key, &value_hash(account)), value: account.encode() }
    }

    fn account(&self) -> Account {
        Account::decode(&self.value).expect("of its own length")
    }

    pub(super) fn by_key(a: &Self, b: &Self) -> Ordering {
        a.key.cmp(&b.key)
    }
}

/// Those whose keys go left at this depth, and those whose keys go right.
pub(super) fn split(leaves: &[Leaf], depth: usize) -> [&[Leaf]; 2] {
    leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.key, depth))).into()
}

/// The hash over leaves that share their first `depth` bits.
fn hash_of(depth: usize, leaves: &[Leaf]) -> [u8; 32] {
    match leaves {
        [] => EMPTY_TREE,
        [leaf] => leaf.hash,
        _ => {
            let [left, right] = split(leaves, depth).map(|part| hash_of(depth + 1, part));
            inner_hash(&left, &right)
        }
    }
}

/// The accounts whose keys begin with the same bits, as many as the subtree is deep.
#[derive(Debug, Clone)]
pub(super) struct Subtree {
    hash: [u8; 32],
    node: Node,
}

#[derive(Debug, Clone)]
enum Node {
    /// At most [`FEW`], ascending.
    Few(Arc<[Leaf]>),
    /// More than that: left, right.
    Inner(Arc<[Subtree; 2]>),
}

impl Subtree {
    /// *Shape*: leaves ascend, each key once, all with the same first `depth` bits.
    pub(super) fn build(depth: usize, leaves: &[Leaf]) -> Self {
        if leaves.len() <= FEW {
            return Self { hash: hash_of(depth, leaves), node: Node::Few(leaves.into()) };
        }
        Self::inner(split(leaves, depth).map(|part| Self::build(depth + 1, part)))
    }

    fn inner(parts: [Self; 2]) -> Self {
        let hash = inner_hash(&parts[0].hash, &parts[1].hash);
        Self { hash, node: Node::Inner(Arc::new(parts)) }
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// This subtree with leaves written. *Shape*: as for [`Subtree::build`].
    pub(super) fn with(&self, depth: usize, leaves: &[Leaf]) -> Self {
        if leaves.is_empty() {
            return self.clone();
        }
        match &self.node {
            Node::Few(few) => Self::build(depth, &merge(few, leaves)),
            Node::Inner(parts) => {
                let [left, right] = split(leaves, depth);
                Self::inner([parts[0].with(depth + 1, left), parts[1].with(depth + 1, right)])
            }
        }
    }

    /// Its two halves.
    pub(super) fn split(&self, depth: usize) -> [Self; 2] {
        match &self.node {
            Node::Few(few) => split(few, depth).map(|part| Self::build(depth + 1, part)),
            Node::Inner(parts) => parts.as_ref().clone(),
        }
    }

    /// The subtree with these halves.
    pub(super) fn join(depth: usize, left: &Self, right: &Self) -> Self {
        if let (Node::Few(a), Node::Few(b)) = (&left.node, &right.node)
            && a.len() + b.len() <= FEW
        {
            return Self::build(depth, &[&a[..], &b[..]].concat());
        }
        Self::inner([left.clone(), right.clone()])
    }

    /// What the way of a key through this subtree, which is the whole tree, ends in, and the hashes
    /// beside it, the lowest first.
    pub(super) fn path(&self, key: &[u8; 32]) -> (PathEnd, Vec<[u8; 32]>) {
        let mut siblings = Vec::new();
        let mut subtree = self;
        let few = loop {
            match &subtree.node {
                Node::Few(few) => break few,
                Node::Inner(parts) => {
                    let side = usize::from(bit(key, siblings.len()));
                    siblings.push(parts[1 - side].hash);
                    subtree = &parts[side];
                }
            }
        };
        let mut rest = &few[..];
        while rest.len() > 1 {
            let depth = siblings.len();
            let parts = split(rest, depth);
            let side = usize::from(bit(key, depth));
            siblings.push(hash_of(depth + 1, parts[1 - side]));
            rest = parts[side];
        }
        siblings.reverse();
        let end = match rest {
            [] => PathEnd::Empty,
            [leaf, ..] if leaf.key == *key => {
                let Account { nonce, balance } = leaf.account();
                PathEnd::Account(ProvenAccount { nonce, balance })
            }
            [leaf, ..] => PathEnd::Other { key: leaf.key, value: value_hash(&leaf.account()) },
        };
        (end, siblings)
    }

    #[cfg(test)]
    pub(super) fn beside(&self, other: &Self) -> usize {
        match (&self.node, &other.node) {
            (Node::Few(a), Node::Few(b)) if Arc::ptr_eq(a, b) => 0,
            (Node::Inner(a), Node::Inner(b)) if Arc::ptr_eq(a, b) => 0,
            (Node::Inner(a), Node::Inner(b)) => 1 + a[0].beside(&b[0]) + a[1].beside(&b[1]),
            _ => 1,
        }
    }
}

/// Both in the order of keys; of two leaves with one key, the new one.
fn merge(old: &[Leaf], new: &[Leaf]) -> Vec<Leaf> {
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut old = old.iter().peekable();
    for leaf in new {
        while let Some(before) = old.next_if(|before| before.key < leaf.key) {
            merged.push(*before);
        }
        old.next_if(|same| same.key == leaf.key);
        merged.push(*leaf);
    }
    merged.extend(old);
    merged
}
