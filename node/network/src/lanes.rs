//! The sending half of a link, as everybody else sees it.

use crate::{
    Channel, DropReason,
    context::Context,
    queue::{Push, SendQueue},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The sending ends of a link, one queue per channel, and what is known of its pace.
pub(crate) struct Lanes {
    queues: [SendQueue; 4],
    /// Round trip of the last heartbeat, microseconds; nothing measured is `u64::MAX`.
    pub(crate) round_trip_us: AtomicU64,
    /// Frames read, of any channel.
    pub(crate) heard: AtomicU64,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            queues: Channel::ALL.map(SendQueue::new),
            round_trip_us: AtomicU64::new(u64::MAX),
            heard: AtomicU64::new(0),
        }
    }

    pub(crate) fn queue(&self, channel: Channel) -> &SendQueue {
        &self.queues[channel.index()]
    }

    pub(crate) fn close(&self) {
        self.queues.iter().for_each(SendQueue::close);
    }

    /// Closes all but control, on which the farewell is still to be said.
    pub(crate) fn close_data(&self) {
        for channel in Channel::ALL.into_iter().filter(|c| *c != Channel::Control) {
            self.queue(channel).close();
        }
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self.round_trip_us.load(Ordering::Relaxed) {
            u64::MAX => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Queues a message and counts what had to give way. Whether it waits now.
    pub(crate) fn push(&self, channel: Channel, message: Arc<[u8]>, context: &Context) -> Push {
        let pushed = self.queue(channel).push(message);
        let observer = &context.observer;
        match pushed {
            Push::Queued => {}
            Push::QueuedEvicting(n) => observer.dropped(channel, DropReason::Evicted, n),
            Push::Full => observer.dropped(channel, DropReason::Full, 1),
            Push::Closed => observer.dropped(channel, DropReason::Closed, 1),
        }
        pushed
    }
}
