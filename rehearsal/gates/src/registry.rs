//! Who may validate, worked out again from the committed calls: the rules of the validators' registry
//! (docs/protocol.md, section Epochs), written a second time.

use crate::{chain::Tx, court::Court};
use qbind_types::{
    Address, Epoch, KeyRole, KeyRotation, PublicKey, RegistryCall, RotationKind, ValidatorInfo,
    ValidatorSet, VotingPower, limits,
};
use std::collections::BTreeMap;

/// Most epochs ahead, and most of grace.
const FAR: u64 = 100_000;

struct Entry {
    owner: Address,
    key: PublicKey,
    stake: u64,
    bond: u64,
    /// Joined since the last election.
    new: bool,
    leaves: bool,
    /// New key, its first epoch, the epochs of grace after that one (none in an emergency), and
    /// whether the owner asked.
    next: Option<(PublicKey, u64, Option<u64>, bool)>,
}

/// The registry at one height.
pub(crate) struct Registry {
    epoch_blocks: u64,
    /// The last epoch whose validators are elected.
    elected: u64,
    least: u64,
    entries: BTreeMap<u64, Entry>,
    /// Bonds to pay at the next election.
    owed: Vec<(Address, u128)>,
    /// Reports of offences.
    pub(crate) court: Court,
}

impl Registry {
    pub(crate) fn new(epoch_blocks: u64, founders: &ValidatorSet) -> Self {
        let entry = |m: &ValidatorInfo| {
            let (owner, key, stake) = (m.address, m.public_key.clone(), m.power.0);
            (m.id, Entry { owner, key, stake, bond: stake, new: false, leaves: false, next: None })
        };
        Self {
            epoch_blocks,
            elected: 0,
            least: founders.members().iter().map(|m| m.power.0).min().unwrap_or(1),
            entries: founders.members().iter().map(entry).collect(),
            owed: Vec::new(),
            court: Court::new(founders),
        }
    }

    /// What each owner has staked.
    pub(crate) fn stakes(&self) -> Vec<(Address, u128)> {
        self.entries.values().map(|e| (e.owner, u128::from(e.stake))).collect()
    }

    /// What the registry holds of an owner's money.
    pub(crate) fn bonded(&self, owner: &Address) -> u128 {
        let own = self.entries.values().filter(|e| e.owner == *owner);
        let owed = self.owed.iter().filter(|(of, _)| of == owner);
        own.map(|e| u128::from(e.bond)).chain(owed.map(|(_, bond)| *bond)).sum()
    }

    /// Carries out a call; false if it is refused.
    pub(crate) fn call(&mut self, tx: &Tx, amount: u128, call: &RegistryCall) -> bool {
        match call {
            RegistryCall::Rotate(rotation) => amount == 0 && self.rotate(tx, rotation),
            RegistryCall::Join { id, public_key } => self.join(tx, *id, public_key, amount),
            RegistryCall::Leave { id } => amount == 0 && self.leave(tx, *id),
            RegistryCall::Report(evidence) => self.court.report(amount, evidence),
        }
    }

    fn is_used(&self, key: &PublicKey) -> bool {
        let next = |e: &Entry| e.next.as_ref().is_some_and(|(new, ..)| new == key);
        self.entries.values().any(|e| e.key == *key || next(e))
    }

    fn rotate(&mut self, tx: &Tx, asked: &KeyRotation) -> bool {
        let is_used = self.is_used(&asked.new_key);
        let earliest = self.elected + 1;
        let Some(entry) = self.entries.get_mut(&asked.validator_id) else { return false };
        let by_owner = tx.sender == entry.owner;
        let is_emergency = asked.kind == RotationKind::Emergency;
        let by_holder = *tx.key == entry.key && !is_emergency;
        let from = if is_emergency { earliest } else { asked.effective_epoch.0 };
        let grace = if is_emergency { 0 } else { asked.grace_epochs };
        let may_replace = match &entry.next {
            None => true,
            // Only an owner's emergency replaces another rotation, and none replaces that.
            Some((_, _, grace, owners)) => {
                by_owner && is_emergency && !(*owners && grace.is_none())
            }
        };
        let is_fitting = (by_owner || by_holder)
            && asked.role == KeyRole::Consensus
            && from >= earliest
            && (from - earliest).max(grace) <= FAR
            && may_replace
            && !is_used;
        if is_fitting {
            let grace = (!is_emergency).then_some(asked.grace_epochs);
            entry.next = Some((asked.new_key.clone(), from, grace, by_owner));
        }
        is_fitting
    }

    /// A quarter of the stake that validates may come and go between two elections.
    fn may_change(&self, more: u128) -> bool {
        let stake = |e: &Entry| u128::from(e.stake);
        let changing: u128 =
            self.entries.values().filter(|e| e.new || e.leaves).map(stake).sum::<u128>();
        changing + more <= self.validating() / 4
    }

    fn validating(&self) -> u128 {
        self.entries.values().filter(|e| !e.new).map(|e| u128::from(e.stake)).sum()
    }

    fn join(&mut self, tx: &Tx, id: u64, key: &PublicKey, amount: u128) -> bool {
        let stakes: u128 = self.entries.values().map(|e| u128::from(e.stake)).sum();
        let is_fitting = amount >= u128::from(self.least)
            && amount < 1 << 63
            && !self.entries.contains_key(&id)
            && !self.court.knows(id)
            && self.entries.values().all(|e| e.owner != tx.sender)
            && !self.is_used(key)
            && self.entries.len() < limits::VALIDATORS
            && stakes + amount <= u128::from(u64::MAX)
            && self.may_change(amount);
        if is_fitting {
            let bond = u64::try_from(amount).unwrap_or(0);
            let (owner, key) = (tx.sender, key.clone());
            let entry =
                Entry { owner, key, stake: bond, bond, new: true, leaves: false, next: None };
            self.entries.insert(id, entry);
        }
        is_fitting
    }

    fn leave(&mut self, tx: &Tx, id: u64) -> bool {
        let staying = self.entries.values().filter(|e| !e.leaves).count();
        let Some(entry) = self.entries.get(&id) else { return false };
        // Who has never validated takes nothing away; one with less than half may leave alone.
        let stake = u128::from(entry.stake);
        let is_alone = !self.entries.values().any(|e| e.new || e.leaves);
        let is_less_than_half = 2 * stake < self.validating();
        let may_change = entry.new || (is_alone && is_less_than_half) || self.may_change(stake);
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let is_fitting = tx.sender == entry.owner && !entry.leaves && staying > 1 && may_change;
        entry.leaves |= is_fitting;
        is_fitting
    }

    /// After the block at `height`, which is of the epoch `of`: the bonds to pay back, and who
    /// validates the epoch elected; nothing if there is no election.
    pub(crate) fn elect(
        &mut self,
        height: u64,
        of: Epoch,
    ) -> Option<(Vec<(Address, u128)>, ValidatorSet)> {
        let epoch = of.0 + 1;
        if self.elected >= epoch || height < self.epoch_blocks.saturating_mul(epoch) {
            return None;
        }
        self.elected = epoch;
        let bonds = std::mem::take(&mut self.owed);
        let owed = &mut self.owed;
        self.entries.retain(|_, e| {
            e.new = false;
            if e.leaves {
                owed.push((e.owner, u128::from(e.bond)));
            }
            !e.leaves
        });
        let mut members = Vec::new();
        for (id, e) in &mut self.entries {
            let is_over = |(_, from, grace, _): &mut (_, u64, Option<u64>, _)| {
                epoch >= *from && grace.is_none_or(|grace| epoch > *from + grace)
            };
            if let Some((new, ..)) = e.next.take_if(is_over) {
                e.key = new;
            }
            let (public_key, previous_key) = match &e.next {
                Some((new, from, ..)) if epoch >= *from => (new.clone(), Some(e.key.clone())),
                _ => (e.key.clone(), None),
            };
            let (address, power) = (e.owner, VotingPower(e.stake));
            members.push(ValidatorInfo { id: *id, address, public_key, previous_key, power });
        }
        let set = ValidatorSet::new(Epoch(epoch), members).ok()?;
        self.court.elected(&set);
        Some((bonds, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_crypto::{SecretKey, address_of, preimage};
    use qbind_types::{BatchId, BatchRef, Evidence, Network, SignedBatchRef, TxId, ValidatorIndex};

    fn key(n: u8) -> PublicKey {
        SecretKey::from_seed(&[n; 32]).public_key()
    }

    fn registry() -> Registry {
        let members = (1..=4u8).map(|n| ValidatorInfo {
            id: u64::from(n),
            address: address_of(&key(n)),
            public_key: key(n),
            previous_key: None,
            power: VotingPower(10),
        });
        Registry::new(8, &ValidatorSet::new(Epoch(0), members.collect()).expect("distinct"))
    }

    fn by(n: u8) -> Tx {
        Tx {
            id: TxId([0; 32]),
            sender: address_of(&key(n)),
            nonce: 0,
            payload: Vec::new(),
            key: key(n).into(),
        }
    }

    fn rotate(id: u64, new: u8, from: u64, grace: u64, kind: RotationKind) -> RegistryCall {
        RegistryCall::Rotate(KeyRotation {
            validator_id: id,
            role: KeyRole::Consensus,
            new_key: key(new),
            effective_epoch: Epoch(from),
            grace_epochs: grace,
            kind,
        })
    }

    fn twice(creator: u16, epoch: u64, round: u64, by: u8) -> RegistryCall {
        let signed = |id: u8| {
            let (epoch, creator) = (Epoch(epoch), ValidatorIndex(creator));
            let batch = BatchRef { epoch, creator, round, id: BatchId([id; 32]) };
            let message = preimage::batch(Network::Mainnet, &batch);
            let signature = SecretKey::from_seed(&[by; 32]).sign(&message);
            SignedBatchRef { batch, signature }
        };
        let evidence = Evidence::Batches { first: signed(1), second: signed(2) };
        RegistryCall::Report(Box::new(evidence))
    }

    #[test]
    fn reports_are_taken_once_as_long_as_the_epoch_is_kept_and_only_by_their_signatures() {
        let mut r = registry();
        r.court.records_only(Network::Mainnet);
        assert!(!r.call(&by(9), 1, &twice(1, 0, 7, 2)), "it takes no amount");
        assert!(r.call(&by(9), 0, &twice(1, 0, 7, 2)));
        assert!(!r.call(&by(9), 0, &twice(1, 0, 7, 2)), "known");
        assert!(!r.call(&by(9), 0, &twice(1, 0, 8, 3)), "signed by another");
        assert!(!r.call(&by(9), 0, &twice(1, 1, 8, 2)), "of an epoch to come");
        for epoch in 1..8 {
            r.elect(8 * epoch, Epoch(epoch - 1)).expect("the time has come");
        }
        assert!(r.call(&by(9), 0, &twice(1, 0, 8, 2)));
        r.elect(64, Epoch(7)).expect("the time has come");
        assert!(!r.call(&by(9), 0, &twice(1, 0, 9, 2)), "too long ago");
        assert!(!r.court.is_stuck());
        // Where offences cost stake, nothing is guessed.
        let mut other = registry();
        assert!(!other.call(&by(9), 0, &twice(1, 0, 7, 2)));
        assert!(other.court.is_stuck());
    }

    /// The same story as the ledger's own tests tell.
    #[test]
    fn calls_are_taken_and_refused_as_by_the_ledger() {
        use RotationKind::{Emergency, Scheduled};
        let mut r = registry();
        assert!(r.call(&by(2), 0, &rotate(2, 22, 2, 1, Scheduled)));
        assert!(!r.call(&by(2), 0, &rotate(2, 23, 2, 1, Scheduled)), "one at a time");
        assert!(!r.call(&by(1), 0, &rotate(3, 33, 2, 1, Scheduled)), "not the owner");
        assert!(!r.call(&by(1), 0, &rotate(1, 11, 0, 1, Scheduled)), "decided already");
        assert!(!r.call(&by(1), 0, &rotate(1, 4, 1, 1, Scheduled)), "in use");
        let join = |r: &mut Registry, n: u8, amount| {
            let call = RegistryCall::Join { id: u64::from(n), public_key: key(70 + n) };
            r.call(&by(n), amount, &call)
        };
        assert!(!join(&mut r, 7, 9), "too little");
        assert!(!join(&mut r, 7, 11), "more than a quarter");
        assert!(join(&mut r, 7, 10));
        assert!(!join(&mut r, 8, 10), "with that more than a quarter");
        assert!(!r.call(&by(8), 0, &RegistryCall::Leave { id: 7 }), "not the owner");
        assert!(r.elect(7, Epoch(0)).is_none());
        let (bonds, set) = r.elect(8, Epoch(0)).expect("the time has come");
        assert!(bonds.is_empty() && set.count() == 5 && set.epoch() == Epoch(1));
        assert!(r.elect(9, Epoch(0)).is_none(), "once");
        assert!(r.call(&by(7), 0, &RegistryCall::Leave { id: 7 }));
        let (bonds, set) = r.elect(16, Epoch(1)).expect("the time has come");
        assert!(bonds.is_empty(), "it validates until the epoch ends");
        let second = &set.members()[1];
        assert_eq!((&second.public_key, &second.previous_key), (&key(22), &Some(key(2))));
        let (bonds, _) = r.elect(24, Epoch(2)).expect("the time has come");
        assert_eq!(bonds, [(address_of(&key(7)), 10)]);
        let (_, set) = r.elect(32, Epoch(3)).expect("the time has come");
        assert_eq!(set.members()[1].previous_key, None, "grace is over");
        assert!(r.call(&by(3), 0, &rotate(3, 33, 9, 9, Scheduled)));
        assert!(r.call(&by(3), 0, &rotate(3, 34, 5, 9, Emergency)), "the owner is in a hurry");
        assert!(!r.call(&by(3), 0, &rotate(3, 35, 5, 9, Emergency)));
        let (_, set) = r.elect(40, Epoch(4)).expect("the time has come");
        assert_eq!(
            (&set.members()[2].public_key, &set.members()[2].previous_key),
            (&key(34), &None)
        );
    }
}
