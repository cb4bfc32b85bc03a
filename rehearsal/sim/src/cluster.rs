//! The loop: the next event in virtual time, to its node, and what it sends onto the links.

use crate::{
    byzantine::Liar,
    calls::{self, STAKE},
    config::{Action, Byzantine, Call, CallKind, Clock, Signatures, SimConfig},
    disk::Disk,
    load::{self, Planned},
    network::{Network as Links, Parcel},
    oracle::Oracle,
    outcome::Outcome,
    promises::Promises,
    trial::Trial,
    work::Meter,
    world::{Fuse, NodeWorld, Observed, Place, PowerLoss, Registrar},
};
use qbind_consensus::Timing;
use qbind_crypto::{SecretKey, address_of, sha3_256, tx_id};
use qbind_dag::{DagConfig, Peer};
use qbind_ledger::{Account, FeeSplit, Params, Registry, SerialRunner, SlashingMode};
use qbind_replica::{
    Channel, CouplingResult, Event, Now, Replica, ReplicaConfig, Target, Wire, begin, open, perform,
};
use qbind_types::{
    Address, Block, BlockId, Epoch, Evidence, Millis, Network, Offence, REGISTRY, TxId,
    ValidatorIndex, ValidatorInfo, ValidatorSet, VotingPower,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    rc::Rc,
    sync::Arc,
};

const NETWORK: Network = Network::Testnet;
const GENESIS: BlockId = BlockId([0x47; 32]);
/// Unix time at the start, in milliseconds; any would do.
const EPOCH_UNIX_MS: u64 = 1_767_225_600_000;
const SAMPLE_US: u64 = 100_000;
/// A client that sees no effect of its transfer hands it in again, to the next node.
const RESUBMIT_US: u64 = 2_000_000;
/// How often an operator looks whether a new key is valid.
const KEY_US: u64 = 100_000;

enum Due {
    Deliver { from: usize, to: usize, event: Rc<Event> },
    Wake { node: usize },
    Submit { transfer: usize, attempt: usize },
    Fault(usize),
    Restart(usize),
    Call { call: usize, attempt: usize },
    NewKey(usize),
    Calm,
    Sample,
}

struct SimNode {
    /// Its validator's place in a set with everybody in it.
    index: ValidatorIndex,
    key: SecretKey,
    place: Place,
    replica: Option<Replica>,
    disk: Disk,
    wake: u64,
    views: u64,
    byzantine: Option<Byzantine>,
    clock: Clock,
    fuse: Fuse,
}

/// A cluster in virtual time.
pub struct Simulation {
    config: SimConfig,
    rng: ChaCha8Rng,
    /// Of epoch 0.
    set: Arc<ValidatorSet>,
    registrar: Registrar,
    keys: Vec<SecretKey>,
    nodes: Vec<SimNode>,
    links: Links,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    slots: BTreeMap<u64, Due>,
    next_slot: u64,
    now_us: u64,
    planned: Vec<Planned>,
    genesis_accounts: BTreeMap<Address, Account>,
    oracle: Oracle,
    promises: Promises,
    trial: Trial,
    /// The first double sign that was proven.
    proof: Option<Evidence>,
    trace: [u8; 32],
    crashed_leader: Vec<usize>,
    submitted: BTreeSet<TxId>,
    accepted: BTreeSet<TxId>,
    /// Calls to the registry: each takes the place of the one before.
    called: BTreeSet<TxId>,
    submitted_at: BTreeMap<TxId, (u64, usize)>,
    proposed_at: BTreeMap<BlockId, u64>,
    latencies: Vec<u64>,
    block_latencies: Vec<u64>,
    /// Sum and number over all honest nodes.
    commit_latency: (u64, u64),
    meter: Option<Meter>,
    outcome: Outcome,
    calm_at: Option<u64>,
    last_fault_us: Option<u64>,
}

impl Simulation {
    /// A cluster at time zero.
    ///
    /// # Panics
    /// Our fault: fewer than four validators, or a region without links.
    pub fn new(config: SimConfig) -> Self {
        let n = config.validators.len();
        assert!(n >= 4, "a cluster has at least four validators");
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let keys: Vec<SecretKey> = (0..n)
            .map(|i| SecretKey::from_seed(&sha3_256(&[b"simulated validator", &[i as u8]])))
            .collect();
        let founders = n - config.candidates;
        let members = keys.iter().zip(0u64..).take(founders).map(|(k, id)| ValidatorInfo {
            id,
            address: address_of(&k.public_key()),
            public_key: k.public_key(),
            previous_key: None,
            power: VotingPower(STAKE),
        });
        let set = Arc::new(
            ValidatorSet::new(Epoch(0), members.collect()).expect("distinct keys and stakes"),
        );
        let duration_us = config.duration_ms * 1_000;
        let load = load::plan(NETWORK, &config.load, n, duration_us, &mut rng);
        let mut genesis_accounts = load.accounts;
        for key in &keys {
            let account = Account { nonce: 0, balance: load::BALANCE };
            genesis_accounts.insert(address_of(&key.public_key()), account);
        }
        let staked = u128::from(STAKE) * founders as u128;
        genesis_accounts.insert(REGISTRY, Account { nonce: 0, balance: staked });
        let twin = |i: &usize| config.byzantine.get(i) == Some(&Byzantine::Twin);
        let twins: Vec<usize> = (0..n).filter(twin).collect();
        let mut regions = config.validators.clone();
        regions.extend(twins.iter().map(|i| config.validators[*i]));
        let mut this = Self {
            links: Links::new(config.links.clone(), regions),
            registrar: Registrar::new(NETWORK, config.signatures, set.clone()),
            rng,
            set,
            keys,
            nodes: Vec::new(),
            due: BinaryHeap::new(),
            slots: BTreeMap::new(),
            next_slot: 0,
            now_us: 0,
            planned: load.planned,
            genesis_accounts,
            oracle: Oracle::default(),
            promises: Promises::default(),
            trial: Trial::default(),
            proof: None,
            trace: [0; 32],
            crashed_leader: Vec::new(),
            submitted: BTreeSet::new(),
            accepted: BTreeSet::new(),
            called: BTreeSet::new(),
            submitted_at: BTreeMap::new(),
            proposed_at: BTreeMap::new(),
            latencies: Vec::new(),
            block_latencies: Vec::new(),
            commit_latency: (0, 0),
            meter: None,
            outcome: empty_outcome(),
            calm_at: None,
            last_fault_us: None,
            config,
        };
        this.build(n, &twins);
        this
    }

    fn build(&mut self, n: usize, twins: &[usize]) {
        for (node, index) in (0..n).chain(twins.iter().copied()).enumerate() {
            let cut = self.config.power_cut.filter(|cut| cut.node == node);
            self.nodes.push(SimNode {
                index: ValidatorIndex(u16::try_from(index).expect("few validators")),
                key: self.keys[index].clone(),
                place: Place::default(),
                replica: None,
                disk: Disk::new(GENESIS, self.genesis_accounts.clone(), self.registry()),
                wake: u64::MAX,
                views: 0,
                byzantine: self.config.byzantine.get(&index).copied(),
                clock: self.config.clocks.get(node).copied().unwrap_or_default(),
                fuse: Fuse { effect: cut.map(|cut| cut.effect), ..Fuse::default() },
            });
        }
        self.meter = self.config.counts_work.then(|| Meter::new(self.nodes.len()));
        for i in 0..self.planned.len() {
            self.at(self.planned[i].at_us, Due::Submit { transfer: i, attempt: 0 });
        }
        for call in 0..self.config.calls.len() {
            let at = self.config.calls[call].at_ms * 1_000;
            self.at(at, Due::Call { call, attempt: 0 });
        }
        for i in 0..self.config.faults.len() {
            self.at(self.config.faults[i].at_ms * 1_000, Due::Fault(i));
        }
        self.at(self.config.duration_ms * 1_000, Due::Calm);
        self.at(SAMPLE_US, Due::Sample);
        for node in 0..self.nodes.len() {
            self.start(node);
        }
    }

    fn registry(&self) -> Registry {
        Registry::new(self.config.epoch_blocks, (*self.set).clone())
    }

    /// Runs to the end and says what happened.
    pub fn run(mut self) -> Outcome {
        let end = (self.config.duration_ms + self.config.cooldown_ms) * 1_000;
        while let Some(Reverse((at, slot))) = self.due.pop() {
            if at > end {
                break;
            }
            self.now_us = at;
            if let Some(due) = self.slots.remove(&slot) {
                self.handle(due);
            }
        }
        self.finish()
    }

    fn at(&mut self, at_us: u64, due: Due) {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.slots.insert(slot, due);
        self.due.push(Reverse((at_us, slot)));
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Deliver { from, to, event } => self.deliver(from, to, &event),
            Due::Wake { node } => {
                if self.nodes[node].wake <= self.now_us {
                    self.nodes[node].wake = u64::MAX;
                    self.feed(node, Event::Tick);
                }
            }
            Due::Submit { transfer, attempt } => self.submit(transfer, attempt),
            Due::Fault(i) => {
                self.outcome.faults_injected += 1;
                self.last_fault_us = Some(self.now_us);
                self.outcome.resumed_ms = None;
                self.fault(self.config.faults[i].action.clone());
            }
            Due::Restart(node) => self.restart(node),
            Due::Call { call, attempt } => self.call(call, attempt),
            Due::NewKey(node) => self.change_key(node),
            Due::Calm => self.calm(),
            Due::Sample => {
                let heights = self.running_heights();
                let spread = heights.iter().max().copied().unwrap_or(0)
                    - heights.iter().min().copied().unwrap_or(0);
                self.outcome.max_height_divergence = self.outcome.max_height_divergence.max(spread);
                self.at(self.now_us + SAMPLE_US, Due::Sample);
            }
        }
    }

    /// A message reaches a node, which cannot check what comes from an epoch it does not know.
    fn deliver(&mut self, from: usize, to: usize, event: &Event) {
        let sender = self.name(from, to);
        let is_known = event.epoch().is_none_or(|epoch| epoch <= self.nodes[to].place.known);
        if is_known {
            self.feed(to, sent_by(sender, event.clone()));
        } else if matches!(event, Event::Sync(qbind_sync::Event::Blocks { .. })) {
            self.feed(to, Event::Sync(qbind_sync::Event::TooNew { from: sender }));
        } else {
            self.feed(to, Event::Sync(qbind_sync::Event::Ahead { from: sender }));
        }
    }

    /// What one node calls another, by the validators of its own epoch.
    fn name(&self, of: usize, by: usize) -> Peer {
        let id = u64::from(self.nodes[of].index.0);
        let set = self.nodes[by].place.set.as_ref();
        set.and_then(|set| set.index_of(id)).map_or(Peer::Node(of as u64), Peer::Validator)
    }

    /// Of honest nodes.
    fn running_heights(&self) -> Vec<u64> {
        let honest = self.nodes.iter().filter(|n| n.byzantine.is_none());
        honest.filter_map(|n| n.replica.as_ref()).map(|r| r.gauges().height.0).collect()
    }

    /// What a node's clocks show.
    fn now(&self, node: usize) -> Now {
        let clock = self.nodes[node].clock;
        let monotonic = Millis(clock.shown_us(self.now_us) / 1_000);
        let unix = (EPOCH_UNIX_MS + monotonic.0).saturating_add_signed(clock.skew_ms);
        Now { monotonic, unix: Millis(unix) }
    }

    fn params(&self, node: usize) -> Params {
        let mut params = Params { stage_b: self.config.stage_b, ..Params::mainnet() };
        if self.config.calls.iter().any(|call| call.kind == CallKind::Report) {
            params.slashing.mode = SlashingMode::EnforceCritical;
        }
        if self.nodes[node].byzantine == Some(Byzantine::WrongState) {
            params.fee_split = FeeSplit::BURN;
        }
        params
    }

    fn start(&mut self, node: usize) {
        let params = self.params(node);
        self.nodes[node].place = Place::default();
        let restored = self.nodes[node].disk.restored(&params);
        let mut dag = DagConfig::new(NETWORK, None);
        dag.batch_max_gas = params.block_gas_limit;
        dag.mempool.transaction_gas = params.block_gas_limit;
        let config = ReplicaConfig {
            network: NETWORK,
            key: Some(self.nodes[node].key.public_key()),
            timing: Timing { base: Millis(self.config.view_timeout_ms), ..Timing::default() },
            coupling: self.config.coupling,
            empty_block_interval: Millis(self.config.empty_block_interval_ms),
            dag,
            runner: Box::new(SerialRunner),
        };
        let now = self.now(node);
        let (replica, effects) = Replica::new(config, restored, now);
        self.drive(node, replica, |replica, world| begin(replica, now, effects, world));
    }

    fn feed(&mut self, node: usize, event: Event) {
        let Some(replica) = self.nodes[node].replica.take() else { return };
        let now = self.now(node);
        self.drive(node, replica, |replica, world| perform(replica, now, [event], world));
    }

    /// Lets a node act, then puts what it sent onto the links.
    fn drive(
        &mut self,
        node: usize,
        mut replica: Replica,
        act: impl FnOnce(&mut Replica, &mut NodeWorld<'_>) -> Result<(), PowerLoss>,
    ) {
        let sim_node = &mut self.nodes[node];
        let is_honest = sim_node.byzantine.is_none();
        let is_real = self.config.signatures == Signatures::Real;
        let mut world = NodeWorld {
            network: NETWORK,
            index: sim_node.index,
            place: &mut sim_node.place,
            key: &sim_node.key,
            signatures: self.config.signatures,
            verifiers: &self.registrar,
            disk: &mut sim_node.disk,
            byzantine: sim_node.byzantine,
            promises: is_honest.then_some(&mut self.promises),
            trial: (is_honest && is_real).then_some(&mut self.trial),
            fuse: &mut sim_node.fuse,
            outbox: Vec::new(),
            observed: Vec::new(),
        };
        let result = act(&mut replica, &mut world);
        let (outbox, observed) = (world.outbox, world.observed);
        self.nodes[node].replica = Some(replica);
        for observed in observed {
            self.observe(node, observed);
        }
        for (target, wire) in outbox {
            self.transmit(node, target, wire);
        }
        match result {
            Ok(()) => self.schedule_wake(node),
            Err(PowerLoss) => self.lose_power(node),
        }
    }

    fn schedule_wake(&mut self, node: usize) {
        let Some(replica) = &self.nodes[node].replica else { return };
        let due_us = self.nodes[node].clock.true_us(replica.deadline().0 * 1_000);
        let at = due_us.max(self.now_us + 1_000);
        if at < self.nodes[node].wake {
            self.nodes[node].wake = at;
            self.at(at, Due::Wake { node });
        }
    }

    /// Nothing of what was not synced is left.
    fn lose_power(&mut self, node: usize) {
        self.record(b"power", &(node as u64).to_le_bytes());
        self.outcome.power_losses += 1;
        self.nodes[node].replica = None;
        self.nodes[node].disk.crash(0);
        self.nodes[node].wake = u64::MAX;
        self.disarm();
        match self.config.power_cut.filter(|cut| cut.node == node) {
            Some(cut) => self.at(self.now_us + cut.down_ms * 1_000, Due::Restart(node)),
            None => self.crashed_leader.push(node),
        }
    }

    fn disarm(&mut self) {
        for node in &mut self.nodes {
            node.fuse.phase = None;
        }
    }

    fn transmit(&mut self, from: usize, target: Target, wire: Wire) {
        let set = self.nodes[from].place.set.as_ref();
        let id_of = |index| set.and_then(|s| s.get(index)).map(|member| member.id);
        let is_addressed = |to: &usize| match target {
            Target::All => true,
            Target::One(Peer::Validator(index)) => {
                id_of(index) == Some(u64::from(self.nodes[*to].index.0))
            }
            Target::One(Peer::Node(node)) => node == *to as u64,
        };
        let to = (0..self.nodes.len()).filter(|to| *to != from).filter(is_addressed);
        let to: Vec<usize> = to.collect();
        let addressed = to.len();
        let SimNode { index, byzantine, .. } = &self.nodes[from];
        let (index, byzantine) = (*index, *byzantine);
        let parts = match byzantine {
            None => vec![(to, wire)],
            Some(kind) => {
                let (keys, set) = (&self.keys, &self.set);
                Liar { kind, index, keys, set, network: NETWORK }.distort(to, wire)
            }
        };
        let sent: usize = parts.iter().map(|(to, _)| to.len()).sum();
        self.outcome.withheld += addressed.saturating_sub(sent) as u64;
        for (to, wire) in parts {
            self.carry(from, &to, &wire);
        }
    }

    fn carry(&mut self, from: usize, recipients: &[usize], wire: &Wire) {
        let (channel, bytes) = match wire {
            Wire::Consensus(m) => (Channel::Consensus, qbind_types::encode(&**m)),
            Wire::Dag(m) => (Channel::Dag, m.encode()),
            Wire::Sync(m) => (Channel::Sync, qbind_types::encode(&**m)),
        };
        // Opening depends on the bytes alone, so it is done once for all who receive them; who sent
        // them each recipient says in its own words.
        let event = match open(channel, Peer::Node(from as u64), &bytes, self.registrar.all()) {
            Ok(event) => Rc::new(event),
            Err(_) => {
                self.outcome.refused += 1;
                if channel != Channel::Sync {
                    return;
                }
                Rc::new(Event::Sync(qbind_sync::Event::Lied { from: Peer::Node(from as u64) }))
            }
        };
        let bytes = bytes.len() as u64;
        if let Some(meter) = &mut self.meter {
            meter.count(recipients, wire, bytes);
        }
        for to in recipients.iter().copied() {
            let parcel = Parcel { from, to, bytes };
            let arrivals = self.links.send(self.now_us, parcel, wire, &mut self.rng);
            for delay in arrivals.into_iter().flatten() {
                self.at(self.now_us + delay, Due::Deliver { from, to, event: event.clone() });
            }
        }
    }

    fn submit(&mut self, i: usize, attempt: usize) {
        let planned = self.planned[i].clone();
        if self.oracle.has_effect(&planned.id) {
            return;
        }
        let verifier = self.registrar.all().newest();
        let Ok(transaction) = verifier.verify_transaction(planned.transaction) else { return };
        let again = Due::Submit { transfer: i, attempt: attempt + 1 };
        self.at(self.now_us + RESUBMIT_US, again);
        // A client whose node is down or lies to it goes to the next one.
        let n = self.keys.len();
        let first = planned.node + attempt;
        let serves = |node: &usize| {
            self.nodes[*node].replica.is_some() && self.nodes[*node].byzantine.is_none()
        };
        let up = (0..n).map(|k| (first + k) % n).find(serves);
        if let Some(node) = up {
            self.submitted.insert(planned.id);
            self.submitted_at.entry(planned.id).or_insert((self.now_us, node));
            let event = Event::Submit { transaction: Box::new(transaction), id: planned.id };
            self.feed(node, event.clone());
            self.feed_twins(i, &event);
        }
    }

    /// An owner hands in its call, again and again until it has its effect.
    fn call(&mut self, i: usize, attempt: usize) {
        let Call { node, kind, .. } = self.config.calls[i];
        let n = self.keys.len();
        let up = (0..n)
            .map(|k| (node + attempt + k) % n)
            .find(|k| self.nodes[*k].replica.is_some() && self.nodes[*k].byzantine.is_none());
        let Some(through) = up else {
            self.at(self.now_us + RESUBMIT_US, Due::Call { call: i, attempt: attempt + 1 });
            return;
        };
        let Some(replica) = &self.nodes[through].replica else { return };
        let owner = &self.keys[node];
        let account = replica.ledger().account(&address_of(&owner.public_key()));
        let earliest = replica.ledger().registry().earliest();
        let (proof, nonce) = (self.proof.as_ref(), account.nonce);
        let call = calls::transaction(NETWORK, owner, nonce, node as u64, kind, earliest, proof);
        if !calls::is_done(replica.ledger(), node as u64, kind) {
            let again = Due::Call { call: i, attempt: attempt + 1 };
            self.at(self.now_us + RESUBMIT_US, again);
            let Some(call) = call else { return };
            let id = tx_id(NETWORK, &call);
            self.called.insert(id);
            let verifier = self.registrar.all().newest();
            if let Ok(transaction) = verifier.verify_transaction(call) {
                self.feed(through, Event::Submit { transaction: Box::new(transaction), id });
            }
        }
    }

    /// Twins hear every other transfer each, so that they make different batches of one round.
    fn feed_twins(&mut self, transfer: usize, event: &Event) {
        for node in 0..self.nodes.len() {
            let is_twin = self.nodes[node].byzantine == Some(Byzantine::Twin);
            let is_copy = node >= self.keys.len();
            if is_twin && transfer.is_multiple_of(2) == is_copy {
                self.feed(node, event.clone());
            }
        }
    }

    fn crash(&mut self, node: usize) {
        if self.nodes[node].replica.take().is_some() {
            let kept = self.rng.random_range(0..=self.nodes[node].disk.unsynced());
            self.nodes[node].disk.crash(kept);
            self.nodes[node].wake = u64::MAX;
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].replica.is_none() {
            self.start(node);
        }
    }

    fn fault(&mut self, action: Action) {
        self.record(b"fault", format!("{action:?}").as_bytes());
        match action {
            Action::Crash(node) => self.crash(node),
            Action::Restart(node) => self.restart(node),
            Action::CrashLeader => {
                let running = self.nodes.iter().filter(|n| n.replica.is_some());
                let of =
                    |n: &SimNode| n.replica.as_ref().map(|r| (r.gauges().epoch, r.gauges().view));
                let Some(front) = running.max_by_key(|n| of(n)) else { return };
                let view = of(front).map(|(_, view)| view).unwrap_or_default();
                let set = front.place.set.as_ref().unwrap_or(&self.set);
                let leader = set.get(set.leader(view)).map_or(0, |member| member.id);
                let leader = usize::try_from(leader).expect("few validators");
                self.crashed_leader.push(leader);
                self.crash(leader);
            }
            Action::CrashLeaderAt(phase) => {
                for node in &mut self.nodes {
                    node.fuse.phase = Some(phase);
                }
            }
            Action::SecondKey(node) => self.change_key(node),
            Action::RestartCrashed => {
                for node in std::mem::take(&mut self.crashed_leader) {
                    self.restart(node);
                }
            }
            Action::Partition(groups) => self.links.cut_between(&groups),
            Action::CutOneWay(from, to) => self.links.cut_one_way(from, to),
            Action::Heal => self.links.heal(),
            Action::Replace(from, to, link) => self.links.replace(from, to, link),
            Action::RestoreLinks => self.links.restore_links(),
            Action::Drop(kind, bps) => self.links.drop_share(kind, bps),
            Action::StopDrop => self.links.stop_drops(),
        }
    }

    /// An operator waits until the new key is valid.
    fn change_key(&mut self, node: usize) {
        let key = calls::second_key(node as u64);
        let set = self.nodes[node].place.set.as_ref();
        if set.is_some_and(|set| set.index_of_key(&key.public_key()).is_some()) {
            self.crash(node);
            self.nodes[node].key = key;
            self.restart(node);
        } else {
            self.at(self.now_us + KEY_US, Due::NewKey(node));
        }
    }

    fn calm(&mut self) {
        self.links.heal();
        self.links.restore_links();
        self.links.stop_drops();
        self.disarm();
        for node in 0..self.nodes.len() {
            self.restart(node);
        }
        self.outcome.height_at_calm = self.oracle.highest();
        self.calm_at = Some(self.now_us);
    }

    fn observe(&mut self, node: usize, observed: Observed) {
        let is_honest = self.nodes[node].byzantine.is_none();
        match observed {
            Observed::Committed(record) => {
                self.record(&(node as u64).to_le_bytes(), &record.id.0);
                if is_honest {
                    self.count_proposer(&record.committed.block);
                    let before = self.oracle.highest();
                    self.oracle.committed(node, &record, &self.nodes[node].disk, &self.registrar);
                    self.note_recovery(before);
                }
                for id in &record.transactions {
                    if let Some((at, _)) =
                        self.submitted_at.get(id).filter(|(_, n)| *n == node).copied()
                    {
                        self.submitted_at.remove(id);
                        self.latencies.push(self.now_us - at);
                    }
                }
                let block = &record.committed.block;
                self.outcome.views = self.outcome.views.max(block.view.0);
                if let Some(at) = self.proposed_at.get(&record.id).filter(|_| is_honest) {
                    let took = self.now_us - at;
                    self.commit_latency.0 += took;
                    self.commit_latency.1 += 1;
                    if Some(block.proposer) == self.nodes[node].place.me {
                        self.block_latencies.push(took);
                    }
                }
            }
            Observed::Accepted(id) if self.called.contains(&id) => {}
            Observed::Accepted(id) => {
                self.accepted.insert(id);
            }
            Observed::Halted(why) => {
                self.outcome.halts.push(format!("node {node}: {why}"));
                self.crash(node);
            }
            Observed::Violation(accused) => {
                self.outcome.coupling_violations += 1;
                let accused = self.nodes.get(accused).filter(|_| self.config.calls.is_empty());
                if accused.is_some_and(|node| node.byzantine.is_none()) {
                    self.outcome.false_evidence += 1;
                }
            }
            Observed::Equivocation(accused) => {
                self.outcome.equivocations += 1;
                // Whose index means somebody else in another epoch is not among the twins.
                let accused = self.nodes.get(accused).filter(|_| self.config.calls.is_empty());
                if accused.is_some_and(|node| node.byzantine.is_none()) {
                    self.outcome.false_evidence += 1;
                }
            }
            Observed::Proven(proof, evidence) => {
                if proof.offence == Offence::O1DoubleSign {
                    self.proof.get_or_insert(*evidence);
                }
                *self.outcome.proofs.entry(proof.offence.as_str()).or_insert(0) += 1;
                let accused = usize::try_from(proof.validator).ok();
                let accused = accused.and_then(|id| self.nodes.get(id));
                if accused.is_some_and(|node| node.byzantine.is_none()) {
                    self.outcome.convictions.push(format!("{proof:?}"));
                }
            }
            Observed::Coupling(result) => {
                let name = match result {
                    CouplingResult::Ok => "ok",
                    CouplingResult::NotRequired => "not_required",
                    CouplingResult::Missing => "missing",
                    CouplingResult::Mismatch => "mismatch",
                    CouplingResult::WrongState => "wrong_state",
                    CouplingResult::OverGas => "over_gas",
                };
                *self.outcome.coupling.entry(name.to_owned()).or_insert(0) += 1;
            }
            Observed::Entered { view, by_timeout } => {
                self.record(b"view", &view.0.to_le_bytes());
                self.nodes[node].views += u64::from(by_timeout);
            }
            Observed::EpochStarted(start) => {
                self.record(b"epoch", &start.epoch.0.to_le_bytes());
                let set = self.nodes[node].place.set.as_ref();
                if start.epoch.0 >= self.outcome.epochs
                    && let Some(set) = set
                {
                    self.outcome.epochs = start.epoch.0;
                    self.outcome.validators = set.members().iter().map(|m| m.id).collect();
                }
            }
            Observed::Proposed { id } => {
                self.proposed_at.insert(id, self.now_us);
            }
        }
    }

    /// Once for each height.
    fn count_proposer(&mut self, block: &Block) {
        if block.height.0 == self.oracle.highest() + 1
            && let Ok(verifier) = self.registrar.of(block.epoch)
            && let Some(member) = verifier.set().get(block.proposer)
        {
            *self.outcome.proposers.entry((block.epoch.0, member.id)).or_insert(0) += 1;
        }
    }

    fn note_recovery(&mut self, before: u64) {
        if let Some(fault) = self.last_fault_us
            && self.outcome.resumed_ms.is_none()
            && self.oracle.highest() > before
        {
            self.outcome.resumed_ms = Some((self.now_us - fault) / 1_000);
        }
        if let Some(calm) = self.calm_at
            && self.outcome.recovery_ms.is_none()
            && self.oracle.highest() > before
            && self.oracle.highest() > self.outcome.height_at_calm
        {
            self.outcome.recovery_ms = Some((self.now_us - calm) / 1_000);
        }
    }

    fn record(&mut self, kind: &[u8], what: &[u8]) {
        self.trace = sha3_256(&[&self.trace, &self.now_us.to_le_bytes(), kind, what]);
    }

    fn finish(mut self) -> Outcome {
        let heights = self.running_heights();
        let highest = heights.iter().max().copied().unwrap_or(0);
        let (once, more) = self.oracle.effects();
        let calls = self.called.iter().filter(|id| self.oracle.has_effect(id)).count() as u64;
        let genesis: u128 = self.genesis_accounts.values().map(|a| a.balance).sum();
        let is_conserved = |r: &Replica| r.ledger().supply() + r.ledger().burned() == genesis;
        let honest = || self.nodes.iter().filter(|n| n.byzantine.is_none());
        let counts = self.links.counts;
        let mut outcome = self.outcome;
        outcome.submitted = self.submitted.len() as u64;
        outcome.accepted = self.accepted.len() as u64;
        outcome.supply_conserved = honest().filter_map(|n| n.replica.as_ref()).all(is_conserved);
        outcome.final_height_divergence = highest - heights.iter().min().copied().unwrap_or(0);
        outcome.heights = heights;
        outcome.divergences = self.oracle.divergences;
        outcome.block_mismatches = self.oracle.mismatches;
        outcome.state_divergences = self.oracle.states;
        outcome.view_changes = honest().map(|n| n.views).max().unwrap_or(0);
        outcome.effects = self.nodes.iter().map(|n| n.fuse.carried_out).collect();
        outcome.broken_promises = self.promises.broken;
        outcome.convictions.extend(self.trial.convictions);
        outcome.trials = self.trial.held;
        (outcome.committed_once, outcome.double_spends) = (once - calls, more);
        outcome.latency_us = [50, 90, 99].map(|p| percentile(&mut self.latencies, p));
        outcome.block_latency_us = percentile(&mut self.block_latencies, 50);
        let (sum, number) = self.commit_latency;
        outcome.commit_latency_mean_us = sum.checked_div(number).unwrap_or(0);
        outcome.work = self.meter.map(|meter| meter.work);
        outcome.messages = [counts.delivered, counts.lost, counts.cut, counts.dropped];
        outcome.duplicated = counts.duplicated;
        outcome.mean_delay_us = counts.delay_us.checked_div(counts.delivered).unwrap_or(0);
        let hex: String = self.trace.iter().map(|b| format!("{b:02x}")).collect();
        outcome.trace = hex;
        outcome
    }
}

/// Nearest rank; zero of nothing.
fn percentile(values: &mut [u64], p: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * p).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0)
}

fn empty_outcome() -> Outcome {
    Outcome {
        divergences: Vec::new(),
        block_mismatches: Vec::new(),
        state_divergences: Vec::new(),
        halts: Vec::new(),
        equivocations: 0,
        broken_promises: Vec::new(),
        power_losses: 0,
        coupling_violations: 0,
        false_evidence: 0,
        proofs: BTreeMap::new(),
        trials: 0,
        convictions: Vec::new(),
        epochs: 0,
        validators: Vec::new(),
        proposers: BTreeMap::new(),
        effects: Vec::new(),
        refused: 0,
        duplicated: 0,
        heights: Vec::new(),
        height_at_calm: 0,
        recovery_ms: None,
        resumed_ms: None,
        withheld: 0,
        max_height_divergence: 0,
        final_height_divergence: 0,
        view_changes: 0,
        submitted: 0,
        accepted: 0,
        committed_once: 0,
        double_spends: 0,
        latency_us: [0; 3],
        block_latency_us: 0,
        commit_latency_mean_us: 0,
        work: None,
        views: 0,
        coupling: BTreeMap::new(),
        messages: [0; 4],
        mean_delay_us: 0,
        faults_injected: 0,
        supply_conserved: false,
        trace: String::new(),
    }
}

/// The event with the sender's name in it.
fn sent_by(sender: Peer, mut event: Event) -> Event {
    use qbind_sync::Event as Sync;
    if let Event::BatchRequest { from, .. }
    | Event::BlocksRequest { from, .. }
    | Event::BlockRequest { from, .. }
    | Event::Sync(
        Sync::Status { from, .. } | Sync::Blocks { from, .. } | Sync::Lied { from },
    ) = &mut event
    {
        *from = sender;
    }
    event
}
