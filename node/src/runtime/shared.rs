//! What the replica thread publishes and HTTP reads.

use qbind_replica::Gauges;
use qbind_storage::Store;
use qbind_types::Height;
use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// The store, and the newest numbers.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    height: AtomicU64,
    gauges: RwLock<Option<Gauges>>,
}

impl Shared {
    pub(super) fn new(store: Arc<Store>, height: Height) -> Self {
        Self { store, height: AtomicU64::new(height.0), gauges: RwLock::new(None) }
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
