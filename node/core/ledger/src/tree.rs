//! The authenticated state: a binary Merkle tree over all accounts, kept in memory.
//!
//! It hashes as a Jellyfish Merkle tree does (a subtree with one account is that account's leaf, an
//! empty one a constant), so its root depends on the accounts alone. Nodes are shared and never
//! change: an update makes new ones along its paths, and a tree kept from before goes on as it was.

mod subtree;

use crate::{Account, LevelRunner, jobs};
use alloc::vec::Vec;
use qbind_crypto::{AccountProof, account_key};
use qbind_types::{Address, SystemRoot};
use subtree::{Leaf, Subtree};

/// Changes from which on the work is shared out.
const MANY: usize = 64;
/// Depth of the subtrees that are worked on side by side.
const FAN_BITS: usize = 4;
/// Pieces of work.
const JOBS: usize = 1 << FAN_BITS;

/// All accounts after one block. A clone shares everything.
#[derive(Debug, Clone)]
pub(crate) struct Tree(Subtree);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(Subtree::build(0, &[]))
    }

    pub(crate) fn root(&self) -> [u8; 32] {
        self.0.hash()
    }

    /// Writes accounts; each address occurs once.
    pub(crate) fn update(&mut self, changes: &[(Address, Account)], runner: &dyn LevelRunner) {
        let leaf =
            |(address, account): &(Address, Account)| Leaf::new(account_key(address), account);
        if changes.len() < MANY {
            let mut leaves: Vec<Leaf> = changes.iter().map(leaf).collect();
            leaves.sort_unstable_by(Leaf::by_key);
            self.0 = self.0.with(0, &leaves);
            return;
        }
        let pieces: Vec<&[(Address, Account)]> =
            changes.chunks(changes.len().div_ceil(JOBS)).collect();
        let work = |job: usize| pieces[job].iter().map(leaf).collect::<Vec<Leaf>>();
        self.write(jobs::results(pieces.len(), runner, work).concat(), runner);
    }

    /// Writes many leaves, subtree by subtree.
    fn write(&mut self, mut leaves: Vec<Leaf>, runner: &dyn LevelRunner) {
        leaves.sort_unstable_by(Leaf::by_key);
        let mut parts = alloc::vec![self.0.clone()];
        let mut changes = alloc::vec![&leaves[..]];
        for depth in 0..FAN_BITS {
            parts = parts.iter().flat_map(|part| part.split(depth)).collect();
            changes = changes.iter().flat_map(|part| subtree::split(part, depth)).collect();
        }
        let work = |job: usize| parts[job].with(FAN_BITS, changes[job]);
        let mut parts = jobs::results(JOBS, runner, work);
        for depth in (0..FAN_BITS).rev() {
            parts = parts.chunks(2).map(|pair| Subtree::join(depth, &pair[0], &pair[1])).collect();
        }
        self.0 = parts.swap_remove(0);
    }

    /// The way from an account, or the gap where it would be, to the root of a state that holds this
    /// beside its accounts.
    pub(crate) fn prove(&self, address: Address, system_root: SystemRoot) -> AccountProof {
        let (end, siblings) = self.0.path(&account_key(&address));
        AccountProof { address, end, siblings, system_root }
    }

    /// Nodes and leaves of this tree that no other tree has.
    #[cfg(test)]
    pub(crate) fn beside(&self, other: &Self) -> usize {
        self.0.beside(&other.0)
    }

    /// A tree of leaves that are where a test wants them.
    #[cfg(test)]
    pub(crate) fn place(&mut self, leaves: &[([u8; 32], Account)], runner: &dyn LevelRunner) {
        let leaves: Vec<Leaf> = leaves.iter().map(|(key, a)| Leaf::new(*key, a)).collect();
        self.write(leaves, runner);
    }
}
