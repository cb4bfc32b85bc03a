//! What a sentry passes on: each message once, and only for validators behind it.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Mutex,
};

/// Messages remembered.
const RECENT: usize = 16_384;

/// The last messages that were passed on. Who repeats one, or has it from two sides, makes no second
/// copy; the hashes are keyed, so nobody can make another message look like one that is known.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    keys: RandomState,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Relayed {
    /// Notes a message; whether it is new.
    pub(super) fn is_new(&self, bytes: &[u8]) -> bool {
        let hash = self.keys.hash_one(bytes);
        let mut last = self.last.lock().expect("no panic while held");
        if !last.known.insert(hash) {
            return false;
        }
        last.order.push_back(hash);
        if last.order.len() > RECENT
            && let Some(oldest) = last.order.pop_front()
        {
            last.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_for_as_long_as_it_is_remembered() {
        let relayed = Relayed::default();
        assert!(relayed.is_new(b"vote") && !relayed.is_new(b"vote"));
        for n in 0..RECENT {
            assert!(relayed.is_new(&n.to_le_bytes()), "{n}");
        }
        assert!(relayed.is_new(b"vote"), "the oldest was forgotten");
        assert_eq!(relayed.last.lock().unwrap().order.len(), RECENT);
    }
}
