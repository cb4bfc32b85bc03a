//! Messages of the next epoch that come before this one has ended here.

use crate::Event;
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_consensus::Event as Consensus;
use qbind_types::{Epoch, ValidatorIndex};

/// Messages kept of each validator: what one sends in a view, twice.
const PER_VALIDATOR: usize = 8;

/// Kind, and view or round: who repeats a message takes no place twice.
type Which = (u8, u64);

/// Who is a message delay behind does not lose the first view of an epoch.
#[derive(Debug, Default)]
pub(crate) struct Early {
    kept: BTreeMap<ValidatorIndex, BTreeMap<Which, Event>>,
}

impl Early {
    /// Keeps a message of the epoch after `current`; gives any other back.
    pub(crate) fn keep(&mut self, current: Epoch, event: Event) -> Option<Event> {
        let Some((epoch, signer, which)) = origin(&event) else { return Some(event) };
        if epoch != current.next() {
            return Some(event);
        }
        let kept = self.kept.entry(signer).or_default();
        if kept.len() < PER_VALIDATOR {
            kept.entry(which).or_insert(event);
        }
        None
    }

    /// What was kept; the epoch has started.
    pub(crate) fn release(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.kept).into_values().flat_map(BTreeMap::into_values).collect()
    }
}

/// Epoch, signer and what it is, of a message that one validator signed.
fn origin(event: &Event) -> Option<(Epoch, ValidatorIndex, Which)> {
    let (epoch, signer, which) = match event {
        Event::Consensus(event) => {
            let which = match &**event {
                Consensus::Proposal(p) => (0, p.block.view.0),
                Consensus::Vote(v) => (1, v.view.0),
                Consensus::CommitVote(v) => (2, v.view.0),
                Consensus::Timeout(t) => (3, t.view.0),
                _ => return None,
            };
            (event.epoch()?, event.signer()?, which)
        }
        Event::Batch(batch) => (batch.epoch, batch.creator, (4, batch.round)),
        Event::Ack(ack) => {
            // Of each creator's round one.
            let place = u64::from(ack.batch.creator.0) << 48 | ack.batch.round & 0xffff_ffff_ffff;
            (ack.batch.epoch, ack.validator, (5, place))
        }
        _ => return None,
    };
    Some((epoch, signer, which))
}
