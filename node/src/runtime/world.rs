//! Disk, keys and peers of one node.

use super::{
    driver::seconds_since,
    meters,
    prune::Pruner,
    shared::{EpochView, Shared},
    signer::ValidatorSigner,
    snapshots::Snapshots,
    unix_now,
    workers::Executed,
};
use crate::{http::Rejection, metrics::Metrics};
use qbind_dag::{DagMessage, Peer};
use qbind_network::{Channel, NetworkHandle, NodeId};
use qbind_replica::{CommitRecord, Effect, Event, Halt, Target, Wire, World};
use qbind_signer::SignError;
use qbind_storage::{Store, StoreError};
use qbind_sync::SyncMessage;
use qbind_types::{BatchRef, Epoch, Height, Millis, TxId, ValidatorIndex, View};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Why the replica thread ends.
#[derive(Debug)]
pub(super) enum Fault {
    Disk(StoreError),
    Signer(SignError),
    Halt(Halt),
}

impl From<SignError> for Fault {
    fn from(error: SignError) -> Self {
        Self::Signer(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Disk(error)
    }
}

/// A heartbeat on a busy machine is late by as much.
const NEAR_SLACK: Duration = Duration::from_millis(5);

/// A block's timestamp may be five minutes ahead of a voter's clock, and clocks differ.
const QUIET_MARGIN: Millis = Millis(600_000);

/// What a client is told.
pub(super) type SubmitReply = Result<TxId, Rejection>;

/// What stands between the core and the world: takes each effect and says what is carried out in
/// its place. Rehearsals of faults use it; a daemon of an operator has none.
pub type Intercept = Box<dyn FnMut(Effect) -> Vec<Effect> + Send>;

/// What effects are carried out with.
pub(super) struct Means {
    pub(super) store: Arc<Store>,
    pub(super) snapshots: Snapshots,
    pub(super) pruner: Pruner,
    /// When this validator's database was made of a snapshot; until the epoch after, it makes no
    /// batches and acks none: it does not know which rounds it has used up.
    pub(super) quiet: Option<Millis>,
    pub(super) network: NetworkHandle,
    pub(super) signer: Option<ValidatorSigner>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shared: Arc<Shared>,
    /// Whether this validator has its sentries for peers and nobody else.
    pub(super) is_hidden: bool,
    pub(super) executed: Executed,
}

pub(super) struct DaemonWorld {
    means: Means,
    intercept: Option<Intercept>,
    waiting: BTreeMap<TxId, oneshot::Sender<SubmitReply>>,
    entered: Option<(View, Instant)>,
    /// Timestamp of the last executed block.
    block_time: Millis,
    /// Batches and acks of earlier epochs are not this validator's to sign.
    speaks_from: Epoch,
}

impl DaemonWorld {
    pub(super) fn new(means: Means, intercept: Option<Intercept>) -> Self {
        Self {
            means,
            intercept,
            waiting: BTreeMap::new(),
            entered: None,
            block_time: Millis(0),
            speaks_from: Epoch(0),
        }
    }

    /// Somebody waits for the fate of this transaction.
    pub(super) fn expect(&mut self, id: TxId, reply: oneshot::Sender<SubmitReply>) {
        if let Some(earlier) = self.waiting.insert(id, reply) {
            drop(earlier.send(Err(duplicate())));
        }
    }

    /// The validators about as near as the nearest, by the round trips of the heartbeats.
    pub(super) fn near(&self) -> Vec<ValidatorIndex> {
        let peers = self.means.network.peers();
        let measured: Vec<(Duration, ValidatorIndex)> = peers
            .iter()
            .filter_map(|p| match self.means.shared.book.peer(p.node_id) {
                Peer::Validator(index) => Some((p.round_trip?, index)),
                Peer::Node(_) => None,
            })
            .collect();
        let Some(nearest) = measured.iter().map(|(rtt, _)| *rtt).min() else { return Vec::new() };
        let most = 2 * nearest + NEAR_SLACK;
        let mut near: Vec<_> =
            measured.into_iter().filter(|(rtt, _)| *rtt <= most).map(|(_, index)| index).collect();
        near.sort_unstable();
        near
    }

    /// The core said nothing about it: it is known already.
    pub(super) fn give_up(&mut self, id: &TxId) {
        self.answer(id, Err(duplicate()));
    }

    fn answer(&mut self, id: &TxId, reply: SubmitReply) {
        if let Some(waiting) = self.waiting.remove(id)
            && waiting.send(reply).is_err()
        {
            tracing::debug!(%id, "the client did not wait for the answer");
        }
    }

    fn send(&self, to: Target, message: &Wire) {
        let (channel, bytes) = match message {
            Wire::Consensus(m) => (Channel::Consensus, qbind_types::encode(&**m)),
            Wire::Dag(m) => (Channel::Dag, m.encode()),
            Wire::Sync(m) => (Channel::Sync, qbind_types::encode(&**m)),
        };
        match to {
            Target::All => {
                self.means.network.broadcast(channel, bytes);
            }
            Target::One(peer) => {
                let Some(node) = self.means.shared.book.node(peer) else { return };
                let node = if self.means.is_hidden { self.by_sentry(node) } else { node };
                if let Err(error) = self.means.network.send(node, channel, bytes) {
                    tracing::trace!(%error, ?peer, "not sent");
                }
            }
        }
    }

    /// Whom a validator behind sentries asks in the place of one it cannot reach: its sentries follow
    /// the chain, so they have what others have. A different one for each of those.
    fn by_sentry(&self, node: NodeId) -> NodeId {
        let peers = self.means.network.peers();
        if peers.is_empty() || peers.iter().any(|p| p.node_id == node) {
            return node;
        }
        peers[usize::from(node.0[0]) % peers.len()].node_id
    }

    fn serve_blocks(&self, to: Peer, from: Height, limit: u64) -> Result<(), StoreError> {
        let mut blocks = Vec::new();
        for height in from.0..from.0.saturating_add(limit) {
            match self.means.store.committed(Height(height))? {
                Some(block) => {
                    // Who asks may not know yet who validates the next epoch.
                    let is_last = block.block.ends_epoch();
                    blocks.push(block);
                    if is_last {
                        break;
                    }
                }
                None => break,
            }
        }
        self.send(Target::One(to), &Wire::Sync(Box::new(SyncMessage::Blocks(blocks))));
        Ok(())
    }

    fn serve_batch(&self, to: Peer, reference: &BatchRef) -> Result<(), StoreError> {
        if let Some(certified) = self.means.store.certified_batch(reference)? {
            let message = DagMessage::Response(certified);
            self.send(Target::One(to), &Wire::Dag(Box::new(message)));
        }
        Ok(())
    }

    fn commit(&mut self, record: &CommitRecord) -> Result<(), StoreError> {
        let now = unix_now();
        let begun = Instant::now();
        self.means.store.commit(record, now)?;
        let block = &record.committed.block;
        if let Some(registry) = &record.registry {
            self.means.shared.set_registry(registry.clone());
            self.observe_rotations();
        }
        self.observe_judgements(record);
        if let Some(closed) = &record.monetary {
            self.means.shared.set_monetary(closed.state.clone());
            meters::epoch_closed(&self.means.metrics, &self.means.shared.policy, closed);
        }
        self.means.shared.set_height(block.height);
        self.block_time = block.timestamp_unix_ms;
        let latency = seconds_since(block.timestamp_unix_ms, now);
        let took = self.means.executed.take() + begun.elapsed();
        meters::commit(&self.means.metrics, record, latency, took);
        tracing::debug!(
            height = block.height.0,
            view = block.view.0,
            transactions = record.transactions.len(),
            "committed"
        );
        self.means.snapshots.committed(record);
        self.means.pruner.committed(block.height, self.means.snapshots.is_taken());
        Ok(())
    }

    /// The rounds of an epoch that starts after the database was made are this validator's to use.
    fn speak_again(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        if self.means.quiet.is_some_and(|since| self.block_time > since.plus(QUIET_MARGIN)) {
            self.means.quiet = None;
            self.speaks_from = epoch;
            self.means.store.forget_synced()?;
            tracing::info!("this validator makes batches and acks again");
        }
        Ok(())
    }

    fn observe_out_of_reach(&self, height: Height, peers: &[(Peer, Height)]) {
        let set = self.means.shared.epoch().set;
        let name = |peer: &Peer| match peer {
            Peer::Validator(index) => set
                .get(*index)
                .map_or_else(|| "a validator".to_owned(), |m| format!("validator {}", m.id)),
            Peer::Node(id) => format!("node {id:016x}"),
        };
        let who: Vec<String> = peers
            .iter()
            .map(|(peer, lowest)| format!("{} has heights from {lowest} on", name(peer)))
            .collect();
        tracing::error!(
            height = height.0,
            peers = who.join(", "),
            "no connected peer has the next block any more: stop this node, move the folder state out \
             of its data_dir and start it with --fast-sync-snapshot-dir, or connect it to an archival node"
        );
    }

    fn observe_rotations(&self) {
        let set = self.means.shared.epoch().set;
        meters::rotations(&self.means.metrics, &self.means.shared.registry(), &set);
    }

    fn observe_judgements(&self, record: &CommitRecord) {
        if let Some(slashing) = &record.slashing {
            self.means.shared.set_slashing(slashing.clone());
        }
        for judged in &record.judged {
            let (offence, at) = (judged.offence, judged.at);
            tracing::info!(
                validator = judged.validator,
                offence = offence.as_str(),
                at,
                decision = ?judged.decision,
                "accusation judged"
            );
            let evidence = &self.means.shared.evidence;
            if let Some(validator) = judged.validator.filter(|_| judged.is_accepted())
                && evidence.count(validator, offence, judged.epoch.0, at)
            {
                meters::offence(&self.means.metrics, offence);
            }
        }
        meters::judged(&self.means.metrics, record);
    }

    /// Keeps the proof in an effect that has one, and counts the offence, once.
    fn observe_offence(&self, effect: &Effect) {
        let shared = &self.means.shared;
        let Some(evidence) = effect.evidence(shared.verifiers.network()) else { return };
        let EpochView { set, .. } = shared.epoch();
        let Some(member) = set.get(evidence.accused()) else { return };
        let (offence, epoch, at) = (evidence.offence(), evidence.epoch().0, evidence.at());
        if shared.evidence.count(member.id, offence, epoch, at) {
            meters::offence(&self.means.metrics, offence);
        }
        if let Some(proof) = shared.evidence.keep(&set, &evidence, unix_now()) {
            let (validator, offence) = (proof.validator, offence.as_str());
            tracing::warn!(validator, offence, epoch, at, "proof of an offence kept");
        }
    }

    fn observe_view(&mut self, effect: &Effect) {
        match effect {
            Effect::Entered { view, .. } => self.entered = Some((*view, Instant::now())),
            Effect::Certified { view } => {
                if let Some((_, at)) = self.entered.filter(|(v, _)| v == view) {
                    let ms = at.elapsed().as_secs_f64() * 1_000.0;
                    self.means.metrics.consensus.qc_formation_latency_ms.observe(ms);
                }
            }
            _ => {}
        }
    }
}

fn duplicate() -> Rejection {
    Rejection {
        code: "E_DUPLICATE",
        message: "the transaction is known".to_owned(),
        hint: "ask for its status instead of sending it again".to_owned(),
    }
}

impl World for DaemonWorld {
    type Fault = Fault;

    fn carry_out(&mut self, effect: Effect) -> Result<Option<Event>, Fault> {
        let Some(intercept) = &mut self.intercept else { return self.one(effect) };
        let mut answer = None;
        for effect in intercept(effect) {
            answer = self.one(effect)?.or(answer);
        }
        Ok(answer)
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.means.store.sync()?)
    }
}

impl DaemonWorld {
    fn one(&mut self, effect: Effect) -> Result<Option<Event>, Fault> {
        self.observe_view(&effect);
        self.observe_offence(&effect);
        meters::effect(&self.means.metrics, &self.means.shared.epoch().set, &effect);
        match effect {
            Effect::PersistSafety(record) => self.means.store.persist_safety(&record)?,
            Effect::StoreBlock { block, .. } => {
                self.means.store.store_block(&qbind_crypto::block_id(&block), &block)?;
            }
            // Only a validator's core asks for signatures.
            Effect::Sign(unsigned) => {
                let Some(signer) = &self.means.signer else { return Ok(None) };
                return Ok(signer.sign(*unsigned)?);
            }
            Effect::PersistOwnBatch(batch) => self.means.store.persist_own_batch(&batch)?,
            Effect::PersistAck(reference) => self.means.store.persist_ack(&reference)?,
            Effect::StoreBatch { reference, batch } => {
                self.means.store.store_batch(&reference, &batch)?;
            }
            Effect::StoreCertificate(c) => self.means.store.store_certificate(&c)?,
            Effect::StorePending(pending) => self.means.store.store_pending(&pending)?,
            Effect::ForgetPending(ids) => self.means.store.forget_pending(&ids)?,
            Effect::SignBatch(reference) | Effect::SignAck { reference, .. }
                if self.means.quiet.is_some() || reference.epoch < self.speaks_from => {}
            Effect::SignBatch(reference) => {
                let Some(signer) = &self.means.signer else { return Ok(None) };
                return Ok(signer.sign_batch(reference)?);
            }
            Effect::SignAck { reference, validator } => {
                let Some(signer) = &self.means.signer else { return Ok(None) };
                return Ok(signer.sign_ack(reference, validator)?);
            }
            Effect::Send { to, message } => self.send(to, &message),
            Effect::ServeBatch { to, reference } => self.serve_batch(to, &reference)?,
            Effect::ServeBlocks { to, from, limit } => self.serve_blocks(to, from, limit)?,
            Effect::Commit(record) => self.commit(&record)?,
            Effect::Accepted(id) => self.answer(&id, Ok(id)),
            Effect::Rejected { id, code, message, hint } => {
                // What a client handed in is counted where the client is answered.
                if !self.waiting.contains_key(&id) {
                    self.means.metrics.mempool.reject(code);
                }
                self.answer(&id, Err(Rejection { code, message, hint }));
            }
            Effect::Equivocation(evidence) => {
                let (validator, view) = (evidence.validator.0, evidence.view.0);
                tracing::warn!(validator, view, "equivocation");
            }
            Effect::BatchEquivocation(evidence) => {
                let (validator, round) = (evidence.first.creator.0, evidence.first.round);
                tracing::warn!(validator, round, "batch equivocation");
            }
            Effect::Elected(set) => self.means.shared.elected(&set),
            Effect::EpochStarted { start, set, me } => {
                self.speak_again(start.epoch)?;
                self.means.shared.start_epoch(&set, me);
                self.means.metrics.consensus.epoch.set(start.epoch.0);
                self.means.metrics.consensus.validators.set(set.count() as u64);
                self.observe_rotations();
                let (epoch, height, validators) = (start.epoch.0, start.height.0, set.count());
                tracing::info!(
                    epoch,
                    height,
                    validators,
                    validates = me.is_some(),
                    "epoch started"
                );
            }
            Effect::CouplingViolation(evidence) => {
                let block = &evidence.proposal.block;
                let (validator, view) = (block.proposer.0, block.view.0);
                tracing::warn!(validator, view, rule = ?evidence.rule, "coupling violation");
            }
            Effect::OutOfReach { height, peers } => self.observe_out_of_reach(height, &peers),
            Effect::Halt(why) => return Err(Fault::Halt(why)),
            Effect::Entered { view, by_timeout } => {
                tracing::trace!(view = view.0, by_timeout, "entered");
            }
            Effect::GaveUp { view } => tracing::info!(view = view.0, "gave the view up"),
            Effect::Certified { .. } | Effect::Coupling(_) | Effect::Note(_) => {}
        }
        Ok(None)
    }
}
