//! What validators that break the rules put on the wire.

use crate::config::{Byzantine, Forgery};
use qbind_consensus::Message;
use qbind_crypto::{SecretKey, block_id, preimage};
use qbind_dag::DagMessage;
use qbind_replica::Wire;
use qbind_sync::SyncMessage;
use qbind_types::{
    Block, CommitCertificate, Network, Proposal, Qc, Signature, ValidatorIndex, ValidatorSet,
};

/// What of a message goes to whom.
pub(crate) type Parts = Vec<(Vec<usize>, Wire)>;

/// One validator that breaks the rules.
pub(crate) struct Liar<'a> {
    pub(crate) kind: Byzantine,
    pub(crate) index: ValidatorIndex,
    pub(crate) keys: &'a [SecretKey],
    pub(crate) set: &'a ValidatorSet,
    pub(crate) network: Network,
}

impl Liar<'_> {
    /// What it sends where the rules would have it send `wire` to all of `to`.
    pub(crate) fn distort(&self, to: Vec<usize>, wire: Wire) -> Parts {
        match self.kind {
            Byzantine::SilentLeader if is_proposal(&wire) => Vec::new(),
            Byzantine::Mute if is_statement(&wire) => Vec::new(),
            Byzantine::WithholdBatches if is_data(&wire) => Vec::new(),
            Byzantine::Selective(k) => {
                let n = self.keys.len();
                let distance = |node: &usize| (node + n - usize::from(self.index.0)) % n;
                let near = to.into_iter().filter(|node| (1..=k).contains(&distance(node)));
                vec![(near.collect(), wire)]
            }
            Byzantine::LyingServer => vec![(to, falsified(wire))],
            Byzantine::Forger(forgery) => match &wire {
                Wire::Consensus(m) => match &**m {
                    Message::Proposal(p) => self.fork(forgery, to, p),
                    _ => vec![(to, wire)],
                },
                _ => vec![(to, wire)],
            },
            _ => vec![(to, wire)],
        }
    }

    /// One block to the first half, another to the second, and forged certificates with each.
    fn fork(&self, forgery: Forgery, to: Vec<usize>, proposal: &Proposal) -> Parts {
        let mut other = proposal.clone();
        other.block.timestamp_unix_ms.0 += 1;
        let own = &self.keys[usize::from(self.index.0)];
        other.signature = own.sign(&preimage::proposal(self.network, &block_id(&other.block)));
        let (left, right) = to.split_at(to.len().div_ceil(2));
        let mut parts = Vec::new();
        for (half, proposal) in [(left, proposal), (right, &other)] {
            let messages = [
                Message::Proposal(proposal.clone()),
                Message::Qc(self.forge_qc(forgery, &proposal.block)),
                Message::CommitCertificate(self.forge_commit(forgery, &proposal.block)),
            ];
            parts.extend(messages.map(|m| (half.to_vec(), Wire::Consensus(Box::new(m)))));
        }
        parts
    }

    fn forge_qc(&self, forgery: Forgery, block: &Block) -> Qc {
        let id = block_id(block);
        let votes =
            self.forge(forgery, |network| preimage::vote(network, block.epoch, block.view, &id));
        Qc { epoch: block.epoch, view: block.view, block: id, votes }
    }

    fn forge_commit(&self, forgery: Forgery, block: &Block) -> CommitCertificate {
        let id = block_id(block);
        let votes =
            self.forge(forgery, |network| preimage::commit(network, block.epoch, block.view, &id));
        CommitCertificate { epoch: block.epoch, view: block.view, block: id, votes }
    }

    fn forge(
        &self,
        forgery: Forgery,
        message: impl Fn(Network) -> Vec<u8>,
    ) -> Vec<(ValidatorIndex, Signature)> {
        let own = &self.keys[usize::from(self.index.0)];
        let quorum = self.set.count() * 2 / 3 + 1;
        match forgery {
            Forgery::BelowQuorum => vec![(self.index, own.sign(&message(self.network)))],
            Forgery::OneSigner => vec![(self.index, own.sign(&message(self.network))); quorum],
            Forgery::ForeignNetwork => (0u16..)
                .zip(&self.keys[..quorum])
                .map(|(i, key)| (ValidatorIndex(i), key.sign(&message(Network::Devnet))))
                .collect(),
        }
    }
}

/// An answer with something else in it than was certified.
fn falsified(mut wire: Wire) -> Wire {
    match &mut wire {
        Wire::Sync(m) => {
            let block = match &mut **m {
                SyncMessage::Blocks(blocks) => blocks.last_mut().map(|last| &mut last.block),
                SyncMessage::Block(block) => Some(block),
                _ => None,
            };
            if let Some(block) = block {
                block.timestamp_unix_ms.0 += 1;
            }
        }
        Wire::Dag(m) => {
            if let DagMessage::Response(certified) = &mut **m {
                certified.batch.transactions.pop();
            }
        }
        Wire::Consensus(_) => {}
    }
    wire
}

fn is_proposal(wire: &Wire) -> bool {
    matches!(wire, Wire::Consensus(m) if matches!(**m, Message::Proposal(_)))
}

fn is_statement(wire: &Wire) -> bool {
    matches!(wire, Wire::Consensus(m)
        if matches!(**m, Message::Vote(_) | Message::CommitVote(_) | Message::Timeout(_)))
}

fn is_data(wire: &Wire) -> bool {
    matches!(wire, Wire::Dag(m)
        if matches!(**m, DagMessage::Batch(_) | DagMessage::Ack(_) | DagMessage::Response(_)))
}
