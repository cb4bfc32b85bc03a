//! What a sentry passes on: each message once, and only for validators behind it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Messages remembered.
const RECENT: usize = 16_384;

/// The messages that were passed on a moment ago. Who has one from two sides makes no second copy; who
/// hears it again later does, for its author repeats it to whoever has missed it. The hashes are keyed,
/// so nobody can make another message look like one that is known.
#[derive(Debug)]
pub(super) struct Relayed {
    keys: RandomState,
    patience: Duration,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// When, and whether it went to everybody.
    known: HashMap<u64, (Instant, bool)>,
    order: VecDeque<(u64, Instant)>,
}

impl Relayed {
    /// Authors repeat what they say every `resend`, or more slowly.
    pub(super) fn new(resend: Duration) -> Self {
        Self { keys: RandomState::new(), patience: resend / 2, last: Mutex::default() }
    }

    /// Notes a message; whether it is to be passed on. What went to hidden peers only still goes
    /// `to_all` when its author, who is hidden, says it itself.
    pub(super) fn is_new(&self, bytes: &[u8], to_all: bool, now: Instant) -> bool {
        let hash = self.keys.hash_one(bytes);
        let mut last = self.last.lock().expect("no panic while held");
        last.forget(now, self.patience);
        let went_to_all = last.known.get(&hash).map(|(_, all)| *all);
        if went_to_all.is_some_and(|all| all || !to_all) {
            return false;
        }
        last.known.insert(hash, (now, to_all));
        last.order.push_back((hash, now));
        true
    }
}

impl Last {
    /// Forgets what is older than `patience`, and the oldest beyond what is remembered.
    fn forget(&mut self, now: Instant, patience: Duration) {
        while let Some((hash, at)) = self.order.front().copied()
            && (now.saturating_duration_since(at) >= patience || self.order.len() >= RECENT)
        {
            self.order.pop_front();
            // One that went to everybody later is remembered from then on.
            if self.known.get(&hash).is_some_and(|(since, _)| *since == at) {
                self.known.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESEND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_repeated_is_passed_on_again_and_a_second_copy_is_not() {
        let (relayed, start) = (Relayed::new(RESEND), Instant::now());
        let is_new =
            |after: u64| relayed.is_new(b"timeout", true, start + Duration::from_millis(after));
        assert!(is_new(0) && !is_new(1) && !is_new(499));
        assert!(is_new(1_000), "its author has sent it again");
        assert!(!is_new(1_001));
    }

    #[test]
    fn a_copy_by_another_sentry_does_not_silence_its_author() {
        let (relayed, now) = (Relayed::new(RESEND), Instant::now());
        assert!(relayed.is_new(b"vote", false, now), "to hidden peers");
        assert!(!relayed.is_new(b"vote", false, now));
        assert!(relayed.is_new(b"vote", true, now), "to everybody");
        assert!(!relayed.is_new(b"vote", false, now) && !relayed.is_new(b"vote", true, now));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (relayed, now) = (Relayed::new(RESEND), Instant::now());
        assert!(relayed.is_new(b"vote", true, now));
        for n in 0..RECENT {
            assert!(relayed.is_new(&n.to_le_bytes(), true, now), "{n}");
        }
        assert!(relayed.is_new(b"vote", true, now), "the oldest was forgotten");
        let last = relayed.last.lock().unwrap();
        assert!(last.order.len() <= RECENT && last.known.len() <= RECENT);
    }
}
