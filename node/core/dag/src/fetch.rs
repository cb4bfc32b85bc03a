//! Batches this node looks for, and requests it serves.

use crate::{
    Peer,
    config::{backed_off, bounds},
};
use alloc::{collections::BTreeMap, vec::Vec};
use qbind_types::{BatchRef, Millis};

#[derive(Debug, Clone, Copy)]
struct Fetch {
    due: Millis,
    /// An answer to the last request, if there was one, may come until then.
    patience: Millis,
    attempts: u32,
    is_asked: bool,
    is_proven: bool,
}

/// Batches looked for; at most [`bounds::WANTED`], at most [`bounds::FETCHES`] asked for at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fetches {
    wanted: BTreeMap<BatchRef, Fetch>,
}

/// Whether a wish was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    New,
    Known,
    Refused,
}

/// A turn to ask for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) reference: BatchRef,
    /// Requests made before this one.
    pub(crate) attempts: u32,
}

impl Fetches {
    pub(crate) fn len(&self) -> usize {
        self.wanted.len()
    }

    pub(crate) fn contains(&self, reference: &BatchRef) -> bool {
        self.wanted.contains_key(reference)
    }

    /// Looks for a batch from `due` on, or sooner than it would have: who still wants it waits for one
    /// answer, not for the back-off of earlier requests. One that is proven to exist displaces one
    /// that may be made up.
    pub(crate) fn wish(&mut self, reference: BatchRef, due: Millis, is_proven: bool) -> Wish {
        if let Some(fetch) = self.wanted.get_mut(&reference) {
            fetch.is_proven |= is_proven;
            fetch.due = fetch.due.min(due.max(fetch.patience));
            return Wish::Known;
        }
        if self.wanted.len() >= bounds::WANTED {
            let unproven = self.wanted.iter().find(|(_, f)| !f.is_proven).map(|(r, _)| *r);
            match unproven.filter(|_| is_proven) {
                Some(displaced) => self.wanted.remove(&displaced),
                None => return Wish::Refused,
            };
        }
        self.wanted.insert(
            reference,
            Fetch { due, patience: Millis(0), attempts: 0, is_asked: false, is_proven },
        );
        Wish::New
    }

    pub(crate) fn remove(&mut self, reference: &BatchRef) -> bool {
        self.wanted.remove(reference).is_some()
    }

    /// Forgets what `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&BatchRef) -> bool) {
        self.wanted.retain(|reference, _| keep(reference));
    }

    /// Whose turn it is, earliest first, as many as may be asked for at once.
    pub(crate) fn turns(&mut self, now: Millis, timeout: Millis) -> Vec<Turn> {
        let mut due = Vec::new();
        for (reference, fetch) in self.wanted.iter_mut().filter(|(_, f)| f.due <= now) {
            fetch.is_asked = false;
            due.push((fetch.due, *reference));
        }
        due.sort_unstable();
        let unanswered = self.wanted.values().filter(|f| f.is_asked).count();
        let mut turns = Vec::new();
        for (_, reference) in due.into_iter().take(bounds::FETCHES.saturating_sub(unanswered)) {
            if let Some(fetch) = self.wanted.get_mut(&reference) {
                turns.push(Turn { reference, attempts: fetch.attempts });
                fetch.patience = now.plus(timeout);
                fetch.due = now.plus(backed_off(timeout, fetch.attempts / 4));
                fetch.attempts = fetch.attempts.saturating_add(1);
                fetch.is_asked = true;
            }
        }
        turns
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        let asked = || self.wanted.values().filter(|f| f.is_asked).map(|f| f.due);
        if asked().count() >= bounds::FETCHES {
            return asked().min();
        }
        self.wanted.values().map(|f| f.due).min()
    }
}

/// Counts batches served per peer and second; at most [`bounds::REQUESTERS`] peers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    counts: BTreeMap<Peer, (Millis, u32)>,
}

impl Served {
    const INTERVAL: Millis = Millis(1_000);

    /// Whether one more may be served to `peer`.
    pub(crate) fn admit(&mut self, peer: Peer, now: Millis) -> bool {
        if !self.counts.contains_key(&peer) && self.counts.len() >= bounds::REQUESTERS {
            self.counts.retain(|_, (start, _)| start.plus(Self::INTERVAL) > now);
            if self.counts.len() >= bounds::REQUESTERS {
                return false;
            }
        }
        let (start, count) = self.counts.entry(peer).or_insert((now, 0));
        if start.plus(Self::INTERVAL) <= now {
            (*start, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= bounds::SERVED_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_types::{BatchId, ValidatorIndex};

    #[test]
    fn who_still_wants_a_batch_waits_for_one_answer_and_not_for_the_back_off() {
        let reference = BatchRef {
            epoch: qbind_types::Epoch(0),
            creator: ValidatorIndex(1),
            round: 0,
            id: BatchId([1; 32]),
        };
        let timeout = Millis(500);
        let mut fetches = Fetches::default();
        fetches.wish(reference, Millis(0), true);
        let mut now = Millis(0);
        while fetches.turns(now, timeout).first().is_none_or(|turn| turn.attempts < 8) {
            now = fetches.next_due().expect("looked for");
        }
        assert_eq!(fetches.next_due(), Some(now.plus(Millis(2_000))), "nobody asks for it");
        fetches.wish(reference, now, true);
        assert_eq!(fetches.next_due(), Some(now.plus(timeout)));
    }
}
