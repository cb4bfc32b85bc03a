//! Messages of the next epoch that come before this one has ended here.

use crate::Event;
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{Epoch, ValidatorIndex};

/// Messages kept of each validator: what one sends in a view, twice.
const PER_VALIDATOR: usize = 8;

/// Who is a message delay behind does not lose the first view of an epoch.
#[derive(Debug, Default)]
pub(crate) struct Early {
    kept: BTreeMap<ValidatorIndex, Vec<Event>>,
}

impl Early {
    /// Keeps a message of the epoch after `current`; gives any other back.
    pub(crate) fn keep(&mut self, current: Epoch, event: Event) -> Option<Event> {
        let Some((epoch, signer)) = origin(&event) else { return Some(event) };
        if epoch != current.next() {
            return Some(event);
        }
        let kept = self.kept.entry(signer).or_default();
        if kept.len() < PER_VALIDATOR {
            kept.push(event);
        }
        None
    }

    /// What was kept; the epoch has started.
    pub(crate) fn release(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.kept).into_values().flatten().collect()
    }
}

/// Epoch and signer of a message that one validator signed.
fn origin(event: &Event) -> Option<(Epoch, ValidatorIndex)> {
    match event {
        Event::Consensus(event) => event.epoch().zip(event.signer()),
        Event::Batch(batch) => Some((batch.epoch, batch.creator)),
        Event::Ack(ack) => Some((ack.batch.epoch, ack.validator)),
        _ => None,
    }
}
