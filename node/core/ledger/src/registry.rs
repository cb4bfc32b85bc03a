//! Who validates in which epoch: the validators' registry, changed by committed calls.
//!
//! ```text
//!  calls in blocks ─▶ registry ── block at height E × epoch_blocks ──▶ validators of epoch E, fixed
//! ```
//! What the registry says at an election holds for the epoch elected; a call that comes later waits
//! for the next election.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::cmp::Reverse;
use qbind_types::{
    Address, Epoch, Height, KeyRole, KeyRotation, PublicKey, RegistryCall, RotationKind,
    ValidatorInfo, ValidatorSet, VotingPower, limits,
};

/// Epochs whose validators are kept: the next once it is elected, the current one, and those before in
/// which an offence can still be reported.
const SETS: usize = 8;
/// Epochs ahead for which a rotation may be planned, and most epochs of grace.
const HORIZON: u64 = 100_000;

/// Why the registry refuses a call; the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No validator has this id.
    #[error("no validator has id {id}")]
    ValidatorNotFound {
        /// The id.
        id: u64,
    },
    /// The sender neither owns the validator nor holds its key.
    #[error("the sender does not own validator {id}, nor is it the holder of its key")]
    NotAuthorised {
        /// The validator.
        id: u64,
    },
    /// One rotation at a time.
    #[error("validator {id} has a rotation in progress until epoch {until}")]
    RotationAlreadyInProgress {
        /// The validator.
        id: u64,
        /// First epoch in which that is over.
        until: Epoch,
    },
    /// The validators of that epoch are elected already.
    #[error("epoch {asked} is decided already; the earliest is {earliest}")]
    EffectiveEpochInPast {
        /// What the call says.
        asked: Epoch,
        /// What would do.
        earliest: Epoch,
    },
    /// Too far ahead, or too much grace.
    #[error("{asked} epochs are too many, at most {HORIZON}")]
    TooFar {
        /// What the call says.
        asked: u64,
    },
    /// Another validator has or had the key.
    #[error("the key is in use")]
    InvalidPublicKey,
    /// No key of this role is registered.
    #[error("UNSUPPORTED: no {role} key is registered; the consensus key does its work")]
    KeyRoleNotFound {
        /// The role.
        role: KeyRole,
    },
    /// The id or the owner has a validator.
    #[error("validator id {id}, or its owner, is registered already")]
    AlreadyRegistered {
        /// The id.
        id: u64,
    },
    /// Below the least stake of genesis.
    #[error("a bond of {got} is not between {least} (the least stake of genesis) and 2^63")]
    Bond {
        /// What the call brings.
        got: u128,
        /// What it needs.
        least: u64,
    },
    /// No place, or nobody would be left.
    #[error("the set would have {members} members, expected 1 to {}", limits::VALIDATORS)]
    Members {
        /// How many.
        members: usize,
    },
    /// More stake than may change at one election.
    #[error("at most {most} of stake may come and go before the next election; wait for that")]
    TooMuchStake {
        /// How much.
        most: u128,
    },
    /// This call brings no money.
    #[error("this call takes no amount")]
    Amount,
    /// The validator is leaving.
    #[error("validator {id} leaves already")]
    Leaving {
        /// Which.
        id: u64,
    },
    /// No report is taken.
    #[error("slashing is off on this chain")]
    SlashingOff,
    /// Too long ago, or not elected yet.
    #[error(
        "the validators of epoch {epoch} are not kept; offences of {SETS} epochs can be reported"
    )]
    EpochNotKept {
        /// Which epoch.
        epoch: Epoch,
    },
    /// This is known, or as much of it as is recorded.
    #[error("this offence of validator {id} is reported already")]
    AlreadyReported {
        /// Whose.
        id: u64,
    },
    /// The evidence proves nothing.
    #[error("the evidence proves nothing")]
    NotProven,
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Rotation {
    /// The key that takes over.
    pub new_key: PublicKey,
    /// First epoch in which it is valid.
    pub effective: Epoch,
    /// Last epoch in which the old key is valid too; before `effective` if there is no grace.
    pub grace_until: Epoch,
    /// Asked for by the owner, whom only the owner overrides.
    by_owner: bool,
}

/// A validator as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Registered {
    /// The account that owns it.
    pub owner: Address,
    /// Its key; the old one while a rotation is under way.
    pub key: PublicKey,
    /// Stake.
    pub stake: u64,
    /// Its next key, while there is one.
    pub rotation: Option<Rotation>,
    /// What it gets back when it has left.
    bond: u64,
    /// Joined since the last election.
    is_new: bool,
    is_leaving: bool,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) sender: Address,
    pub(crate) key: &'a PublicKey,
    /// What the call brings.
    pub(crate) amount: u128,
}

/// The validators and what is to become of them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Registry {
    epoch_blocks: u64,
    least_stake: u64,
    validators: BTreeMap<u64, Registered>,
    sets: BTreeMap<Epoch, Arc<ValidatorSet>>,
    /// Bonds of who left at the last election: they validate until the epoch ends, and are paid at the
    /// next.
    owed: Vec<(Address, u128)>,
}

impl Registry {
    /// At genesis; an election every `epoch_blocks` blocks.
    pub fn new(epoch_blocks: u64, genesis: ValidatorSet) -> Self {
        let validators = genesis.members().iter().map(|m| {
            let registered = Registered {
                owner: m.address,
                key: m.public_key.clone(),
                stake: m.power.0,
                rotation: None,
                bond: m.power.0,
                is_new: false,
                is_leaving: false,
            };
            (m.id, registered)
        });
        Self {
            epoch_blocks: epoch_blocks.max(1),
            least_stake: genesis.members().iter().map(|m| m.power.0).min().unwrap_or(1),
            validators: validators.collect(),
            sets: BTreeMap::from([(genesis.epoch(), Arc::new(genesis))]),
            owed: Vec::new(),
        }
    }

    /// One without validators, for a ledger that only counts money.
    pub fn none() -> Self {
        let (validators, sets) = (BTreeMap::new(), BTreeMap::new());
        Self { epoch_blocks: u64::MAX, least_stake: 1, validators, sets, owed: Vec::new() }
    }

    /// What the registry holds for an account as bond of its validator.
    pub(crate) fn bonded(&self, owner: &Address) -> u128 {
        let own = self.validators.values().filter(|r| r.owner == *owner);
        let owed = self.owed.iter().filter(|(of, _)| of == owner);
        own.map(|r| u128::from(r.bond)).chain(owed.map(|(_, bond)| *bond)).sum()
    }

    /// The height from which on the validators of `epoch` are elected: by the first block of the epoch
    /// before that is not below it.
    pub fn election(&self, epoch: Epoch) -> Height {
        Height(self.epoch_blocks.saturating_mul(epoch.0))
    }

    /// The validators of an epoch: the current, the next once it is elected, and the last.
    pub fn set(&self, epoch: Epoch) -> Option<&Arc<ValidatorSet>> {
        self.sets.get(&epoch)
    }

    /// All sets kept.
    pub fn sets(&self) -> impl Iterator<Item = &Arc<ValidatorSet>> {
        self.sets.values()
    }

    /// All validators, by id.
    pub fn validators(&self) -> impl Iterator<Item = (u64, &Registered)> {
        self.validators.iter().map(|(id, registered)| (*id, registered))
    }

    /// The first epoch that a call in the next block can change: the one that is elected next.
    pub fn earliest(&self) -> Epoch {
        self.sets.keys().next_back().map_or(Epoch(0), |last| last.next())
    }

    /// Whether a call would be taken in the block at `height`.
    ///
    /// # Errors
    /// The caller's fault.
    pub(crate) fn check(&self, caller: Caller<'_>, call: &RegistryCall) -> Result<(), Refusal> {
        match call {
            RegistryCall::Rotate(rotation) => self.check_rotation(caller, rotation),
            RegistryCall::Join { id, public_key } => self.check_join(caller, *id, public_key),
            RegistryCall::Leave { id } => self.check_leave(caller, *id),
            // What is held against validators is another part of the state.
            RegistryCall::Report(_) => no_amount(caller),
        }
    }

    fn check_rotation(&self, caller: Caller<'_>, asked: &KeyRotation) -> Result<(), Refusal> {
        let id = asked.validator_id;
        let found = self.validators.get(&id).ok_or(Refusal::ValidatorNotFound { id })?;
        let by_owner = caller.sender == found.owner;
        let by_holder = *caller.key == found.key && asked.kind == RotationKind::Scheduled;
        if !by_owner && !by_holder {
            return Err(Refusal::NotAuthorised { id });
        }
        no_amount(caller)?;
        if asked.role != KeyRole::Consensus {
            return Err(Refusal::KeyRoleNotFound { role: asked.role });
        }
        if asked.kind == RotationKind::Scheduled {
            self.check_schedule(asked)?;
        }
        if let Some(rotation) = &found.rotation {
            // Who stole the key may have used it first: an emergency by the owner comes before that.
            let overrides = by_owner && asked.kind == RotationKind::Emergency;
            if !overrides || rotation.by_owner && rotation.grace_until < rotation.effective {
                let until = rotation.effective.max(rotation.grace_until.next());
                return Err(Refusal::RotationAlreadyInProgress { id, until });
            }
        }
        if self.is_known(&asked.new_key) {
            return Err(Refusal::InvalidPublicKey);
        }
        Ok(())
    }

    /// An emergency takes the next election, whatever its event says: it may have waited for a while.
    fn check_schedule(&self, asked: &KeyRotation) -> Result<(), Refusal> {
        let earliest = self.earliest();
        if asked.effective_epoch < earliest {
            let asked = asked.effective_epoch;
            return Err(Refusal::EffectiveEpochInPast { asked, earliest });
        }
        let ahead = asked.effective_epoch.0 - earliest.0;
        let asked = ahead.max(asked.grace_epochs);
        if asked > HORIZON { Err(Refusal::TooFar { asked }) } else { Ok(()) }
    }

    /// The stake of the newest set.
    fn validating(&self) -> u128 {
        let newest = self.sets.values().next_back();
        newest.map_or(0, |set| u128::from(set.total_power().0))
    }

    /// How much stake may still come or go before the next election: a quarter of what validates now
    /// in all, so that no single call decides who has a quorum; who leaves alone may hold more.
    fn check_change(&self, more: u64) -> Result<(), Refusal> {
        let sum = |of: fn(&Registered) -> bool| -> u128 {
            self.validators.values().filter(|r| of(r)).map(|r| u128::from(r.stake)).sum()
        };
        let changing = sum(|r| r.is_new || r.is_leaving) + u128::from(more);
        let most = self.validating() / 4;
        if changing > most { Err(Refusal::TooMuchStake { most }) } else { Ok(()) }
    }

    fn check_join(&self, caller: Caller<'_>, id: u64, key: &PublicKey) -> Result<(), Refusal> {
        let least = self.least_stake;
        let stake = u64::try_from(caller.amount).ok().filter(|s| *s >= least && *s < 1 << 63);
        let Some(stake) = stake else { return Err(Refusal::Bond { got: caller.amount, least }) };
        let is_owner = |r: &Registered| r.owner == caller.sender;
        // Evidence names offenders by the id they had: while it is heard, nobody else may have that id.
        let was_used = self.sets.values().any(|set| set.index_of(id).is_some());
        if was_used || self.validators.contains_key(&id) || self.validators.values().any(is_owner) {
            return Err(Refusal::AlreadyRegistered { id });
        }
        if self.is_known(key) {
            return Err(Refusal::InvalidPublicKey);
        }
        let members = self.validators.len() + 1;
        let total: u128 = self.validators.values().map(|r| u128::from(r.stake)).sum();
        if members > limits::VALIDATORS || u64::try_from(total + u128::from(stake)).is_err() {
            return Err(Refusal::Members { members });
        }
        self.check_change(stake)
    }

    fn check_leave(&self, caller: Caller<'_>, id: u64) -> Result<(), Refusal> {
        let found = self.validators.get(&id).ok_or(Refusal::ValidatorNotFound { id })?;
        if caller.sender != found.owner {
            return Err(Refusal::NotAuthorised { id });
        }
        no_amount(caller)?;
        if found.is_leaving {
            return Err(Refusal::Leaving { id });
        }
        let left = self.validators.values().filter(|r| !r.is_leaving).count();
        if left < 2 {
            return Err(Refusal::Members { members: 0 });
        }
        // Who has never validated takes nothing away. One that holds less than half may leave alone:
        // among few validators each holds more than a quarter, and could never.
        let is_alone = !self.validators.values().any(|r| r.is_new || r.is_leaving);
        let is_less_than_half = u128::from(found.stake) * 2 < self.validating();
        if found.is_new || (is_alone && is_less_than_half) {
            return Ok(());
        }
        self.check_change(found.stake)
    }

    /// Whether a key is anybody's, or about to be: nobody may take another's.
    fn is_known(&self, key: &PublicKey) -> bool {
        self.validators
            .values()
            .any(|r| r.key == *key || r.rotation.as_ref().is_some_and(|next| next.new_key == *key))
    }

    /// Carries out a call.
    ///
    /// # Errors
    /// The caller's fault; nothing has changed.
    pub(crate) fn apply(&mut self, caller: Caller<'_>, call: &RegistryCall) -> Result<(), Refusal> {
        self.check(caller, call)?;
        match call {
            RegistryCall::Rotate(asked) => {
                let earliest = self.earliest();
                if let Some(found) = self.validators.get_mut(&asked.validator_id) {
                    let (effective, grace_until) = match asked.kind {
                        RotationKind::Scheduled => {
                            let from = asked.effective_epoch;
                            (from, Epoch(from.0 + asked.grace_epochs))
                        }
                        RotationKind::Emergency => (earliest, Epoch(earliest.0.saturating_sub(1))),
                    };
                    let by_owner = caller.sender == found.owner;
                    let new_key = asked.new_key.clone();
                    found.rotation = Some(Rotation { new_key, effective, grace_until, by_owner });
                }
            }
            RegistryCall::Join { id, public_key } => {
                let bond = u64::try_from(caller.amount).expect("checked");
                let registered = Registered {
                    owner: caller.sender,
                    key: public_key.clone(),
                    stake: bond,
                    rotation: None,
                    bond,
                    is_new: true,
                    is_leaving: false,
                };
                self.validators.insert(*id, registered);
            }
            RegistryCall::Leave { id } => {
                if let Some(found) = self.validators.get_mut(id) {
                    found.is_leaving = true;
                }
            }
            RegistryCall::Report(_) => {}
        }
        Ok(())
    }

    /// Whether the block at `height` of the epoch `of` elects the next epoch's validators.
    pub(crate) fn is_election(&self, height: Height, of: Epoch) -> bool {
        let epoch = of.next();
        height >= self.election(epoch) && !self.sets.contains_key(&epoch)
    }

    /// After a block of the epoch `of`: elects the next epoch's validators if it is time, once, and
    /// says which bonds are to be paid back. `None` if there is no election. Who is `jailed_until` a
    /// later epoch is left out, as [`Registry::out_of`] allows.
    pub(crate) fn elect(
        &mut self,
        height: Height,
        of: Epoch,
        jailed_until: impl Fn(u64) -> Epoch,
    ) -> Option<Vec<(Address, u128)>> {
        let epoch = of.next();
        if !self.is_election(height, of) {
            return None;
        }
        let gone: Vec<u64> =
            self.validators.iter().filter(|(_, r)| r.is_leaving).map(|(id, _)| *id).collect();
        let gone = gone.into_iter().filter_map(|id| self.validators.remove(&id));
        let gone = gone.map(|r| (r.owner, u128::from(r.bond))).collect();
        let bonds = core::mem::replace(&mut self.owed, gone);
        self.validators.values_mut().for_each(|r| r.is_new = false);
        let out = self.out_of(epoch, jailed_until);
        let members = self.validators.iter_mut().map(|(id, r)| r.member(*id, epoch));
        let members = members.filter(|member| !out.contains(&member.id)).collect();
        let set = ValidatorSet::new(epoch, members).expect(
            "every call was checked to leave a set, slashing takes nobody's last unit, and jail \
             does not take everybody",
        );
        self.sets.insert(epoch, Arc::new(set));
        while self.sets.len() > SETS {
            self.sets.pop_first();
        }
        Some(bonds)
    }

    /// Whom jail keeps out of `epoch`. Of the stake that validated last, one election leaves out a third
    /// at most: longest sentence first, of equals the lower id; who does not fit in waits in the set for
    /// the next election. Where nobody would be left, all stay.
    fn out_of(&self, epoch: Epoch, jailed_until: impl Fn(u64) -> Epoch) -> BTreeSet<u64> {
        let ids = self.validators.keys().copied();
        let mut jailed: Vec<(Reverse<Epoch>, u64)> = ids
            .map(|id| (Reverse(jailed_until(id)), id))
            .filter(|(until, _)| until.0 > epoch)
            .collect();
        jailed.sort_unstable();
        let last = self.sets.values().next_back();
        let power = |id| {
            let found = last.and_then(|set| set.get(set.index_of(id)?));
            found.map_or(0, |member| member.power.0)
        };
        let most = last.map_or(0, |set| set.total_power().0) / 3;
        let mut taken = 0u64;
        let mut out = BTreeSet::new();
        for (_, id) in jailed {
            // Who was out already takes nothing more away.
            if let Some(with) = taken.checked_add(power(id)).filter(|with| *with <= most) {
                taken = with;
                out.insert(id);
            }
        }
        if out.len() == self.validators.len() { BTreeSet::new() } else { out }
    }

    /// What can be taken of a validator's stake, or of its bond once it has left: all but one unit.
    pub(crate) fn slashable(&self, id: u64, owner: &Address) -> u64 {
        match self.validators.get(&id).filter(|found| found.owner == *owner) {
            Some(found) => found.stake.saturating_sub(1),
            None => {
                let bond =
                    self.owed.iter().find(|(of, _)| of == owner).map_or(0, |(_, bond)| *bond);
                u64::try_from(bond.saturating_sub(1)).unwrap_or(u64::MAX)
            }
        }
    }

    /// Takes stake away; the amount that was there.
    pub(crate) fn slash(&mut self, id: u64, owner: &Address, amount: u64) -> u64 {
        let amount = amount.min(self.slashable(id, owner));
        let is_here = self.validators.get(&id).is_some_and(|found| found.owner == *owner);
        if let Some(found) = self.validators.get_mut(&id).filter(|_| is_here) {
            found.stake -= amount;
            found.bond -= amount;
        } else if let Some((_, bond)) = self.owed.iter_mut().find(|(of, _)| of == owner) {
            *bond -= u128::from(amount);
        }
        amount
    }

    /// The oldest epoch whose validators are kept.
    pub(crate) fn oldest(&self) -> Epoch {
        self.sets.keys().next().copied().unwrap_or_default()
    }
}

impl Registered {
    /// Whether its end is decided.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// This validator in an epoch; a rotation that is over is forgotten.
    fn member(&mut self, id: u64, epoch: Epoch) -> ValidatorInfo {
        if let Some(over) = self.rotation.take_if(|r| epoch >= r.effective && epoch > r.grace_until)
        {
            self.key = over.new_key;
        }
        let rotated = self.rotation.as_ref().filter(|r| epoch >= r.effective);
        let (public_key, previous_key) = match rotated {
            Some(rotation) => (rotation.new_key.clone(), Some(self.key.clone())),
            None => (self.key.clone(), None),
        };
        let power = VotingPower(self.stake);
        ValidatorInfo { id, address: self.owner, public_key, previous_key, power }
    }
}

fn no_amount(caller: Caller<'_>) -> Result<(), Refusal> {
    if caller.amount == 0 { Ok(()) } else { Err(Refusal::Amount) }
}
