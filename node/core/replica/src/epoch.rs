//! From one epoch to the next: each is a run of consensus and of the data layer of its own, over one
//! ledger.
//!
//! The block at the election height decides who validates the next epoch. The first block whose leader
//! had executed that one names them and ends the epoch. Once it is final and executed, the next epoch
//! starts from it.

use crate::{CommitRecord, Effect, Halt, Now, Replica};
use alloc::{sync::Arc, vec::Vec};
use qbind_consensus::{Consensus, SafetyRecord};
use qbind_crypto::{block_id, validators_id};
use qbind_types::{Block, BlockId, EpochStart, Height, ValidatorIndex, ValidatorSet, ValidatorsId};

impl Replica {
    /// What a block after `parent` whose leader has executed `executed` must say of the next epoch.
    pub(crate) fn next_validators(
        &self,
        parent: &BlockId,
        executed: Height,
    ) -> Option<ValidatorsId> {
        let epoch = self.start.epoch.next();
        if self.consensus.is_closing(parent) || executed < self.election() {
            return None;
        }
        self.ledger.registry().set(epoch).map(|set| validators_id(self.config.network, set))
    }

    /// The height whose block elects the validators of the next epoch: an epoch that dragged on elects
    /// with its first.
    fn election(&self) -> Height {
        let registry = self.ledger.registry();
        registry.election(self.start.epoch.next()).max(self.start.height.next())
    }

    /// Ends the epoch if `last` is its last block and executed.
    pub(crate) fn end_epoch(&mut self, now: Now, last: &Block, out: &mut Vec<Effect>) {
        let Some(next) = last.next_validators else { return };
        let height = last.height;
        let set = self.ledger.registry().set(last.next_epoch()).cloned();
        let set = set.filter(|set| validators_id(self.config.network, set) == next);
        let Some(set) = set else {
            self.halt(
                Halt::Rule { height, rule: "an epoch ends with the elected validators" },
                out,
            );
            return;
        };
        let (epoch, view, block) = (last.next_epoch(), last.view, block_id(last));
        self.start_epoch(now, EpochStart { epoch, height, view, block }, set, last.clone(), out);
    }

    fn start_epoch(
        &mut self,
        now: Now,
        start: EpochStart,
        set: Arc<ValidatorSet>,
        last: Block,
        out: &mut Vec<Effect>,
    ) {
        self.sync.start_epoch(start.epoch, ids(&self.set) != ids(&set));
        self.start = start;
        self.set = set.clone();
        self.me = place(self.config.key.as_ref(), &set);
        (self.lead, self.checking) = (None, None);
        out.push(Effect::EpochStarted { start, set: set.clone(), me: self.me });
        let config = qbind_consensus::Config {
            network: self.config.network,
            set: set.clone(),
            start,
            me: self.me,
            timing: self.config.timing,
        };
        let restored = qbind_consensus::Restored {
            safety: SafetyRecord::start(&start),
            committed: Some(last),
            pending: Vec::new(),
        };
        let effects = self.dag.next_epoch(self.me, set, now.monotonic);
        self.route_dag(now, effects, out);
        let (consensus, effects) = Consensus::new(config, restored, now.monotonic);
        self.consensus = consensus;
        self.route_consensus(now, effects, out);
        for event in self.early.release() {
            self.dispatch(now, event, out);
        }
    }

    /// Lets the shell know who validates the next epoch, so that it can check their messages.
    pub(crate) fn announce_election(&self, record: &CommitRecord, out: &mut Vec<Effect>) {
        let epoch = self.start.epoch.next();
        if record.committed.block.height == self.election()
            && let Some(set) = self.ledger.registry().set(epoch)
        {
            out.push(Effect::Elected(set.clone()));
        }
    }
}

fn ids(set: &ValidatorSet) -> Vec<u64> {
    set.members().iter().map(|m| m.id).collect()
}

/// The validator whose key this node has.
pub(crate) fn place(
    key: Option<&qbind_types::PublicKey>,
    set: &ValidatorSet,
) -> Option<ValidatorIndex> {
    key.and_then(|key| set.index_of_key(key))
}
