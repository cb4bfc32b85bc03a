//! What the network lets others count.

use crate::{Channel, DiversityReason, Health, RefuseReason};

/// Why a message did not reach a peer's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The queue was full and an older message gave way.
    Evicted,
    /// It waited longer than its channel's messages are worth sending.
    Stale,
    /// The queue was full and the new message was refused.
    Full,
    /// The connection was closing.
    Closed,
}

impl DropReason {
    /// Label for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Stale => "stale",
            Self::Full => "full",
            Self::Closed => "closed",
        }
    }
}

/// A step in the life of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatStep {
    /// Asked.
    Sent,
    /// Answered in time.
    Success,
    /// Not answered in time.
    Failed,
}

/// A step in the life of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialStep {
    /// Begun.
    Attempt,
    /// Ended in a proven connection (or found one to be there already).
    Success,
    /// Ended otherwise.
    Failure,
}

/// Why a connected peer was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvictReason {
    /// It answered no heartbeat.
    Liveness,
    /// It broke the protocol.
    Violation,
    /// The application asked for it.
    Banned,
}

impl EvictReason {
    /// Label of `qbind_p2p_peer_evicted_total`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Violation => "violation",
            Self::Banned => "banned",
        }
    }
}

/// Counters of the network. Called from its threads; must not block.
pub trait NetworkObserver: Send + Sync + 'static {
    /// A message of `bytes` was written to a peer.
    fn sent(&self, _channel: Channel, _bytes: usize) {}
    /// A message of `bytes` was read from a peer.
    fn received(&self, _channel: Channel, _bytes: usize) {}
    /// Messages for a peer were lost before they were written.
    fn dropped(&self, _channel: Channel, _reason: DropReason, _messages: usize) {}
    /// A peer broke a diversity bound; `refused` is false where the mode only warns.
    fn diversity_violated(&self, _reason: DiversityReason, _refused: bool) {}
    /// An outbound slot was kept for another autonomous system.
    fn asn_refused(&self) {}
    /// A handshake ended in a refusal, ours or theirs.
    fn handshake_refused(&self, _reason: RefuseReason) {}
    /// A handshake broke off without a reason given.
    fn handshake_failed(&self) {}
    /// A heartbeat went one step further.
    fn heartbeat(&self, _step: HeartbeatStep) {}
    /// A dial went one step further.
    fn dial(&self, _step: DialStep) {}
    /// A node was heard of for the first time.
    fn discovered(&self) {}
    /// A list of addresses was told to a peer, or (`false`) a peer's list could not be used.
    fn exchanged(&self, _success: bool) {}
    /// A connected peer was let go.
    fn evicted(&self, _reason: EvictReason) {}
    /// Once a second, and whenever a peer came or went.
    fn health(&self, _health: &Health) {}
}

/// Counts nothing.
impl NetworkObserver for () {}
