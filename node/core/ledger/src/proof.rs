//! A proof of one account's state, for whoever trusts a state root and nothing else.

use crate::{Account, system, tree};
use jmt::{RootHash, proof::SparseMerkleProof};
use qbind_types::{Address, StateRoot, SystemRoot};

/// One account at one state root, with the path that proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountProof {
    /// Whose.
    pub address: Address,
    /// Its state; `None` if the state does not hold it.
    pub account: Option<Account>,
    path: SparseMerkleProof<tree::Hasher>,
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
    pub(crate) fn new(
        address: Address,
        account: Option<Account>,
        path: SparseMerkleProof<tree::Hasher>,
        system_root: SystemRoot,
    ) -> Self {
        Self { address, account, path, system_root }
    }

    /// Checks the path from the account, or from its absence, to `root`.
    ///
    /// # Errors
    /// The prover's fault, or `root` is of another height.
    pub fn verify(&self, root: StateRoot) -> Result<(), AccountProofError> {
        let error = AccountProofError { address: self.address, root };
        let value = self.account.map(|account| account.encode());
        let key = tree::key_hash(&self.address);
        let accounts = self.path.root_hash().0;
        self.path.verify(RootHash(accounts), key, value).map_err(|_| error)?;
        if system::state_root(&accounts, &self.system_root) == root { Ok(()) } else { Err(error) }
    }
}
