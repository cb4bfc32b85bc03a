//! What validators ask of the registry: calls that ride on a transfer to [`REGISTRY`].

use crate::{Address, Epoch, Evidence, PublicKey};
use alloc::{boxed::Box, string::ToString};
use borsh::{BorshDeserialize, BorshSerialize};
use core::{fmt, str::FromStr};

/// The account that holds the bonds of validators that joined; nobody has its key.
pub const REGISTRY: Address = Address(*b"QBIND validator registry account");

/// What a key of a validator is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum KeyRole {
    /// Proposals, votes, timeouts, batches and acks; also proves the validator to its peers.
    Consensus,
    /// Handshakes of a node that does not validate.
    P2pIdentity,
    /// A key of its own for batches, which this version does not have.
    BatchSigning,
}

impl KeyRole {
    /// As it is written on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::P2pIdentity => "p2p-identity",
            Self::BatchSigning => "batch-signing",
        }
    }
}

impl fmt::Display for KeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyRole {
    type Err = alloc::string::String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Consensus, Self::P2pIdentity, Self::BatchSigning]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "expected consensus, p2p-identity or batch-signing".to_string())
    }
}

/// How urgent a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RotationKind {
    /// Old and new key are both valid during the grace epochs.
    Scheduled,
    /// The old key is suspected: it is worth nothing from the effective epoch on.
    Emergency,
}

/// Another key for a validator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyRotation {
    /// Whose.
    pub validator_id: u64,
    /// Which of its keys.
    pub role: KeyRole,
    /// The key that takes over.
    pub new_key: PublicKey,
    /// First epoch in which the new key is valid; in an emergency that is the next to be elected,
    /// whatever this says.
    pub effective_epoch: Epoch,
    /// Epochs after that one in which the old key is valid too.
    pub grace_epochs: u64,
    /// How urgent.
    pub kind: RotationKind,
}

/// A call to the registry. Its sender is the owner of the validator or, for a scheduled rotation, the
/// holder of its key; anybody may report an offence.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RegistryCall {
    /// Another key.
    Rotate(KeyRotation),
    /// A new validator, owned by the sender; the transfer's amount is its bond and its stake.
    Join {
        /// The operator's number for it.
        id: u64,
        /// Its key.
        public_key: PublicKey,
    },
    /// The end of a validator; its bond is paid back at the election after the one that ends it.
    Leave {
        /// Which.
        id: u64,
    },
    /// Evidence of an offence; its sender gets the finder's fee, where there is one.
    Report(Box<Evidence>),
}

impl RegistryCall {
    /// First byte of an encoded report, the one call that may be long.
    pub(crate) const REPORT: u8 = 3;

    /// Whether `bytes` of encoding are not too many for what it is.
    pub(crate) fn is_short(&self, bytes: usize) -> bool {
        match self {
            Self::Report(evidence) => evidence.is_short(bytes.saturating_sub(1)),
            Self::Rotate(_) | Self::Join { .. } | Self::Leave { .. } => true,
        }
    }
}
