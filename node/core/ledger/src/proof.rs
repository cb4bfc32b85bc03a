//! A proof of one account's state, for whoever trusts a state root and nothing else.

use crate::{
    Account, system,
    tree::{self, EMPTY, End, Path, bit, inner_hash, leaf_hash, value_hash},
};
use qbind_types::{Address, StateRoot, SystemRoot};

/// One account at one state root, with the path that proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// Its state; `None` if the state does not hold it.
    pub account: Option<Account>,
    path: Path,
    /// The root of the state that is not accounts.
    system_root: SystemRoot,
}

/// The proof does not lead from the account to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof of account {address} does not lead to state root {root}")]
pub struct AccountProofError {
    /// Whose proof.
    pub address: Address,
    /// Where it should have led.
    pub root: StateRoot,
}

impl AccountProof {
    pub(crate) fn new(address: Address, path: Path, system_root: SystemRoot) -> Self {
        let account = match path.end {
            End::Account(account) => Some(account),
            End::Empty | End::Other { .. } => None,
        };
        Self { address, account, path, system_root }
    }

    /// Checks the path from the account, or from its absence, to `root`.
    ///
    /// # Errors
    /// The prover's fault, or `root` is of another height.
    pub fn verify(&self, root: StateRoot) -> Result<(), AccountProofError> {
        let error = AccountProofError { address: self.address, root };
        let accounts = self.accounts_root().ok_or(error)?;
        if system::state_root(&accounts, &self.system_root) == root { Ok(()) } else { Err(error) }
    }

    /// Where the path leads; `None` if it cannot be one.
    fn accounts_root(&self) -> Option<[u8; 32]> {
        let key = tree::key_of(&self.address);
        let depth = self.path.siblings.len();
        if depth > 256 {
            return None;
        }
        let end = match (self.account, self.path.end) {
            (Some(account), _) => leaf_hash(&key, &value_hash(&account)),
            (None, End::Empty) => EMPTY,
            (None, End::Account(_)) => return None,
            (None, End::Other { key: other, value }) => {
                let is_beside = other != key && (0..depth).all(|at| bit(&other, at) == bit(&key, at));
                is_beside.then(|| leaf_hash(&other, &value))?
            }
        };
        let steps = self.path.siblings.iter().zip((0..depth).rev());
        Some(steps.fold(end, |below, (beside, at)| match bit(&key, at) {
            true => inner_hash(beside, &below),
            false => inner_hash(&below, beside),
        }))
    }
}
