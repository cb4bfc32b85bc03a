//! What peers say on the control channel.

use crate::{NodeId, Role};
use borsh::{BorshDeserialize, BorshSerialize};
use std::sync::Arc;

/// Most entries of one telling.
pub(crate) const MAX_ENTRIES: usize = 256;

/// One message on the control channel.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Control {
    /// Are you there?
    Ping(u64),
    /// I am.
    Pong(u64),
    /// Nodes the sender is connected to.
    Peers(Vec<PeerEntry>),
    /// The last message: the sender closes this connection.
    Goodbye(Farewell),
    /// The application's.
    Application(Vec<u8>),
}

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PeerEntry {
    pub(crate) node_id: NodeId,
    pub(crate) role: Role,
    /// `ip:port`, never a name: strangers must not choose what is looked up.
    pub(crate) address: String,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Farewell {
    /// A better connection took over; the sender has read all the others had to say on this one.
    Superseded,
    Stopping,
    Disconnected,
    Banned,
}

impl Control {
    pub(crate) fn frame(&self) -> Arc<[u8]> {
        qbind_types::encode(self).into()
    }
}
