//! What a committed block changes.

use crate::{Dag, Effect, Note, Standing, dag::forget};
use alloc::vec::Vec;
use qbind_types::{Address, BatchRef, Millis};

impl Dag {
    /// A block was executed: its batches are included, its accounts have changed.
    pub(crate) fn on_committed(
        &mut self,
        refs: &[BatchRef],
        accounts: &[(Address, Standing)],
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        let mut gone = Vec::new();
        for (address, account) in accounts {
            gone.extend(self.pool.on_committed(address, *account));
        }
        for reference in refs {
            self.include(reference, &mut gone, now, out);
        }
        let Self { fetches, chains, .. } = self;
        fetches.retain(|r| {
            chains.get(usize::from(r.creator.0)).is_some_and(|chain| r.round >= chain.included)
        });
        forget(gone, out);
    }

    fn include(
        &mut self,
        reference: &BatchRef,
        gone: &mut Vec<qbind_types::TxId>,
        now: Millis,
        out: &mut Vec<Effect>,
    ) {
        if self.config.me == Some(reference.creator) {
            self.include_own(reference, gone, out);
        }
        let Some(chain) = self.chain_mut(reference.creator) else { return };
        let forgotten = chain.include(reference.round);
        if chain.latest_certified.is_none_or(|latest| latest.round < reference.round) {
            chain.latest_certified = Some(*reference);
        }
        let included = chain.included;
        for id in forgotten {
            self.index.remove(&id);
        }
        // Its predecessor is committed now.
        self.release(reference.creator, included, now, out);
    }

    /// Transactions of an own batch that had no effect wait for another batch.
    fn include_own(
        &mut self,
        reference: &BatchRef,
        gone: &mut Vec<qbind_types::TxId>,
        out: &mut Vec<Effect>,
    ) {
        let mut ids = self.batch(&reference.id).map(|b| self.ids(b)).unwrap_or_default();
        let next = reference.round.saturating_add(1);
        let still_open = self.own.open.split_off(&next);
        // Certified without this node having seen it, or replaced by another holder of its key.
        for current in core::mem::replace(&mut self.own.open, still_open).into_values() {
            ids.extend(self.ids(&current.batch));
        }
        if self.own.next_round <= next {
            self.own.next_round = next;
            self.own.previous = Some(*reference);
        }
        self.own.announcements = 0;
        self.own.announce_due = None;
        let returned = self.pool.return_unused(&ids);
        if !returned.requeued.is_empty() {
            out.push(Effect::Note(Note::Requeued { count: returned.requeued.len() }));
        }
        if !returned.dropped.is_empty() {
            out.push(Effect::Note(Note::Dropped { count: returned.dropped.len() }));
        }
        gone.extend(returned.dropped);
    }
}
