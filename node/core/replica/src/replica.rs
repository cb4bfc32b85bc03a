//! The routing.

use crate::{
    CouplingResult, Effect, Event, Halt, Now, Target, Wire, early::Early, epoch::place,
    propose::Lead,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use qbind_consensus::{Consensus, Content, SafetyRecord, Timing};
use qbind_dag::{CouplingMode, Dag, DagConfig, Peer, Sizes};
use qbind_ledger::{Ledger, LevelRunner};
use qbind_sync::{Sync, SyncMessage};
use qbind_types::{
    Block, BlockId, CommittedBlock, Epoch, EpochStart, Height, Millis, Network, PublicKey,
    StateRoot, ValidatorIndex, ValidatorSet, View,
};

/// Heights for which the state root is remembered, to compare with what blocks claim.
pub(crate) const ROOTS: usize = 4_096;

/// What does not change while a node runs.
pub struct ReplicaConfig {
    /// Which chain.
    pub network: Network,
    /// The key it signs with: in each epoch it is the validator whose key this is, if there is one.
    pub key: Option<PublicKey>,
    /// Pacemaker.
    pub timing: Timing,
    /// How strictly votes depend on batches.
    pub coupling: CouplingMode,
    /// How long a leader with nothing to propose waits before it proposes an empty block.
    pub empty_block_interval: Millis,
    /// The data layer.
    pub dag: DagConfig,
    /// Runs Stage B levels.
    pub runner: Box<dyn LevelRunner + Send>,
}

/// What a node starts from.
pub struct Restored {
    /// What the epoch of the next block starts from.
    pub start: EpochStart,
    /// The safety record, if one was written.
    pub safety: Option<SafetyRecord>,
    /// The last committed block.
    pub committed: Option<Block>,
    /// Uncommitted blocks.
    pub pending: Vec<Block>,
    /// State after the last committed block.
    pub ledger: Ledger,
    /// State roots of the last heights, including the ledger's own.
    pub roots: Vec<(Height, StateRoot)>,
    /// Lowest height whose block and batches are here; those below are pruned.
    pub lowest: Height,
    /// The data layer's.
    pub dag: qbind_dag::Restored,
}

/// Numbers for metrics and `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// The epoch this node is in.
    pub epoch: Epoch,
    /// The view this node is in.
    pub view: View,
    /// View of the last executed block: how far this node really is.
    pub current_view: View,
    /// Highest view a certificate proved.
    pub highest_seen_view: View,
    /// Last executed height.
    pub height: Height,
    /// Highest height a peer told.
    pub highest_peer: Height,
    /// The lowest height that peers can give, while none can give the next.
    pub out_of_reach: Option<Height>,
    /// Peers whose height is known.
    pub known_peers: usize,
    /// Final blocks waiting for batches.
    pub waiting_blocks: usize,
    /// Sizes of the data layer.
    pub dag: Sizes,
}

impl Gauges {
    /// Views with a certificate that this node has not executed. The view under way has none yet,
    /// and the last certified block is normally about to be committed, so a healthy node shows 0 to 2.
    pub fn view_lag(&self) -> u64 {
        self.highest_seen_view.0.saturating_sub(1).saturating_sub(self.current_view.0)
    }
}

/// One node's core.
pub struct Replica {
    pub(crate) config: ReplicaConfig,
    /// Of the epoch under way.
    pub(crate) start: EpochStart,
    pub(crate) set: Arc<ValidatorSet>,
    /// This node's place among them.
    pub(crate) me: Option<ValidatorIndex>,
    pub(crate) consensus: Consensus,
    pub(crate) dag: Dag,
    pub(crate) early: Early,
    pub(crate) sync: Sync,
    pub(crate) ledger: Ledger,
    pub(crate) roots: BTreeMap<Height, StateRoot>,
    /// Final, not executed: some batch is missing.
    pub(crate) queue: VecDeque<CommittedBlock>,
    /// From which waiting block on how many were last looked through for batches, and how many batches
    /// were looked for then.
    pub(crate) prefetched: Option<((Height, usize), usize)>,
    /// The next block to execute lacked batches when it became final.
    pub(crate) lacked: bool,
    pub(crate) executed_view: View,
    pub(crate) lead: Option<Lead>,
    pub(crate) checking: Option<Block>,
    pub(crate) halted: bool,
}

impl Replica {
    /// Starts or resumes; the effects must be carried out first.
    ///
    /// # Panics
    /// Our fault: the ledger's registry does not know the validators of the epoch it is in.
    pub fn new(config: ReplicaConfig, restored: Restored, now: Now) -> (Self, Vec<Effect>) {
        let Restored { start, safety, committed, mut pending, ledger, roots, lowest, dag } =
            restored;
        let executed_view = committed.as_ref().map_or(View(0), |b| b.view);
        let set = ledger.registry().set(start.epoch).cloned();
        let set = set.expect("the validators of an epoch are elected before it starts");
        let me = place(config.key.as_ref(), &set);
        let dag_config = DagConfig { me, ..config.dag.clone() };
        let (dag, dag_effects) = Dag::restore(dag_config, set.clone(), dag, now.monotonic);
        let consensus_config = qbind_consensus::Config {
            network: config.network,
            set: set.clone(),
            start,
            me,
            timing: config.timing,
        };
        // What was signed in an earlier epoch says nothing about this one.
        let safety = safety.filter(|record| record.epoch() == start.epoch);
        let safety = safety.unwrap_or_else(|| SafetyRecord::start(&start));
        pending.retain(|block| block.epoch == start.epoch);
        let restored = qbind_consensus::Restored { safety, committed, pending };
        let (consensus, consensus_effects) =
            Consensus::new(consensus_config, restored, now.monotonic);
        let mut known: BTreeMap<Height, StateRoot> = roots.into_iter().collect();
        known.insert(ledger.height(), ledger.state_root());
        let mut this = Self {
            sync: Sync::new(ledger.height(), lowest, start.epoch, now.monotonic),
            config,
            start,
            set: set.clone(),
            me,
            consensus,
            dag,
            early: Early::default(),
            ledger,
            roots: known,
            queue: VecDeque::new(),
            prefetched: None,
            lacked: false,
            executed_view,
            lead: None,
            checking: None,
            halted: false,
        };
        let mut out = alloc::vec![Effect::EpochStarted { start, set, me }];
        if let Some(next) = this.ledger.registry().set(start.epoch.next()) {
            out.push(Effect::Elected(next.clone()));
        }
        this.route_dag(now, dag_effects, &mut out);
        this.route_consensus(now, consensus_effects, &mut out);
        this.settle(now, &mut out);
        (this, out)
    }

    /// Applies one event. Total: never blocks, fails, logs, or reads a clock.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if !self.halted {
            self.dispatch(now, event, &mut out);
            self.settle(now, &mut out);
        }
        out
    }

    pub(crate) fn dispatch(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let mono = now.monotonic;
        let Some(event) = self.early.keep(self.start.epoch, event) else { return };
        match event {
            Event::Tick => self.on_tick(now, out),
            Event::Consensus(event) => self.consensus(now, *event, out),
            Event::Signed(message) => {
                self.consensus(now, qbind_consensus::Event::Signed(*message), out);
            }
            Event::Batch(b) => self.dag(now, qbind_dag::Event::Batch { batch: *b, now: mono }, out),
            Event::Ack(ack) => self.dag(now, qbind_dag::Event::Ack { ack: *ack, now: mono }, out),
            Event::Certificate(c) => {
                self.dag(now, qbind_dag::Event::Certificate { certificate: *c, now: mono }, out);
            }
            Event::BatchRequest { from, reference } => {
                self.dag(now, qbind_dag::Event::Request { from, reference, now: mono }, out);
            }
            Event::BatchResponse(c) => {
                self.dag(now, qbind_dag::Event::Response { certified: *c, now: mono }, out);
            }
            Event::BatchSigned { reference, signature } => {
                self.dag(now, qbind_dag::Event::Signed { reference, signature, now: mono }, out);
            }
            Event::AckSigned { reference, signature } => {
                let event = qbind_dag::Event::AckSigned { reference, signature, now: mono };
                self.dag(now, event, out);
            }
            Event::Submit { transaction, id } => self.submit(now, *transaction, id, out),
            Event::Sync(event) => self.sync(now, event, out),
            Event::BlocksRequest { from, height, limit } => {
                let limit = limit.min(qbind_sync::bounds::BLOCKS_PER_ANSWER);
                if height <= self.ledger.height() && limit > 0 {
                    out.push(Effect::ServeBlocks { to: from, from: height, limit });
                }
            }
            Event::BlockRequest { from, id } => {
                if let Some(block) = self.consensus.block(&id) {
                    let message = SyncMessage::Block(block.clone());
                    out.push(send(Target::One(from), Wire::Sync(Box::new(message))));
                }
            }
            Event::Near(validators) => {
                self.dag(now, qbind_dag::Event::Near { validators, now: mono }, out);
            }
            Event::Many(events) => {
                for event in events {
                    self.dispatch(now, event, out);
                }
            }
        }
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.monotonic >= self.consensus.deadline() {
            self.consensus(now, qbind_consensus::Event::Tick, out);
        }
        if self.dag.next_deadline().is_some_and(|due| now.monotonic >= due) {
            self.dag(now, qbind_dag::Event::Tick { now: now.monotonic }, out);
        }
        if now.monotonic >= self.sync.deadline() {
            self.sync(now, qbind_sync::Event::Tick, out);
        }
    }

    /// When `Event::Tick` is due.
    pub fn deadline(&self) -> Millis {
        let lead = self.lead.as_ref().filter(|l| !l.waited);
        let lead = lead.map(|l| l.since.plus(self.config.empty_block_interval));
        [
            Some(self.consensus.deadline()),
            self.dag.next_deadline(),
            Some(self.sync.deadline()),
            lead,
        ]
        .into_iter()
        .flatten()
        .min()
        .expect("consensus always has a deadline")
    }

    /// The state after the last executed block.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The data layer.
    pub fn data(&self) -> &Dag {
        &self.dag
    }

    /// Consensus.
    pub fn chain(&self) -> &Consensus {
        &self.consensus
    }

    /// Numbers for metrics.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            epoch: self.start.epoch,
            view: self.consensus.view(),
            current_view: self.executed_view,
            highest_seen_view: self.consensus.highest_seen_view(),
            height: self.ledger.height(),
            highest_peer: self.sync.highest_peer(),
            out_of_reach: self.sync.out_of_reach(),
            known_peers: self.sync.known_peers(),
            waiting_blocks: self.queue.len(),
            dag: self.dag.sizes(),
        }
    }

    /// The lowest height among peers that are not below this one.
    pub fn slowest_peer(&self, not_below: Height) -> Option<Height> {
        self.sync.slowest_peer(not_below)
    }

    pub(crate) fn consensus(
        &mut self,
        now: Now,
        event: qbind_consensus::Event,
        out: &mut Vec<Effect>,
    ) {
        let effects = self.consensus.step(now.monotonic, event);
        self.route_consensus(now, effects, out);
    }

    pub(crate) fn dag(&mut self, now: Now, event: qbind_dag::Event, out: &mut Vec<Effect>) {
        let effects = self.dag.step(event);
        self.route_dag(now, effects, out);
    }

    pub(crate) fn sync(&mut self, now: Now, event: qbind_sync::Event, out: &mut Vec<Effect>) {
        for effect in self.sync.step(now.monotonic, event) {
            match effect {
                qbind_sync::Effect::Send { to, message } => {
                    out.push(send(Target::One(to), Wire::Sync(Box::new(message))));
                }
                qbind_sync::Effect::Broadcast(message) => {
                    out.push(send(Target::All, Wire::Sync(Box::new(message))));
                }
                qbind_sync::Effect::Committed(block) => {
                    self.consensus(now, qbind_consensus::Event::Committed(block), out);
                }
                qbind_sync::Effect::Block(block) => {
                    self.consensus(now, qbind_consensus::Event::Block(block), out);
                }
                qbind_sync::Effect::OutOfReach { height, peers } => {
                    out.push(Effect::OutOfReach { height, peers });
                }
            }
        }
    }

    pub(crate) fn route_consensus(
        &mut self,
        now: Now,
        effects: Vec<qbind_consensus::Effect>,
        out: &mut Vec<Effect>,
    ) {
        use qbind_consensus::Effect as E;
        for effect in effects {
            match effect {
                E::Persist(record) => out.push(Effect::PersistSafety(record)),
                E::StoreBlock { block, justify } => out.push(Effect::StoreBlock { block, justify }),
                E::Sign(unsigned) => out.push(Effect::Sign(unsigned)),
                E::Broadcast(m) => out.push(send(Target::All, Wire::Consensus(m))),
                E::Send { to, message } => {
                    let to = Target::One(Peer::Validator(to));
                    out.push(send(to, Wire::Consensus(message)));
                }
                E::Lead { view, parent, parent_height } => {
                    let since = now.monotonic;
                    self.lead = Some(Lead { view, parent, parent_height, since, waited: false });
                }
                E::Check(block) => self.checking = Some(*block),
                E::NeedBlock { id, holders } => {
                    self.sync(now, qbind_sync::Event::NeedBlock { id, holders }, out);
                }
                E::Commit(blocks) => {
                    if blocks.last().is_some_and(|last| last.block.ends_epoch()) {
                        self.sync.hold();
                    }
                    self.queue.extend(blocks);
                }
                E::Entered { view, by_timeout } => {
                    self.lead = self.lead.take().filter(|l| l.view >= view);
                    self.checking = self.checking.take().filter(|b| b.view >= view);
                    out.push(Effect::Entered { view, by_timeout });
                }
                E::Certified { view, .. } => out.push(Effect::Certified { view }),
                E::GaveUp { view } => out.push(Effect::GaveUp { view }),
                E::Evidence(evidence) => out.push(Effect::Equivocation(evidence)),
                E::Conflict { committed, other } => {
                    self.halt(Halt::Conflict { committed, other }, out);
                }
            }
        }
    }

    pub(crate) fn route_dag(
        &mut self,
        _now: Now,
        effects: Vec<qbind_dag::Effect>,
        out: &mut Vec<Effect>,
    ) {
        use qbind_dag::Effect as E;
        for effect in effects {
            out.push(match effect {
                E::PersistOwn(batch) => Effect::PersistOwnBatch(Box::new(batch)),
                E::PersistAck(reference) => Effect::PersistAck(reference),
                E::Store { reference, batch } => Effect::StoreBatch { reference, batch },
                E::StoreCertificate(c) => Effect::StoreCertificate(Box::new(c)),
                E::StorePending(pending) => Effect::StorePending(Box::new(pending)),
                E::ForgetPending(ids) => Effect::ForgetPending(ids),
                E::Sign(reference) => Effect::SignBatch(reference),
                E::SignAck { reference, validator } => Effect::SignAck { reference, validator },
                E::Broadcast(m) => send(Target::All, Wire::Dag(Box::new(m))),
                E::SendTo { to, message } => send(Target::One(to), Wire::Dag(Box::new(message))),
                E::ServeFromStore { to, batch } => Effect::ServeBatch { to, reference: batch },
                E::Accepted { id } => Effect::Accepted(id),
                E::Rejected { id, rejection } => Effect::Rejected {
                    id,
                    code: rejection.code(),
                    message: alloc::format!("{rejection}"),
                    hint: rejection.hint().into(),
                },
                E::Evidence(evidence) => Effect::BatchEquivocation(evidence),
                E::Note(note) => Effect::Note(note),
            });
        }
    }

    pub(crate) fn halt(&mut self, why: Halt, out: &mut Vec<Effect>) {
        self.halted = true;
        out.push(Effect::Halt(why));
    }

    /// After every event: what waited for something may go on.
    fn settle(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.execute_ready(now, out);
        self.check_pending(now, out);
        self.propose_ready(now, out);
    }

    pub(crate) fn propose(
        &mut self,
        now: Now,
        view: View,
        parent: BlockId,
        content: Content,
        out: &mut Vec<Effect>,
    ) {
        self.consensus(now, qbind_consensus::Event::Propose { view, parent, content }, out);
    }

    pub(crate) fn count(&self, result: CouplingResult, out: &mut Vec<Effect>) {
        out.push(Effect::Coupling(result));
    }
}

pub(crate) fn send(to: Target, message: Wire) -> Effect {
    Effect::Send { to, message }
}
