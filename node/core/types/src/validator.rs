//! The validator set of one epoch and its quorum arithmetic.

use crate::{
    Address, BlockId, Epoch, Height, PublicKey, ValidatorIndex, View, VotingPower, limits,
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize, io};
use core::fmt;

/// One member of the set.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorInfo {
    /// The operator's number for this validator (`--validator-id`).
    pub id: u64,
    /// The account that owns it: gets its share of the fees, and governs its place in the set.
    pub address: Address,
    /// The key that signs proposals, votes, timeouts, batches and acks.
    pub public_key: PublicKey,
    /// The key before the last rotation, as long as it is valid too.
    pub previous_key: Option<PublicKey>,
    /// Stake.
    pub power: VotingPower,
}

impl ValidatorInfo {
    /// The keys whose signatures are this validator's.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        core::iter::once(&self.public_key).chain(&self.previous_key)
    }
}

/// What an epoch starts from: the last block of the epoch before. Epoch 0 starts from genesis, which
/// has height 0 and view 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochStart {
    /// The epoch that starts.
    pub epoch: Epoch,
    /// Height of that block.
    pub height: Height,
    /// Its view; the views of the epoch follow.
    pub view: View,
    /// Its id.
    pub block: BlockId,
}

impl EpochStart {
    /// The start of epoch 0.
    pub fn genesis(block: BlockId) -> Self {
        Self { epoch: Epoch(0), height: Height(0), view: View(0), block }
    }
}

/// The validators of one epoch, sorted by id; a validator's index is its place in that order.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct ValidatorSet {
    epoch: Epoch,
    members: Vec<ValidatorInfo>,
    total: VotingPower,
}

/// Why a list of validators is no set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValidatorSetError {
    /// Fewer than one or more than the limit.
    Count {
        /// Members given.
        got: usize,
    },
    /// The same id twice.
    DuplicateId {
        /// That id.
        id: u64,
    },
    /// The same key twice.
    DuplicateKey {
        /// The second holder's id.
        id: u64,
    },
    /// A member without stake.
    NoPower {
        /// That member's id.
        id: u64,
    },
    /// The sum of stakes does not fit 64 bits.
    PowerOverflow,
}

impl fmt::Display for ValidatorSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { got } => {
                write!(f, "{got} validators, expected 1 to {}", limits::VALIDATORS)
            }
            Self::DuplicateId { id } => write!(f, "validator id {id} appears twice"),
            Self::DuplicateKey { id } => write!(f, "validator {id} repeats another's public key"),
            Self::NoPower { id } => write!(f, "validator {id} has no stake"),
            Self::PowerOverflow => f.write_str("the sum of stakes overflows"),
        }
    }
}

impl core::error::Error for ValidatorSetError {}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let epoch = Epoch::deserialize_reader(reader)?;
        let members = Vec::<ValidatorInfo>::deserialize_reader(reader)?;
        let total = VotingPower::deserialize_reader(reader)?;
        let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "not a validator set");
        let set = Self::new(epoch, members.clone()).map_err(wrong)?;
        // One encoding only: sorted, with the right sum.
        if set.members == members && set.total == total {
            Ok(set)
        } else {
            Err(wrong(ValidatorSetError::PowerOverflow))
        }
    }
}

impl ValidatorSet {
    /// Sorts by id and checks that ids and keys are unique and stakes positive.
    ///
    /// # Errors
    /// The genesis author's fault; names the member.
    pub fn new(epoch: Epoch, mut members: Vec<ValidatorInfo>) -> Result<Self, ValidatorSetError> {
        if members.is_empty() || members.len() > limits::VALIDATORS {
            return Err(ValidatorSetError::Count { got: members.len() });
        }
        members.sort_by_key(|m| m.id);
        let mut total = 0u64;
        let mut keys = alloc::collections::BTreeSet::new();
        for (i, member) in members.iter().enumerate() {
            if i > 0 && members[i - 1].id == member.id {
                return Err(ValidatorSetError::DuplicateId { id: member.id });
            }
            for key in member.keys() {
                if !keys.insert(key.clone()) {
                    return Err(ValidatorSetError::DuplicateKey { id: member.id });
                }
            }
            if member.power.0 == 0 {
                return Err(ValidatorSetError::NoPower { id: member.id });
            }
            total = total.checked_add(member.power.0).ok_or(ValidatorSetError::PowerOverflow)?;
        }
        Ok(Self { epoch, members, total: VotingPower(total) })
    }

    /// The epoch this set belongs to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Number of validators.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Members in index order.
    pub fn members(&self) -> &[ValidatorInfo] {
        &self.members
    }

    /// The member at `index`, if there is one.
    pub fn get(&self, index: ValidatorIndex) -> Option<&ValidatorInfo> {
        self.members.get(usize::from(index.0))
    }

    /// The index of the validator one of whose keys this is.
    pub fn index_of_key(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        let at = self.members.iter().position(|m| m.keys().any(|k| k == key))?;
        u16::try_from(at).ok().map(ValidatorIndex)
    }

    /// The index of the validator with this id.
    pub fn index_of(&self, id: u64) -> Option<ValidatorIndex> {
        let at = self.members.binary_search_by_key(&id, |m| m.id).ok()?;
        u16::try_from(at).ok().map(ValidatorIndex)
    }

    /// Stake of `index`; nothing for a stranger.
    pub fn power(&self, index: ValidatorIndex) -> VotingPower {
        self.get(index).map_or(VotingPower(0), |m| m.power)
    }

    /// Sum of all stakes.
    pub fn total_power(&self) -> VotingPower {
        self.total
    }

    /// The least stake of which any two holders share an honest validator: `floor(2T/3) + 1`.
    pub fn quorum_power(&self) -> VotingPower {
        VotingPower(u64::try_from(u128::from(self.total.0) * 2 / 3 + 1).expect("below T + 1"))
    }

    /// The least stake that contains an honest validator: one more than the stake that may be
    /// faulty, `T - quorum + 1`.
    pub fn honest_power(&self) -> VotingPower {
        VotingPower(self.total.0 - self.quorum_power().0 + 1)
    }

    /// Stake of distinct `signers`.
    pub fn power_of(&self, signers: impl Iterator<Item = ValidatorIndex>) -> VotingPower {
        let distinct: alloc::collections::BTreeSet<_> = signers.collect();
        VotingPower(distinct.into_iter().map(|i| self.power(i).0).sum())
    }

    /// Whether distinct `signers` hold a quorum.
    pub fn is_quorum(&self, signers: impl Iterator<Item = ValidatorIndex>) -> bool {
        self.power_of(signers) >= self.quorum_power()
    }

    /// The leader of `view`: round robin in index order.
    pub fn leader(&self, view: View) -> ValidatorIndex {
        let at = view.0 % u64::try_from(self.members.len()).expect("at most 256");
        ValidatorIndex(u16::try_from(at).expect("below 256"))
    }
}
