//! What waits to be sent to one peer on one channel.

use crate::Channel;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Why a message was not queued, or did not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Push {
    /// It waits.
    Queued,
    /// It waits; this many older ones gave way.
    QueuedEvicting(usize),
    /// The queue is full and its channel keeps the older messages.
    Full,
    /// The connection is closing.
    Closed,
}

/// Bounded in messages and bytes; see [`Channel`] for the bounds and what gives way.
pub(crate) struct SendQueue {
    channel: Channel,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, Arc<[u8]>)>,
    bytes: usize,
    closed: bool,
}

impl State {
    fn drop_older(&mut self, now: Instant, most: Duration) -> usize {
        let is_stale = |(since, _): &(Instant, _)| now.saturating_duration_since(*since) > most;
        let mut dropped = 0;
        while let Some((_, message)) = self.waiting.pop_front_if(|m| is_stale(m)) {
            self.bytes -= message.len();
            dropped += 1;
        }
        dropped
    }
}

impl SendQueue {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, state: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, message: Arc<[u8]>) -> Push {
        self.push_at(message, Instant::now())
    }

    fn push_at(&self, message: Arc<[u8]>, now: Instant) -> Push {
        let mut state = self.lock();
        if state.closed {
            return Push::Closed;
        }
        if message.len() > self.channel.max_queued_bytes() {
            return Push::Full;
        }
        let fits = |state: &State| {
            state.waiting.len() < self.channel.max_queued_messages()
                && state.bytes + message.len() <= self.channel.max_queued_bytes()
        };
        let mut evicted = self.channel.max_age().map_or(0, |most| state.drop_older(now, most));
        while !fits(&state) {
            if !self.channel.evicts_oldest() {
                return Push::Full;
            }
            match state.waiting.pop_front() {
                Some((_, oldest)) => state.bytes -= oldest.len(),
                None => return Push::Full,
            }
            evicted += 1;
        }
        state.bytes += message.len();
        state.waiting.push_back((now, message));
        drop(state);
        self.changed.notify_one();
        if evicted > 0 { Push::QueuedEvicting(evicted) } else { Push::Queued }
    }

    /// The next message without waiting.
    pub(crate) fn try_pop(&self) -> Option<Arc<[u8]>> {
        let mut state = self.lock();
        let (_, message) = state.waiting.pop_front()?;
        state.bytes -= message.len();
        Some(message)
    }

    /// Drops what has waited too long, and says how much that was.
    pub(crate) fn drop_stale(&self) -> usize {
        self.drop_stale_at(Instant::now())
    }

    fn drop_stale_at(&self, now: Instant) -> usize {
        let Some(most) = self.channel.max_age() else { return 0 };
        self.lock().drop_older(now, most)
    }

    /// The next message; `None` when closed and empty. One reader only.
    pub(crate) async fn pop(&self) -> Option<Arc<[u8]>> {
        loop {
            if let Some(message) = self.try_pop() {
                return Some(message);
            }
            if self.lock().closed {
                return self.try_pop();
            }
            self.changed.notified().await;
        }
    }

    /// Takes no more; what waits can still be popped.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    fn message(bytes: usize, mark: u8) -> Arc<[u8]> {
        vec![mark; bytes].into()
    }

    #[test]
    fn consensus_drops_its_oldest_and_bulk_refuses_the_newest() {
        for channel in Channel::ALL {
            let queue = SendQueue::new(channel);
            for _ in 0..channel.max_queued_messages() {
                assert_eq!(queue.push(message(1, 1)), Push::Queued);
            }
            let last = queue.push(message(1, 2));
            if channel == Channel::Consensus {
                assert_eq!(last, Push::QueuedEvicting(1));
            } else {
                assert_eq!(last, Push::Full);
            }
            assert_eq!(queue.lock().waiting.len(), channel.max_queued_messages());
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let channel = Channel::Dag;
        let queue = SendQueue::new(channel);
        let half = channel.max_queued_bytes() / 2;
        assert_eq!(queue.push(message(half, 1)), Push::Queued);
        assert_eq!(queue.push(message(half, 1)), Push::Queued);
        assert_eq!(queue.push(message(1, 1)), Push::Full);
        assert!(queue.try_pop().is_some());
        assert_eq!(queue.push(message(1, 1)), Push::Queued);

        let queue = SendQueue::new(Channel::Consensus);
        let third = Channel::Consensus.max_queued_bytes() / 3;
        for _ in 0..3 {
            assert_eq!(queue.push(message(third, 1)), Push::Queued);
        }
        assert_eq!(queue.push(message(2 * third, 2)), Push::QueuedEvicting(2));
        assert_eq!(queue.push(message(4 * third, 3)), Push::Full);
    }

    #[test]
    fn what_waited_too_long_is_dropped_where_something_newer_replaces_it() {
        let start = Instant::now();
        for channel in Channel::ALL {
            let queue = SendQueue::new(channel);
            queue.push_at(message(1, 1), start);
            queue.push_at(message(1, 2), start + Duration::from_secs(2));
            assert_eq!(queue.drop_stale_at(start + Duration::from_secs(3)), 0);
            let dropped = queue.drop_stale_at(start + Duration::from_secs(4));
            assert_eq!(dropped, usize::from(channel.max_age().is_some()), "{channel:?}");
            assert_eq!(queue.lock().bytes, 2 - dropped);
        }
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_then_ends() {
        let queue = SendQueue::new(Channel::Sync);
        queue.push(message(1, 1));
        queue.close();
        assert_eq!(queue.push(message(1, 1)), Push::Closed);
        assert!(block_on(queue.pop()).is_some());
        assert!(block_on(queue.pop()).is_none());
    }
}
