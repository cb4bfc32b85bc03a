//! Reports of offences, judged a second time: which are taken where offences are only recorded.
//!
//! What follows in the modes that take stake is not worked out here: a chain with a report whose nodes
//! are not all configured to record only is replayed up to that report and no further.

use qbind_crypto::verify_evidence;
use qbind_types::{Epoch, Evidence, Network, Offence, ValidatorSet};
use std::collections::{BTreeMap, BTreeSet};

/// Epochs whose validators can be accused.
const EPOCHS: usize = 8;
/// Most offences of one kind, validator and epoch.
const ALIKE: usize = 256;

/// What is on record.
pub(crate) struct Court {
    /// Which chain, if every node only records offences on it.
    records: Option<Network>,
    sets: BTreeMap<Epoch, ValidatorSet>,
    /// By epoch, validator, offence; the views or rounds of each.
    record: BTreeMap<(Epoch, u64, Offence), BTreeSet<u64>>,
    /// A report came, and what follows from it is not known.
    is_stuck: bool,
}

impl Court {
    pub(crate) fn new(founders: &ValidatorSet) -> Self {
        let sets = BTreeMap::from([(founders.epoch(), founders.clone())]);
        Self { records: None, sets, record: BTreeMap::new(), is_stuck: false }
    }

    /// Every node of this chain only records offences.
    pub(crate) fn records_only(&mut self, network: Network) {
        self.records = Some(network);
    }

    /// Whether somebody with this id can still be accused.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.sets.values().any(|set| set.index_of(id).is_some())
    }

    /// A report came, and what follows from it is not known.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Whether a report is taken; it then is on record.
    pub(crate) fn report(&mut self, amount: u128, evidence: &Evidence) -> bool {
        let Some(network) = self.records else {
            self.is_stuck = true;
            return false;
        };
        let Some(set) = self.sets.get(&evidence.epoch()) else { return false };
        let Ok(proof) = verify_evidence(network, set, evidence) else { return false };
        let known = self.record.entry((proof.epoch, proof.validator, proof.offence)).or_default();
        amount == 0 && known.len() < ALIKE && known.insert(proof.at)
    }

    /// An epoch's validators are elected; the oldest can be accused no more.
    pub(crate) fn elected(&mut self, set: &ValidatorSet) {
        self.sets.insert(set.epoch(), set.clone());
        while self.sets.len() > EPOCHS {
            self.sets.pop_first();
        }
        let oldest = self.sets.keys().next().copied().unwrap_or_default();
        self.record.retain(|(epoch, ..), _| *epoch >= oldest);
    }
}
