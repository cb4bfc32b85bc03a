//! Several nodes in one process: a network that delays, reorders and drops by a seed, disks that
//! survive a restart, and a chain that commits what one node proposes and the others check.

use crate::keys::{Account, Keys, NETWORK, id_of, rich};
use qbind_dag::{
    BatchEquivocation, CouplingMode, CouplingVerdict, Dag, DagConfig, DagMessage, Effect, Event,
    Note, Peer, PendingTransaction, Rejection, Restored, Submission,
};
use qbind_types::{
    Address, Batch, BatchCertificate, BatchId, BatchRef, CertifiedBatch, Millis, TxId,
    ValidatorIndex,
};
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64: enough to shuffle messages.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

#[derive(Default, Clone)]
pub(crate) struct Disk {
    own: Option<Batch>,
    pub(crate) batches: BTreeMap<BatchRef, Batch>,
    pub(crate) certificates: BTreeMap<BatchRef, BatchCertificate>,
    acks: BTreeSet<BatchRef>,
    pub(crate) pending: BTreeMap<TxId, PendingTransaction>,
}

pub(crate) struct Node {
    /// Nothing while it is down.
    pub(crate) dag: Option<Dag>,
    pub(crate) disk: Disk,
    config: DagConfig,
    /// Blocks executed.
    height: usize,
    pub(crate) notes: Vec<Note>,
    pub(crate) evidence: Vec<BatchEquivocation>,
    pub(crate) rejected: Vec<(TxId, Rejection)>,
    pub(crate) accepted: BTreeSet<TxId>,
}

pub(crate) struct Cluster {
    pub(crate) keys: Keys,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Millis,
    random: Random,
    /// Messages lost, of a hundred.
    pub(crate) loss: u64,
    pub(crate) most_delay: u64,
    queue: BTreeMap<(Millis, u64), (usize, usize, DagMessage)>,
    sent: u64,
    pub(crate) blocks: Vec<Vec<BatchRef>>,
    pub(crate) nonces: BTreeMap<Address, u64>,
    pub(crate) committed: BTreeMap<TxId, u32>,
    /// Every batch and ack ever signed by an honest validator, for the invariants.
    pub(crate) signed_batches: BTreeMap<(u16, u64), BTreeSet<BatchId>>,
    pub(crate) signed_acks: BTreeMap<(u16, u16, u64), BTreeSet<BatchId>>,
}

impl Cluster {
    /// Validators with these stakes, then `full` full nodes.
    pub(crate) fn new(stakes: &[u64], full: usize, seed: u64) -> Self {
        let keys = Keys::new(stakes);
        let nodes = (0..stakes.len() + full)
            .map(|i| {
                let me = (i < stakes.len()).then_some(ValidatorIndex(i as u16));
                let config =
                    DagConfig { batch_max_transactions: 20, ..DagConfig::new(NETWORK, me) };
                Node {
                    dag: Some(Dag::new(config.clone(), keys.set.clone())),
                    disk: Disk::default(),
                    config,
                    height: 0,
                    notes: Vec::new(),
                    evidence: Vec::new(),
                    rejected: Vec::new(),
                    accepted: BTreeSet::new(),
                }
            })
            .collect();
        Self {
            keys,
            nodes,
            now: Millis(1_000),
            random: Random::new(seed),
            loss: 0,
            most_delay: 40,
            queue: BTreeMap::new(),
            sent: 0,
            blocks: Vec::new(),
            nonces: BTreeMap::new(),
            committed: BTreeMap::new(),
            signed_batches: BTreeMap::new(),
            signed_acks: BTreeMap::new(),
        }
    }

    pub(crate) fn dag(&self, node: usize) -> &Dag {
        self.nodes[node].dag.as_ref().expect("is up")
    }

    pub(crate) fn feed(&mut self, node: usize, event: Event) {
        if let Some(dag) = self.nodes[node].dag.as_mut() {
            let effects = dag.step(event);
            self.perform(node, effects);
        }
    }

    pub(crate) fn submit(&mut self, node: usize, account: &Account, nonce: u64, fee: u128) -> TxId {
        let account_nonce = self.nonces.get(&account.address).copied().unwrap_or(0);
        let submission =
            account.submission(&self.keys.verifier, nonce, fee, account_nonce, self.now);
        let id = submission.id;
        self.feed(node, Event::Submit(submission));
        id
    }

    pub(crate) fn perform(&mut self, at: usize, effects: Vec<Effect>) {
        let now = self.now;
        for effect in effects {
            let node = &mut self.nodes[at];
            match effect {
                Effect::PersistOwn(batch) => node.disk.own = Some(batch),
                Effect::PersistAck(reference) => drop(node.disk.acks.insert(reference)),
                Effect::Store { reference, batch } => {
                    node.disk.batches.insert(reference, batch.as_ref().clone());
                }
                Effect::StoreCertificate(certificate) => {
                    node.disk.certificates.insert(certificate.batch, certificate);
                }
                Effect::StorePending(pending) => {
                    node.disk.pending.insert(pending.id, pending);
                }
                Effect::ForgetPending(ids) => {
                    node.disk.pending.retain(|id, _| !ids.contains(id));
                }
                Effect::Sign(reference) => {
                    let key = (reference.creator.0, reference.round);
                    self.signed_batches.entry(key).or_default().insert(reference.id);
                    let signature = self.keys.sign_batch(&reference);
                    self.feed(at, Event::Signed { reference, signature, now });
                }
                Effect::SignAck { reference, .. } => {
                    let me = node.config.me.expect("full nodes ack nothing");
                    let is_durable = node.disk.acks.contains(&reference) || reference.creator == me;
                    assert!(is_durable, "an ack was signed before its decision was durable");
                    assert!(node.disk.batches.contains_key(&reference), "acked and not stored");
                    let key = (me.0, reference.creator.0, reference.round);
                    self.signed_acks.entry(key).or_default().insert(reference.id);
                    let signature = self.keys.sign_ack(&reference, me);
                    self.feed(at, Event::AckSigned { reference, signature, now });
                }
                Effect::Broadcast(message) => {
                    for to in (0..self.nodes.len()).filter(|to| *to != at) {
                        self.send(at, to, message.clone());
                    }
                }
                Effect::SendTo { to, message } => self.send(at, number(to), message),
                Effect::ServeFromStore { to, batch: reference } => {
                    let disk = &node.disk;
                    if let (Some(batch), Some(certificate)) =
                        (disk.batches.get(&reference), disk.certificates.get(&reference))
                    {
                        let (batch, certificate) = (batch.clone(), certificate.clone());
                        let message = DagMessage::Response(CertifiedBatch { batch, certificate });
                        self.send(at, number(to), message);
                    }
                }
                Effect::Accepted { id } => drop(node.accepted.insert(id)),
                Effect::Rejected { id, rejection } => node.rejected.push((id, rejection)),
                Effect::Evidence(evidence) => node.evidence.push(*evidence),
                Effect::Note(note) => node.notes.push(note),
            }
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, message: DagMessage) {
        if self.random.below(100) < self.loss {
            return;
        }
        let due = self.now.plus(Millis(1 + self.random.below(self.most_delay)));
        self.sent += 1;
        self.queue.insert((due, self.sent), (from, to, message));
    }

    fn deliver(&mut self, from: usize, to: usize, message: &DagMessage) {
        let message = DagMessage::decode(&message.encode()).expect("canonical");
        let (verifier, now) = (self.keys.verifier.clone(), self.now);
        let sender = match self.nodes[from].config.me {
            Some(validator) => Peer::Validator(validator),
            None => Peer::Node(from as u64),
        };
        let event = match message {
            DagMessage::Batch(batch) => {
                Event::Batch { batch: verifier.verify_batch(batch).expect("honest"), now }
            }
            DagMessage::Ack(ack) => {
                Event::Ack { ack: verifier.verify_ack(ack).expect("honest"), now }
            }
            DagMessage::Certificate(certificate) => Event::Certificate {
                certificate: verifier.verify_batch_certificate(certificate).expect("honest"),
                now,
            },
            DagMessage::Request(reference) => Event::Request { from: sender, reference, now },
            DagMessage::Response(certified) => Event::Response {
                certified: verifier.verify_certified_batch(certified).expect("honest"),
                now,
            },
            DagMessage::Transactions(transactions) => {
                for transaction in transactions {
                    let submission = Submission {
                        id: id_of(&transaction),
                        account: rich(self.nonces.get(&transaction.sender).copied().unwrap_or(0)),
                        cost: 1,
                        fee_per_gas: 1,
                        gas: 21_000,
                        now,
                        transaction: verifier.verify_transaction(transaction).expect("honest"),
                    };
                    self.feed(to, Event::Submit(submission));
                }
                return;
            }
        };
        self.feed(to, event);
    }

    /// Lets `duration` pass.
    pub(crate) fn run(&mut self, duration: u64) {
        let end = self.now.plus(Millis(duration));
        loop {
            let message = self.queue.keys().next().map(|(due, _)| *due);
            let deadlines = self.nodes.iter().filter_map(|n| n.dag.as_ref()?.next_deadline());
            let Some(next) = deadlines.chain(message).min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            let now = self.now;
            for at in 0..self.nodes.len() {
                let deadline = self.nodes[at].dag.as_ref().and_then(Dag::next_deadline);
                if deadline.is_some_and(|due| due <= now) {
                    self.feed(at, Event::Tick { now });
                    let later = self.nodes[at].dag.as_ref().and_then(Dag::next_deadline);
                    assert!(later.is_none_or(|due| due > now), "a tick that leaves work undone");
                }
            }
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= now) {
                let (from, to, message) = entry.remove();
                self.deliver(from, to, &message);
            }
        }
    }

    pub(crate) fn included(&self) -> BTreeMap<ValidatorIndex, u64> {
        let mut included = BTreeMap::new();
        for reference in self.blocks.iter().flatten() {
            included.insert(reference.creator, reference.round + 1);
        }
        included
    }

    /// `leader` proposes; validators that hold everything vote; a quorum commits the block. Every
    /// node executes the blocks it has everything for.
    pub(crate) fn propose(&mut self, leader: usize) -> bool {
        let included = self.included();
        let mut is_committed = false;
        if let Some(dag) = &self.nodes[leader].dag {
            let refs = dag.candidates(&included, 8, u64::MAX, &|_| 1);
            let mut votes = Vec::new();
            for at in 0..self.keys.validators.len() {
                let Some(dag) = self.nodes[at].dag.as_mut() else { continue };
                match dag.check(CouplingMode::Enforce, &refs, &included) {
                    CouplingVerdict::Ok => {
                        // I3: whoever votes holds content and certificate, and both are right.
                        for reference in &refs {
                            let certified = dag.certified(reference).expect("held and certified");
                            let verifier = &self.keys.verifier;
                            verifier.verify_certified_batch(certified).expect("I2");
                        }
                        votes.push(ValidatorIndex(at as u16));
                    }
                    CouplingVerdict::MissingBatches(missing)
                    | CouplingVerdict::UnknownBatches(missing) => {
                        let now = self.now;
                        let effects = dag.want(&missing, now);
                        self.perform(at, effects);
                    }
                    other => panic!("an honest leader's block: {other:?}"),
                }
            }
            if !refs.is_empty() && self.keys.set.is_quorum(votes.into_iter()) {
                self.execute(leader, &refs);
                self.blocks.push(refs);
                is_committed = true;
            }
        }
        for at in 0..self.nodes.len() {
            self.catch_up(at);
        }
        is_committed
    }

    /// The ledger: a transaction counts if its nonce is its sender's next.
    fn execute(&mut self, leader: usize, refs: &[BatchRef]) {
        for reference in refs {
            let batch = self.dag(leader).batch(&reference.id).expect("proposed").clone();
            for transaction in &batch.transactions {
                let next = self.nonces.entry(transaction.sender).or_insert(0);
                if transaction.nonce == *next {
                    *next += 1;
                    *self.committed.entry(id_of(transaction)).or_insert(0) += 1;
                }
            }
        }
    }

    fn catch_up(&mut self, at: usize) {
        let now = self.now;
        while let Some(refs) = self.blocks.get(self.nodes[at].height).cloned() {
            let Some(dag) = self.nodes[at].dag.as_mut() else { return };
            if refs.iter().any(|r| dag.certified(r).is_none()) {
                let effects = dag.want(&refs, now);
                self.perform(at, effects);
                return;
            }
            // Nonces as of now are as of this block or later, which is all the pool relies on.
            let accounts = self.nonces.iter().map(|(a, n)| (*a, rich(*n))).collect();
            self.nodes[at].height += 1;
            self.feed(at, Event::Committed { refs, accounts, now });
        }
    }

    /// Loses memory, keeps the disk.
    pub(crate) fn crash(&mut self, at: usize) {
        self.nodes[at].dag = None;
        self.queue.retain(|_, (_, to, _)| *to != at);
    }

    pub(crate) fn restart(&mut self, at: usize) {
        let node = &self.nodes[at];
        let mut included = BTreeMap::new();
        for reference in self.blocks[..node.height].iter().flatten() {
            included.insert(reference.creator, reference.round + 1);
        }
        let is_open =
            |r: &BatchRef| included.get(&r.creator).is_none_or(|next| r.round + 2 >= *next);
        let disk = node.disk.clone();
        let nonce =
            |p: &PendingTransaction| self.nonces.get(&p.transaction.sender).copied().unwrap_or(0);
        let restored = Restored {
            own: disk.own,
            batches: disk.batches.into_iter().filter(|(r, _)| is_open(r)).map(|(_, b)| b).collect(),
            certificates: disk.certificates.into_values().filter(|c| is_open(&c.batch)).collect(),
            acks: disk.acks.into_iter().filter(is_open).collect(),
            pending: disk.pending.into_values().map(|p| (p.clone(), nonce(&p))).collect(),
            included,
        };
        let (dag, effects) =
            Dag::restore(node.config.clone(), self.keys.set.clone(), restored, self.now);
        self.nodes[at].dag = Some(dag);
        self.perform(at, effects);
    }

    /// Honest validators never made two batches or two acks for one round, and nothing was
    /// committed twice.
    pub(crate) fn check_invariants(&self) {
        assert!(self.signed_batches.values().all(|ids| ids.len() == 1), "two batches of one round");
        assert!(self.signed_acks.values().all(|ids| ids.len() == 1), "two acks of one round");
        assert!(self.committed.values().all(|times| *times == 1), "committed twice");
        for reference in self.blocks.iter().flatten() {
            // I1: somebody's disk has the certificate of everything committed, and it is right.
            let found = self.nodes.iter().find_map(|n| n.disk.certificates.get(reference));
            let certificate = found.expect("I1").clone();
            self.keys.verifier.verify_batch_certificate(certificate).expect("I2");
        }
    }
}

fn number(peer: Peer) -> usize {
    match peer {
        Peer::Validator(validator) => usize::from(validator.0),
        Peer::Node(node) => usize::try_from(node).expect("small"),
    }
}
