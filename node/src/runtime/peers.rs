//! Which connection is which validator.

use qbind_dag::Peer;
use qbind_network::NodeId;
use qbind_types::{PublicKey, ValidatorIndex, ValidatorSet};
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Names of connected nodes on both sides of the seam; those of validators change with the epoch.
pub(super) struct PeerBook {
    names: RwLock<Names>,
}

struct Names {
    set: Arc<ValidatorSet>,
    validators: BTreeMap<NodeId, ValidatorIndex>,
    connected: BTreeMap<u64, NodeId>,
}

impl PeerBook {
    pub(super) fn new(set: &Arc<ValidatorSet>) -> Self {
        let connected = BTreeMap::new();
        let names = Names { set: set.clone(), validators: validators(set), connected };
        Self { names: RwLock::new(names) }
    }

    /// From now on validators are these.
    pub(super) fn start_epoch(&self, set: &Arc<ValidatorSet>) {
        let mut names = self.names.write().expect("no panic while held");
        names.validators = validators(set);
        names.set = set.clone();
    }

    pub(super) fn validator(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        let names = self.names.read().expect("no panic while held");
        names.validators.get(&NodeId::of(key)).copied()
    }

    /// The core's name for a node.
    pub(super) fn peer(&self, node: NodeId) -> Peer {
        let names = self.names.read().expect("no panic while held");
        names.validators.get(&node).map_or(Peer::Node(short(node)), |index| Peer::Validator(*index))
    }

    pub(super) fn connected(&self, node: NodeId) {
        self.names.write().expect("no panic while held").connected.insert(short(node), node);
    }

    pub(super) fn disconnected(&self, node: NodeId) {
        self.names.write().expect("no panic while held").connected.remove(&short(node));
    }

    /// The network's name for a peer: a validator in grace has the key it is connected with.
    pub(super) fn node(&self, peer: Peer) -> Option<NodeId> {
        let names = self.names.read().expect("no panic while held");
        match peer {
            Peer::Validator(index) => {
                let member = names.set.get(index)?;
                let is_connected = |node: &NodeId| names.connected.contains_key(&short(*node));
                let connected = member.keys().map(NodeId::of).find(is_connected);
                connected.or_else(|| Some(NodeId::of(&member.public_key)))
            }
            Peer::Node(id) => names.connected.get(&id).copied(),
        }
    }
}

fn validators(set: &ValidatorSet) -> BTreeMap<NodeId, ValidatorIndex> {
    let named = set.members().iter().flat_map(|member| {
        member.keys().filter_map(|key| Some((NodeId::of(key), set.index_of(member.id)?)))
    });
    named.collect()
}

fn short(node: NodeId) -> u64 {
    u64::from_be_bytes(node.0[..8].try_into().expect("eight bytes"))
}
