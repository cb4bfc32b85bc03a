//! What the network tells the application.

use crate::{Channel, Direction, NodeId, Role};
use qbind_types::PublicKey;
use std::{fmt, net::SocketAddr, ops::Deref, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the network tells the application.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A node proved its key and can be sent to.
    PeerConnected {
        /// Who.
        node_id: NodeId,
        /// The key it proved.
        public_key: PublicKey,
        /// What it says it is for.
        role: Role,
        /// Who dialled.
        direction: Direction,
    },
    /// The last connection with a node is gone.
    PeerDisconnected {
        /// Who.
        node_id: NodeId,
    },
    /// A message. In order within a channel of one connection; when a connection is replaced the
    /// last messages of the old may arrive among the first of the new.
    Message {
        /// Who sent it.
        from: NodeId,
        /// On which channel.
        channel: Channel,
        /// Unverified content.
        bytes: Received,
    },
}

/// A received message. Counts against what may be in flight until it is dropped.
pub struct Received {
    bytes: Vec<u8>,
    _share: Option<OwnedSemaphorePermit>,
}

impl Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl Received {
    /// Waits until there is room for `bytes`.
    pub(crate) async fn within(budget: &Budget, channel: Channel, bytes: Vec<u8>) -> Self {
        let share = budget.take(channel, bytes.len()).await;
        Self { bytes, _share: share }
    }

    /// The bytes, no longer counted.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

const KIB: usize = 1024;
const CONSENSUS_BUDGET_KIB: usize = 64 * 1024;
const BULK_BUDGET_KIB: usize = 192 * 1024;

/// Bytes received and not yet dropped by the application, over all peers: 64 MiB of consensus
/// and 192 MiB of everything else. When used up, reading stops and TCP slows the senders down;
/// consensus has its own share, so bulk cannot stop it.
pub(crate) struct Budget {
    consensus: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            consensus: Arc::new(Semaphore::new(CONSENSUS_BUDGET_KIB)),
            bulk: Arc::new(Semaphore::new(BULK_BUDGET_KIB)),
        }
    }

    async fn take(&self, channel: Channel, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let semaphore = match channel {
            Channel::Consensus => &self.consensus,
            Channel::Dag | Channel::Sync | Channel::Control => &self.bulk,
        };
        let units = u32::try_from(bytes / KIB + 1).expect("a message is at most 32 MiB");
        // The semaphores are never closed.
        semaphore.clone().acquire_many_owned(units).await.ok()
    }
}

/// One connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSummary {
    /// Who.
    pub node_id: NodeId,
    /// The key it proved.
    pub public_key: PublicKey,
    /// What it says it is for.
    pub role: Role,
    /// Who dialled.
    pub direction: Direction,
    /// The other end of the connection.
    pub remote: SocketAddr,
    /// Where it says it can be dialled; empty if it keeps that to itself.
    pub advertised: String,
    /// The autonomous system of `remote`, if the table knows it.
    pub asn: Option<u32>,
    /// Of the last answered heartbeat.
    pub round_trip: Option<Duration>,
}

impl PeerSummary {
    /// Whether it keeps its address to itself.
    pub fn is_hidden(&self) -> bool {
        self.advertised.is_empty()
    }
}
