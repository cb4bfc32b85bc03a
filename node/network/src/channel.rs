//! The four lanes between two peers and what each may hold.

use std::time::Duration;

/// A lane. Each is its own yamux stream, so a long message on one does not delay another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Proposals, votes, timeouts.
    Consensus,
    /// Batches, acks, certificates.
    Dag,
    /// Questions about blocks and batches one missed, and their answers.
    Sync,
    /// Heartbeats, peer exchange, farewells; also open to the application.
    Control,
}

const MIB: usize = 1024 * 1024;

impl Channel {
    /// All of them, in order of their number on the wire.
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Dag, Self::Sync, Self::Control];

    /// Position in [`Channel::ALL`], also the number on the wire.
    pub fn index(self) -> usize {
        match self {
            Self::Consensus => 0,
            Self::Dag => 1,
            Self::Sync => 2,
            Self::Control => 3,
        }
    }

    /// Label for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Dag => "dag",
            Self::Sync => "sync",
            Self::Control => "control",
        }
    }

    /// Longest message, bytes. The largest proposal (two certificates of 256 signatures) is below
    /// 2 MiB.
    pub fn max_message_bytes(self) -> usize {
        match self {
            Self::Consensus => 8 * MIB,
            Self::Dag | Self::Sync => qbind_types::limits::MESSAGE_BYTES,
            Self::Control => MIB,
        }
    }

    /// Most messages waiting to be sent to one peer.
    pub fn max_queued_messages(self) -> usize {
        match self {
            Self::Consensus | Self::Dag => 1024,
            Self::Sync | Self::Control => 256,
        }
    }

    /// Most bytes waiting to be sent to one peer.
    pub fn max_queued_bytes(self) -> usize {
        match self {
            Self::Consensus => 16 * MIB,
            Self::Dag | Self::Sync => 64 * MIB,
            Self::Control => 2 * MIB,
        }
    }

    /// How long a message is worth sending. After a cut heals, what was queued meanwhile would come
    /// first, be useless (views are over, batches are fetched), and keep what is asked for waiting.
    pub fn max_age(self) -> Option<Duration> {
        match self {
            Self::Consensus | Self::Dag => Some(Duration::from_secs(3)),
            Self::Sync | Self::Control => None,
        }
    }

    /// What gives way when a peer's queue is full: on consensus the oldest message, because a
    /// newer view outdates it; elsewhere the new one, because its sender is told and may retry.
    pub fn evicts_oldest(self) -> bool {
        matches!(self, Self::Consensus)
    }
}
