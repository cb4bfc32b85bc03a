//! The verifiers of the epochs under way.

use crate::{Reject, Verifier};
use qbind_types::{Epoch, Network};
use std::sync::{Arc, RwLock};

/// Epochs whose verifiers are kept: the last, the current and the next.
const KEPT: usize = 3;

/// Knows for each epoch under way who validates: the current one, the next as soon as it is elected,
/// and the one before, of which messages may still be on their way.
///
/// Shared by all threads of a process.
pub struct Verifiers {
    network: Network,
    kept: usize,
    epochs: RwLock<Vec<Arc<Verifier>>>,
}

impl Verifiers {
    /// Begins with one epoch.
    pub fn new(first: Arc<Verifier>) -> Self {
        Self::keeping(first, KEPT)
    }

    /// One that keeps so many epochs.
    pub fn keeping(first: Arc<Verifier>, kept: usize) -> Self {
        Self { network: first.network(), kept, epochs: RwLock::new(vec![first]) }
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// Adds the verifier of the next epoch; one of an epoch that is known already changes nothing.
    pub fn add(&self, next: Arc<Verifier>) {
        let mut epochs = self.epochs.write().expect("no panic while held");
        let is_next = epochs.last().is_none_or(|last| last.set().epoch() < next.set().epoch());
        if is_next {
            epochs.push(next);
            if epochs.len() > self.kept {
                epochs.remove(0);
            }
        }
    }

    /// The newest.
    pub fn newest(&self) -> Arc<Verifier> {
        let epochs = self.epochs.read().expect("no panic while held");
        epochs.last().expect("begins with one and never has fewer").clone()
    }

    /// That of an epoch.
    ///
    /// # Errors
    /// Nobody's fault: this node is not there yet, or has left that epoch long behind.
    pub fn of(&self, epoch: Epoch) -> Result<Arc<Verifier>, Reject> {
        let epochs = self.epochs.read().expect("no panic while held");
        let found = epochs.iter().rev().find(|v| v.set().epoch() == epoch);
        found.cloned().ok_or(Reject::WrongEpoch { epoch })
    }
}
