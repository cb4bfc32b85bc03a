//! Who is connected, shared between the manager and the application's threads.

use crate::{
    Channel, Direction, Health, NodeId, PeerSummary, SendError,
    context::{Candidate, Context},
    control::Control,
    lanes::Lanes,
    queue::Push,
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

/// One connected peer.
pub(crate) struct Peer {
    pub(crate) candidate: Candidate,
    pub(crate) lanes: Arc<Lanes>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<NodeId, Arc<Peer>>,
    health: Health,
}

/// Written by the manager alone.
#[derive(Default)]
pub(crate) struct Peers {
    state: RwLock<State>,
}

impl Peers {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, node_id: NodeId, peer: Arc<Peer>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.peers.insert(node_id, peer);
    }

    pub(crate) fn remove(&self, node_id: NodeId) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.peers.remove(&node_id);
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).health = health;
    }

    pub(crate) fn health(&self) -> Health {
        self.read().health.clone()
    }

    /// Remote addresses of all but `except`, and how many of those connections we dialled.
    pub(crate) fn addresses(&self, except: Option<NodeId>) -> (Vec<IpAddr>, usize) {
        let state = self.read();
        let others = state.peers.iter().filter(|(id, _)| Some(**id) != except);
        let addresses = others.clone().map(|(_, peer)| peer.candidate.remote.ip()).collect();
        let outbound =
            others.filter(|(_, peer)| peer.candidate.direction == Direction::Outbound).count();
        (addresses, outbound)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.read().peers.values().cloned().collect()
    }

    pub(crate) fn summaries(&self, context: &Context) -> Vec<PeerSummary> {
        let summary = |peer: Arc<Peer>| {
            let Candidate { node_id, public_key, role, direction, remote, advertised, .. } =
                peer.candidate.clone();
            let asn = context.config.asn_table.lookup(remote.ip());
            let round_trip = peer.lanes.round_trip();
            PeerSummary {
                node_id,
                public_key,
                role,
                direction,
                remote,
                advertised,
                asn,
                round_trip,
            }
        };
        self.all().into_iter().map(summary).collect()
    }

    /// Queues for everybody connected; how many it waits for now.
    pub(crate) fn broadcast(&self, channel: Channel, bytes: Arc<[u8]>, context: &Context) -> usize {
        let Ok(message) = wire(channel, bytes) else { return 0 };
        let state = self.read();
        let queued = state.peers.values().filter(|peer| {
            matches!(
                peer.lanes.push(channel, message.clone(), context),
                Push::Queued | Push::QueuedEvicting(_)
            )
        });
        queued.count()
    }

    pub(crate) fn is_hidden(&self, id: NodeId) -> bool {
        self.read().peers.get(&id).is_some_and(|peer| peer.candidate.is_hidden())
    }

    /// Queues what `from` said for those who cannot hear it themselves: for everybody if it keeps its
    /// address to itself, else for those who do. How many it waits for now.
    pub(crate) fn relay(
        &self,
        from: NodeId,
        channel: Channel,
        bytes: Arc<[u8]>,
        serves: &dyn Fn(NodeId) -> bool,
        context: &Context,
    ) -> usize {
        let Ok(message) = wire(channel, bytes) else { return 0 };
        let state = self.read();
        let Some(source) = state.peers.get(&from) else { return 0 };
        let is_from_hidden = source.candidate.is_hidden() && serves(from);
        let hearers = state.peers.iter().filter(|(id, peer)| {
            let is_served = || peer.candidate.is_hidden() && serves(**id);
            **id != from && (is_from_hidden || is_served())
        });
        let queued = hearers.filter(|(_, peer)| {
            matches!(
                peer.lanes.push(channel, message.clone(), context),
                Push::Queued | Push::QueuedEvicting(_)
            )
        });
        queued.count()
    }

    pub(crate) fn send(
        &self,
        to: NodeId,
        channel: Channel,
        bytes: Arc<[u8]>,
        context: &Context,
    ) -> Result<(), SendError> {
        let message = wire(channel, bytes)?;
        // Under the lock: queues close only after the manager has put new ones in their place.
        let state = self.read();
        let peer = state.peers.get(&to).ok_or(SendError::NotConnected { to })?;
        match peer.lanes.push(channel, message, context) {
            Push::Queued | Push::QueuedEvicting(_) => Ok(()),
            Push::Full => Err(SendError::Full { to }),
            Push::Closed => Err(SendError::NotConnected { to }),
        }
    }
}

/// What goes on the wire: control messages of the application are wrapped among our own.
fn wire(channel: Channel, bytes: Arc<[u8]>) -> Result<Arc<[u8]>, SendError> {
    let framed: Cow<'_, Arc<[u8]>> = match channel {
        Channel::Control => Cow::Owned(Control::Application(bytes.to_vec()).frame()),
        Channel::Consensus | Channel::Dag | Channel::Sync => Cow::Borrowed(&bytes),
    };
    let max = channel.max_message_bytes();
    if framed.len() > max {
        return Err(SendError::TooLong { bytes: framed.len(), max });
    }
    Ok(framed.into_owned())
}
