//! Money that genesis gives and a later time frees.

use alloc::{collections::BTreeMap, sync::Arc};
use borsh::BorshSerialize;
use qbind_types::{Address, Millis};

/// An allocation that cannot be spent yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize)]
pub struct Lock {
    /// How much.
    pub amount: u128,
    /// Free in blocks from this time on, Unix milliseconds.
    pub until: Millis,
}

/// All lockups of a chain, fixed by its genesis.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize)]
pub struct Locks(Arc<BTreeMap<Address, Lock>>);

impl Locks {
    /// By address.
    pub fn new(locks: BTreeMap<Address, Lock>) -> Self {
        Self(Arc::new(locks))
    }

    /// What `address` must keep in a block of `time`, of which `bonded` lies with the registry.
    pub(crate) fn kept(&self, address: &Address, time: Millis, bonded: u128) -> u128 {
        match self.0.get(address) {
            Some(lock) if time < lock.until => lock.amount.saturating_sub(bonded),
            _ => 0,
        }
    }

    /// Whether the address has a lockup at all.
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.0.contains_key(address)
    }
}
