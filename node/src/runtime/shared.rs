//! What the replica thread publishes and HTTP reads.

use super::{evidence::EvidenceBook, peers::PeerBook, prune::Reach};
use qbind_crypto::{Verifier, Verifiers};
use qbind_ledger::{
    Ledger, Registry, Slashing,
    monetary::{Policy, State},
};
use qbind_replica::Gauges;
use qbind_storage::Store;
use qbind_types::{Height, ValidatorIndex, ValidatorSet};
use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// The store, who validates, and the newest numbers.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) verifiers: Arc<Verifiers>,
    pub(super) book: PeerBook,
    pub(super) evidence: EvidenceBook,
    epoch: RwLock<EpochView>,
    registry: RwLock<Arc<Registry>>,
    slashing: RwLock<Arc<Slashing>>,
    /// What the monetary engine is told.
    pub(super) policy: Policy,
    monetary: RwLock<Arc<State>>,
    height: AtomicU64,
    pub(super) reach: Arc<Reach>,
    gauges: RwLock<Option<Gauges>>,
}

/// The epoch this node is in.
#[derive(Clone)]
pub(super) struct EpochView {
    pub(super) set: Arc<ValidatorSet>,
    /// This node's place among them.
    pub(super) me: Option<ValidatorIndex>,
}

impl Shared {
    pub(super) fn new(
        store: Arc<Store>,
        verifiers: Arc<Verifiers>,
        ledger: &Ledger,
        set: &Arc<ValidatorSet>,
        evidence: EvidenceBook,
    ) -> Self {
        Self {
            store,
            verifiers,
            book: PeerBook::new(set),
            evidence,
            epoch: RwLock::new(EpochView { set: set.clone(), me: None }),
            registry: RwLock::new(Arc::new(ledger.registry().clone())),
            slashing: RwLock::new(Arc::new(ledger.slashing().clone())),
            policy: ledger.params().monetary.clone(),
            monetary: RwLock::new(Arc::new(ledger.monetary().clone())),
            height: AtomicU64::new(ledger.height().0),
            reach: Arc::default(),
            gauges: RwLock::new(None),
        }
    }

    pub(super) fn epoch(&self) -> EpochView {
        self.epoch.read().expect("no panic while held").clone()
    }

    /// As the last executed block left it.
    pub(super) fn registry(&self) -> Arc<Registry> {
        self.registry.read().expect("no panic while held").clone()
    }

    pub(super) fn set_registry(&self, registry: Registry) {
        *self.registry.write().expect("no panic while held") = Arc::new(registry);
    }

    /// What is held against validators, as the last executed block left it.
    pub(super) fn slashing(&self) -> Arc<Slashing> {
        self.slashing.read().expect("no panic while held").clone()
    }

    pub(super) fn set_slashing(&self, slashing: Slashing) {
        *self.slashing.write().expect("no panic while held") = Arc::new(slashing);
    }

    /// What the monetary engine remembers after the last executed block.
    pub(super) fn monetary(&self) -> Arc<State> {
        self.monetary.read().expect("no panic while held").clone()
    }

    pub(super) fn set_monetary(&self, state: State) {
        *self.monetary.write().expect("no panic while held") = Arc::new(state);
    }

    /// Messages of these validators may come from now on.
    pub(super) fn elected(&self, set: &Arc<ValidatorSet>) {
        let verifier = Verifier::new(self.verifiers.network(), set.clone());
        self.verifiers.add(Arc::new(verifier));
    }

    pub(super) fn start_epoch(&self, set: &Arc<ValidatorSet>, me: Option<ValidatorIndex>) {
        self.elected(set);
        self.book.start_epoch(set);
        *self.epoch.write().expect("no panic while held") = EpochView { set: set.clone(), me };
    }

    /// Last height that is in the store.
    pub(super) fn height(&self) -> Height {
        Height(self.height.load(Ordering::Acquire))
    }

    pub(super) fn set_height(&self, height: Height) {
        self.height.store(height.0, Ordering::Release);
    }

    /// `None` until the replica has run once.
    pub(super) fn gauges(&self) -> Option<Gauges> {
        *self.gauges.read().expect("no panic while held")
    }

    pub(super) fn publish(&self, gauges: Gauges) {
        *self.gauges.write().expect("no panic while held") = Some(gauges);
    }
}
