//! What every task of the network shares.

use crate::{
    Direction, NetworkConfig, NetworkEvent, NetworkObserver, NodeId, RefuseReason, Role,
    book::Target,
    control::PeerEntry,
    event::Budget,
    link::{LinkEnd, LinkStart},
};
use libp2p::{PeerId, identity::Keypair};
use qbind_types::PublicKey;
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) struct Context {
    pub(crate) config: NetworkConfig,
    pub(crate) public_key: PublicKey,
    pub(crate) node_id: NodeId,
    /// The address really listened on.
    pub(crate) local: SocketAddr,
    /// Of this start only: Noise proves it, the ML-DSA proof binds it to `node_id`.
    pub(crate) keypair: Keypair,
    pub(crate) observer: Arc<dyn NetworkObserver>,
    pub(crate) manager: mpsc::Sender<ToManager>,
    pub(crate) events: mpsc::Sender<NetworkEvent>,
    pub(crate) budget: Budget,
    /// Whose handshake may ask for a proof.
    pub(crate) turn: Arc<Semaphore>,
}

/// A peer that proved its key and asks to be admitted.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) node_id: NodeId,
    pub(crate) public_key: PublicKey,
    pub(crate) role: Role,
    /// Its ephemeral id: another one means that it restarted.
    pub(crate) instance: PeerId,
    pub(crate) direction: Direction,
    pub(crate) remote: SocketAddr,
    /// Where it says it can be dialled; empty if it keeps that to itself.
    pub(crate) advertised: String,
    /// What we dialled to get here.
    pub(crate) dialled: Option<Target>,
}

impl Candidate {
    /// Whether it keeps its address to itself.
    pub(crate) fn is_hidden(&self) -> bool {
        self.advertised.is_empty()
    }
}

/// An admitted peer.
pub(crate) struct Admission {
    /// Where in the order of the deciding side's decisions this one stands.
    pub(crate) sequence: u64,
    pub(crate) start: LinkStart,
}

/// What tasks tell or ask the manager.
pub(crate) enum ToManager {
    /// Would this peer be admitted?
    Check { candidate: Candidate, reply: oneshot::Sender<Result<(), RefuseReason>> },
    /// Admit it. `sequence` is the other side's decision, or absent where the decision is ours.
    Admit {
        candidate: Candidate,
        sequence: Option<u64>,
        reply: oneshot::Sender<Result<Admission, RefuseReason>>,
    },
    /// A dial ended, well or not.
    DialEnded { target: Target, outcome: DialOutcome },
    /// A link ended.
    LinkEnded { link: u64, end: LinkEnd },
    /// A peer told of others.
    Told { link: u64, entries: Vec<PeerEntry> },
}

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    Connected,
    Duplicate,
    Ourselves,
    Failed,
}
