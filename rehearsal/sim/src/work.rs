//! What messages cost: bytes who sends them, signature checks who receives them.

use qbind_consensus::Message;
use qbind_dag::DagMessage;
use qbind_replica::Wire;
use qbind_types::{BatchRef, CommitCertificate, Proposal, Qc, Tc, View};
use std::collections::{BTreeMap, HashSet};

/// Messages of one kind; one to ten nodes counts ten times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub messages: u64,
    /// How many bytes, without framing.
    pub bytes: u64,
}

/// The work of all nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Sent, by kind.
    pub sent: BTreeMap<&'static str, Traffic>,
    /// Signatures of validators that nodes check, each node each once.
    pub checks: u64,
    /// Signatures of transactions that nodes check in batches.
    pub transaction_checks: u64,
}

impl Work {
    /// All kinds together.
    pub fn total(&self) -> Traffic {
        let sum = |of: fn(&Traffic) -> u64| self.sent.values().map(of).sum();
        Traffic { messages: sum(|t| t.messages), bytes: sum(|t| t.bytes) }
    }
}

/// A statement and who signed it: kind, two numbers that name the statement, signer.
type SignatureId = (u8, u64, u64, u16);

/// Counts while a run goes on.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) work: Work,
    seen: Vec<HashSet<SignatureId>>,
}

impl Meter {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { work: Work::default(), seen: vec![HashSet::new(); nodes] }
    }

    pub(crate) fn count(&mut self, recipients: &[usize], wire: &Wire, bytes: u64) {
        let traffic = self.work.sent.entry(kind(wire)).or_default();
        traffic.messages += recipients.len() as u64;
        traffic.bytes += recipients.len() as u64 * bytes;
        let signatures = signatures(wire);
        for to in recipients {
            let new = signatures.iter().filter(|id| self.seen[*to].insert(**id)).count();
            self.work.checks += new as u64;
            if let Wire::Dag(m) = wire
                && let DagMessage::Batch(batch) = &**m
            {
                self.work.transaction_checks += batch.transactions.len() as u64;
            }
        }
    }
}

fn kind(wire: &Wire) -> &'static str {
    match wire {
        Wire::Consensus(m) => match **m {
            Message::Proposal(_) => "proposal",
            Message::Vote(_) => "vote",
            Message::CommitVote(_) => "commit vote",
            Message::Timeout(_) => "timeout",
            Message::Qc(_) | Message::Tc(_) | Message::CommitCertificate(_) => "certificate",
        },
        Wire::Dag(m) => match **m {
            DagMessage::Batch(_) => "batch",
            DagMessage::Ack(_) => "ack",
            DagMessage::Certificate(_) => "batch certificate",
            DagMessage::Request(_) | DagMessage::Response(_) => "fetch",
            DagMessage::Transactions(_) => "transactions",
        },
        Wire::Sync(_) => "sync",
    }
}

fn prefix(id: &[u8; 32]) -> u64 {
    u64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]])
}

fn signatures(wire: &Wire) -> Vec<SignatureId> {
    match wire {
        Wire::Consensus(m) => match &**m {
            Message::Proposal(p) => of_proposal(p),
            Message::Vote(v) => vec![(1, v.view.0, prefix(&v.block.0), v.validator.0)],
            Message::CommitVote(v) => vec![(2, v.view.0, prefix(&v.block.0), v.validator.0)],
            Message::Timeout(t) => {
                let mut ids = of_qc(&t.high_qc);
                ids.push(of_timeout(t.view, t.high_qc.view, t.validator.0));
                ids
            }
            Message::Qc(qc) => of_qc(qc),
            Message::Tc(tc) => of_tc(tc),
            Message::CommitCertificate(c) => of_commit(c),
        },
        Wire::Dag(m) => match &**m {
            DagMessage::Batch(b) => vec![(5, b.round, 0, b.creator.0)],
            DagMessage::Ack(a) => vec![of_ack(&a.batch, a.validator.0)],
            DagMessage::Certificate(c) => {
                c.acks.iter().map(|(signer, _)| of_ack(&c.batch, signer.0)).collect()
            }
            DagMessage::Response(r) => {
                let certificate = &r.certificate;
                let acks = certificate.acks.iter();
                acks.map(|(signer, _)| of_ack(&certificate.batch, signer.0)).collect()
            }
            DagMessage::Request(_) | DagMessage::Transactions(_) => Vec::new(),
        },
        Wire::Sync(_) => Vec::new(),
    }
}

fn of_proposal(proposal: &Proposal) -> Vec<SignatureId> {
    let mut ids = of_qc(&proposal.justify);
    ids.extend(proposal.timeout.iter().flat_map(of_tc));
    ids.push((0, proposal.block.view.0, 0, proposal.block.proposer.0));
    ids
}

fn of_qc(qc: &Qc) -> Vec<SignatureId> {
    let id = prefix(&qc.block.0);
    qc.votes.iter().map(|(signer, _)| (1, qc.view.0, id, signer.0)).collect()
}

fn of_commit(certificate: &CommitCertificate) -> Vec<SignatureId> {
    let (view, id) = (certificate.view.0, prefix(&certificate.block.0));
    certificate.votes.iter().map(|(signer, _)| (2, view, id, signer.0)).collect()
}

fn of_tc(tc: &Tc) -> Vec<SignatureId> {
    let timeouts = tc.timeouts.iter();
    timeouts.map(|t| of_timeout(tc.view, t.high_qc_view, t.validator.0)).collect()
}

fn of_timeout(view: View, high: View, signer: u16) -> SignatureId {
    (3, view.0, high.0, signer)
}

fn of_ack(batch: &BatchRef, signer: u16) -> SignatureId {
    (4, u64::from(batch.creator.0) << 48 | batch.round, prefix(&batch.id.0), signer)
}
