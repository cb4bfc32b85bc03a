//! What the state holds beside the accounts, and its part of the state root.

use crate::{Registry, Slashing, monetary};
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_crypto::sha3_256;
use qbind_types::{Millis, SystemRoot};

/// What changes with every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Tally {
    /// Timestamp of the last block; lockups end by it.
    pub time: Millis,
    /// Everything that left the supply since genesis.
    pub burned: u128,
    /// Everything that entered the supply since genesis.
    pub issued: u128,
    /// Fees paid since the last election; nothing where the monetary engine is off.
    pub epoch_fees: u128,
}

/// The state beside the accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// What changes with every block.
    pub tally: Tally,
    /// The validators' registry.
    pub registry: Registry,
    /// What is held against validators.
    pub slashing: Slashing,
    /// What the monetary engine remembers.
    pub monetary: monetary::State,
}

impl System {
    /// At genesis.
    pub fn new(registry: Registry) -> Self {
        Self {
            tally: Tally::default(),
            registry,
            slashing: Slashing::default(),
            monetary: monetary::State::default(),
        }
    }

    /// Its part of the state root.
    pub fn root(&self) -> SystemRoot {
        let (registry, slashing) = (Part::new(&self.registry), Part::new(&self.slashing));
        system_root(&self.tally, &registry, &slashing, &Part::new(&self.monetary))
    }

    /// Without validators, for a ledger that only counts money.
    pub fn none() -> Self {
        Self::new(Registry::none())
    }
}

/// A part of the state that changes rarely and is large enough to remember its digest.
#[derive(Debug, Clone)]
pub(crate) struct Part<T> {
    value: T,
    digest: [u8; 32],
}

impl<T: BorshSerialize> Part<T> {
    pub(crate) fn new(value: T) -> Self {
        let digest = digest(&value);
        Self { value, digest }
    }

    pub(crate) fn get(&self) -> &T {
        &self.value
    }

    /// Changes the value; [`Part::seal`] must follow before the digest is read.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// Makes the digest that of the value again.
    pub(crate) fn seal(&mut self) {
        self.digest = digest(&self.value);
    }
}

fn digest<T: BorshSerialize>(value: &T) -> [u8; 32] {
    sha3_256(&[&borsh::to_vec(value).expect("writing to memory cannot fail")])
}

/// Commits to everything beside the accounts.
///
/// *Shape*: `SHA3-256("QBIND:SYSTEM:v1" ‖ tally in borsh ‖ SHA3-256 of each other part in borsh)`.
pub(crate) fn system_root(
    tally: &Tally,
    registry: &Part<impl BorshSerialize>,
    slashing: &Part<impl BorshSerialize>,
    monetary: &Part<impl BorshSerialize>,
) -> SystemRoot {
    let tally = borsh::to_vec(tally).expect("writing to memory cannot fail");
    SystemRoot(sha3_256(&[
        b"QBIND:SYSTEM:v1",
        &tally,
        &registry.digest,
        &slashing.digest,
        &monetary.digest,
    ]))
}
