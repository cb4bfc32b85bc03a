//! Which connection is which validator.

use qbind_dag::Peer;
use qbind_network::NodeId;
use qbind_types::{PublicKey, ValidatorIndex, ValidatorSet};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Names of connected nodes on both sides of the seam.
pub(super) struct PeerBook {
    validators: BTreeMap<NodeId, ValidatorIndex>,
    nodes: BTreeMap<ValidatorIndex, NodeId>,
    others: RwLock<BTreeMap<u64, NodeId>>,
}

impl PeerBook {
    pub(super) fn new(set: &ValidatorSet) -> Arc<Self> {
        let ids = || {
            set.members()
                .iter()
                .filter_map(|m| set.index_of(m.id).map(|index| (NodeId::of(&m.public_key), index)))
        };
        Arc::new(Self {
            validators: ids().collect(),
            nodes: ids().map(|(node, index)| (index, node)).collect(),
            others: RwLock::default(),
        })
    }

    pub(super) fn validator(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        self.validators.get(&NodeId::of(key)).copied()
    }

    /// The core's name for a node.
    pub(super) fn peer(&self, node: NodeId) -> Peer {
        if let Some(index) = self.validators.get(&node) {
            return Peer::Validator(*index);
        }
        Peer::Node(short(node))
    }

    pub(super) fn connected(&self, node: NodeId) {
        if !self.validators.contains_key(&node) {
            self.others.write().expect("no panic while held").insert(short(node), node);
        }
    }

    pub(super) fn disconnected(&self, node: NodeId) {
        self.others.write().expect("no panic while held").remove(&short(node));
    }

    /// The network's name for a peer.
    pub(super) fn node(&self, peer: Peer) -> Option<NodeId> {
        match peer {
            Peer::Validator(index) => self.nodes.get(&index).copied(),
            Peer::Node(id) => self.others.read().expect("no panic while held").get(&id).copied(),
        }
    }
}

fn short(node: NodeId) -> u64 {
    u64::from_be_bytes(node.0[..8].try_into().expect("eight bytes"))
}
