//! Every state of four validators, some of them Byzantine, over the first views: the machine itself
//! under a model checker.
//!
//! A model state is one state of each honest replica, with all it ever said. At each step any replica
//! hears of anything that could exist by then, or its timer runs out, or it restarts from what it
//! persisted; so every order, loss, delay and repetition is among the paths. Byzantine validators say
//! whatever helps: their signature is on every certificate, and their views have two proposals on
//! every parent that a check lets pass.
//!
//! Reductions: votes come as certificates, because who has heard a quorum has the certificate, and
//! what the machine does with it is one function (`on_qc`, `on_tc`, `on_commit_certificate`).
//! Certificates of the same content are one, whoever signed. Who hears of a certificate has the blocks
//! below it: a replica that lacks them can do less, never more.

extern crate std;

use super::*;
use crate::{
    chain::Chain,
    collect::{CommitCollector, TimeoutCollector, VoteCollector},
};
use stateright::{Checker, Model, Property};
use std::{
    collections::HashMap,
    format, println,
    string::String,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Statement {
    /// With the highest view that the timeout certificate it carries reports.
    Proposal(BlockId, Option<View>),
    Vote(View, BlockId),
    CommitVote(View, BlockId),
    /// With the view of the highest certificate known.
    Timeout(View, View),
}

/// Something a replica may hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum News {
    Proposal(BlockId, Option<View>),
    Qc(View, BlockId),
    Tc(View, View),
    CommitCertificate(View, BlockId),
    Timer,
    Restart,
}

#[derive(Debug, Clone)]
struct ReplicaState {
    machine: Consensus,
    record: SafetyRecord,
    stored: Vec<Block>,
    said: BTreeSet<Statement>,
    committed: Vec<Block>,
    contradicted: bool,
    may_restart: bool,
}

/// Replica states and what follows from them, each computed once; a model state names them by number.
#[derive(Default)]
struct Table {
    states: Vec<Arc<ReplicaState>>,
    numbers: HashMap<[u8; 32], u32>,
    steps: HashMap<(u32, News), u32>,
    /// What each replica ever said, by number.
    said: Vec<BTreeSet<Statement>>,
    said_of: Vec<u32>,
    /// What may be heard when these were said, and what each replica state becomes by it.
    news: HashMap<Vec<u32>, u32>,
    news_lists: Vec<Arc<Vec<News>>>,
    followers: HashMap<(u32, u32), Followers>,
    events: HashMap<News, Event>,
    proposals: HashMap<(BlockId, Option<View>), Proposal>,
}

struct World {
    keys: Vec<SecretKey>,
    set: Arc<ValidatorSet>,
    verifier: Verifier,
    genesis: BlockId,
    byzantine: Vec<ValidatorIndex>,
    honest: Vec<ValidatorIndex>,
    views: u64,
    /// Once each.
    restarting: Vec<ValidatorIndex>,
    table: Mutex<Table>,
}

impl World {
    fn new(byzantine: &[u16], views: u64) -> Self {
        let keys: Vec<_> = (0..4).map(|i| SecretKey::from_seed(&[i + 1; 32])).collect();
        let members = keys.iter().zip(0..).map(|(k, id)| ValidatorInfo {
            id,
            address: Default::default(),
            previous_key: None,
            public_key: k.public_key(),
            power: VotingPower(1),
        });
        let set = Arc::new(ValidatorSet::new(Epoch(0), members.collect()).unwrap());
        let is_byzantine = |i: &u16| byzantine.contains(i);
        Self {
            keys,
            verifier: Verifier::new(Network::Devnet, set.clone()),
            set,
            genesis: BlockId([9; 32]),
            byzantine: (0..4).filter(is_byzantine).map(ValidatorIndex).collect(),
            honest: (0..4).filter(|i| !is_byzantine(i)).map(ValidatorIndex).collect(),
            views,
            restarting: Vec::new(),
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while held")
    }

    fn state(&self, number: u32) -> Arc<ReplicaState> {
        self.table().states[number as usize].clone()
    }

    /// Honest signatures a certificate needs beside the Byzantine ones.
    fn needed(&self) -> usize {
        3 - self.byzantine.len()
    }

    fn sign(&self, who: u16, unsigned: &Unsigned) -> Signature {
        self.keys[usize::from(who)].sign(&unsigned.preimage(Network::Devnet))
    }

    fn votes(&self, of: impl Fn(ValidatorIndex) -> Unsigned) -> Vec<(ValidatorIndex, Signature)> {
        (0..3).map(|i| (ValidatorIndex(i), self.sign(i, &of(ValidatorIndex(i))))).collect()
    }

    fn qc(&self, view: View, block: BlockId) -> Qc {
        if view == View(0) {
            return Qc::start(&EpochStart::genesis(self.genesis));
        }
        let epoch = Epoch(0);
        let votes = self.votes(|validator| Unsigned::Vote { epoch, view, block, validator });
        Qc { epoch, view, block, votes }
    }

    fn tc(&self, view: View, high: View) -> Tc {
        let message = preimage::timeout(Network::Devnet, Epoch(0), view, high);
        let timeout = |i: u16| SignedTimeout {
            validator: ValidatorIndex(i),
            high_qc_view: high,
            signature: self.keys[usize::from(i)].sign(&message),
        };
        Tc { epoch: Epoch(0), view, timeouts: (0..3).map(timeout).collect() }
    }

    /// The event of a piece of news; made and checked once.
    fn event(&self, news: News) -> Event {
        if let Some(event) = self.table().events.get(&news) {
            return event.clone();
        }
        let v = &self.verifier;
        let event = match news {
            News::Proposal(block, tc) => {
                let proposal = self.table().proposals[&(block, tc)].clone();
                Event::Proposal(v.verify_proposal(proposal).expect("a sound proposal"))
            }
            News::Qc(view, block) => {
                Event::Qc(v.verify_qc(self.qc(view, block)).expect("a quorum"))
            }
            News::Tc(view, high) => Event::Tc(v.verify_tc(self.tc(view, high)).expect("a quorum")),
            News::CommitCertificate(view, block) => {
                let epoch = Epoch(0);
                let votes =
                    self.votes(|validator| Unsigned::CommitVote { epoch, view, block, validator });
                let certificate = CommitCertificate { epoch, view, block, votes };
                let verified = v.verify_commit_certificate(certificate).expect("a quorum");
                Event::CommitCertificate(verified)
            }
            News::Timer | News::Restart => Event::Tick,
        };
        self.table().events.insert(news, event.clone());
        event
    }

    fn start(&self, me: ValidatorIndex, from: &ReplicaStart) -> (Consensus, Vec<Effect>) {
        let config = Config {
            start: EpochStart::genesis(self.genesis),
            network: Network::Devnet,
            set: self.set.clone(),
            me: Some(me),
            timing: Timing::default(),
        };
        let restored = Restored {
            safety: from.record.clone(),
            committed: from.committed.clone(),
            pending: from.stored.clone(),
        };
        Consensus::new(config, restored, Millis(0))
    }

    /// The state with its number; equal states have one.
    fn number(&self, mut state: ReplicaState) -> u32 {
        self.forget_what_cannot_matter(&mut state);
        let key = qbind_crypto::sha3_256(&[format!("{state:?}").as_bytes()]);
        let mut table = self.table();
        if let Some(number) = table.numbers.get(&key) {
            return *number;
        }
        let number = u32::try_from(table.states.len()).expect("fewer states");
        let known = table.said.iter().position(|said| *said == state.said);
        let said = known.unwrap_or_else(|| {
            table.said.push(state.said.clone());
            table.said.len() - 1
        });
        table.said_of.push(u32::try_from(said).expect("fewer than states"));
        table.states.push(Arc::new(state));
        table.numbers.insert(key, number);
        number
    }

    /// What decides nothing from here on: two states that differ in it only are one.
    fn forget_what_cannot_matter(&self, state: &mut ReplicaState) {
        let machine = &mut state.machine;
        // When to act, whom to help, what to show; and statements that are told as certificates.
        machine.pacemaker = Pacemaker::new(Timing::default(), Millis(0));
        machine.helped.clear();
        machine.highest_seen = View(0);
        machine.last_commit = None;
        machine.votes = VoteCollector::default();
        machine.commits = CommitCollector::default();
        machine.timeouts = TimeoutCollector::default();
        // Why a view started is asked by its leader, once.
        let leads = machine.config.me == Some(machine.config.set.leader(machine.view));
        if !leads || !machine.safety.may_propose(machine.view) {
            machine.entry_tc = None;
            machine.led = None;
        }
        let view = machine.view;
        forget_past_views(&mut machine.safety, view);
        if view.0 > self.views {
            // Nothing is proposed any more; only commit certificates still tell something.
            machine.safety =
                SafetyRecord { view, ..SafetyRecord::start(&EpochStart::genesis(self.genesis)) };
            machine.proposals.clear();
            machine.checking = None;
            machine.own_timeout = None;
        }
        // Blocks come with the certificates that name them.
        let mut wanted = BTreeSet::new();
        let proposed = machine.proposals.values().map(|p| p.block.clone()).collect::<Vec<_>>();
        let roots = proposed.iter().map(block_id).chain([machine.safety.high_qc.block]);
        for mut id in roots.collect::<Vec<_>>() {
            while let Some(block) = machine.chain.find(&id) {
                wanted.insert(id);
                id = block.parent;
            }
        }
        machine.chain.retain(|id| wanted.contains(id));
        if !state.may_restart {
            state.record = SafetyRecord::start(&EpochStart::genesis(self.genesis));
            state.stored.clear();
        }
        let view = state.record.view;
        forget_past_views(&mut state.record, view);
        state.stored.sort_by_key(|b| (b.view, b.timestamp_unix_ms, b.parent));
        state.stored.dedup();
    }

    fn initial(&self, me: ValidatorIndex) -> u32 {
        let record = SafetyRecord::start(&EpochStart::genesis(self.genesis));
        let start = ReplicaStart { record: record.clone(), committed: None, stored: vec![] };
        let (machine, effects) = self.start(me, &start);
        let mut state = ReplicaState {
            machine,
            record,
            stored: vec![],
            said: BTreeSet::new(),
            committed: vec![],
            contradicted: false,
            may_restart: self.restarting.contains(&me),
        };
        self.perform(&mut state, effects);
        self.number(state)
    }

    /// What a replica becomes when it hears something.
    fn hear(&self, number: u32, me: ValidatorIndex, news: News) -> u32 {
        if let Some(next) = self.table().steps.get(&(number, news)) {
            return *next;
        }
        let mut state = (*self.state(number)).clone();
        let effects = match news {
            News::Restart => {
                let committed = state.committed.last().cloned();
                let (record, stored) = (state.record.clone(), state.stored.clone());
                let (machine, effects) =
                    self.start(me, &ReplicaStart { record, committed, stored });
                state.machine = machine;
                state.may_restart = false;
                effects
            }
            News::Timer => {
                let due = state.machine.deadline();
                state.machine.step(due, Event::Tick)
            }
            News::Qc(_, block) | News::CommitCertificate(_, block) => {
                self.learn(&mut state.machine.chain, block);
                state.machine.step(Millis(0), self.event(news))
            }
            News::Proposal(block, _) => {
                let table = self.table();
                let parent = table.proposals.iter().find(|((id, _), _)| *id == block);
                let parent = parent.expect("it was made").1.block.parent;
                drop(table);
                self.learn(&mut state.machine.chain, parent);
                state.machine.step(Millis(0), self.event(news))
            }
            News::Tc(..) => state.machine.step(Millis(0), self.event(news)),
        };
        self.perform(&mut state, effects);
        let next = self.number(state);
        self.table().steps.insert((number, news), next);
        next
    }

    /// The block and those below it become known, without a proposal to vote for.
    fn learn(&self, chain: &mut Chain, mut id: BlockId) {
        let table = self.table();
        while !chain.contains(&id) {
            let Some((_, proposal)) = table.proposals.iter().find(|((b, _), _)| *b == id) else {
                return;
            };
            chain.insert(id, proposal.block.clone());
            id = proposal.block.parent;
        }
    }

    fn perform(&self, state: &mut ReplicaState, effects: Vec<Effect>) {
        for effect in effects {
            let answer = match effect {
                Effect::Persist(record) => {
                    state.record = *record;
                    continue;
                }
                Effect::StoreBlock { block, .. } => {
                    state.stored.push(*block);
                    continue;
                }
                Effect::Commit(blocks) => {
                    state.committed.extend(blocks.into_iter().map(|c| c.block));
                    continue;
                }
                Effect::Conflict { .. } => {
                    state.contradicted = true;
                    continue;
                }
                Effect::Sign(unsigned) => self.say(state, *unsigned),
                Effect::Lead { view, parent, .. } if view.0 <= self.views => {
                    Event::Propose { view, parent, content: content(0) }
                }
                Effect::Check(block) => Event::Checked(block_id(&block)),
                _ => continue,
            };
            let effects = state.machine.step(Millis(0), answer);
            self.perform(state, effects);
        }
    }

    fn say(&self, state: &mut ReplicaState, unsigned: Unsigned) -> Event {
        let statement = match &unsigned {
            Unsigned::Proposal { block, timeout, .. } => {
                let high = timeout.as_ref().map(Tc::high_qc_view);
                Statement::Proposal(block_id(block), high)
            }
            Unsigned::Vote { view, block, .. } => Statement::Vote(*view, *block),
            Unsigned::CommitVote { view, block, .. } => Statement::CommitVote(*view, *block),
            Unsigned::Timeout { view, high_qc, .. } => Statement::Timeout(*view, high_qc.view),
        };
        state.said.insert(statement);
        let who = match &unsigned {
            Unsigned::Proposal { block, .. } => block.proposer,
            Unsigned::Vote { validator, .. }
            | Unsigned::CommitVote { validator, .. }
            | Unsigned::Timeout { validator, .. } => *validator,
        };
        // One signature for one statement, or states that are equal would differ in its bytes.
        let signature = match statement {
            Statement::Proposal(block, high) => {
                if let Some(known) = self.table().proposals.get(&(block, high)) {
                    return Event::Signed(Message::Proposal(known.clone()));
                }
                self.sign(who.0, &unsigned)
            }
            _ => Signature::from_slice(&[0; SIGNATURE_BYTES]).expect("the right length"),
        };
        let message = unsigned.complete(signature);
        if let (Statement::Proposal(block, high), Message::Proposal(p)) = (statement, &message) {
            self.table().proposals.insert((block, high), p.clone());
        }
        Event::Signed(message)
    }
}

/// Rules compare these with the current view only.
fn forget_past_views(record: &mut SafetyRecord, view: View) {
    record.proposed = record.proposed.filter(|(v, _)| *v >= view);
    record.voted = record.voted.filter(|(v, _)| *v >= view);
    record.commit_voted = record.commit_voted.filter(|(v, _)| v.next() >= view);
    record.timed_out = record.timed_out.filter(|v| *v >= view);
    record.entered_by = record.entered_by.take().filter(|tc| tc.view.next() >= view);
}

/// What a restart finds.
struct ReplicaStart {
    record: SafetyRecord,
    committed: Option<Block>,
    stored: Vec<Block>,
}

fn content(timestamp: u64) -> Content {
    Content {
        batches: vec![],
        executed: ExecutedState { height: Height(0), root: StateRoot::default() },
        timestamp_unix_ms: Millis(timestamp),
        next_validators: None,
    }
}

/// What exists by now: statements of honest replicas, and what Byzantine ones can add.
struct Existing {
    qcs: BTreeSet<(View, BlockId)>,
    tcs: BTreeSet<(View, View)>,
    news: BTreeSet<News>,
}

impl World {
    fn existing(&self, replicas: &[Arc<ReplicaState>]) -> Existing {
        let mut votes: BTreeMap<(View, BlockId), usize> = BTreeMap::new();
        let mut commits: BTreeMap<(View, BlockId), usize> = BTreeMap::new();
        let mut timeouts: BTreeMap<View, Vec<View>> = BTreeMap::new();
        let mut news = BTreeSet::new();
        for statement in replicas.iter().flat_map(|r| &r.said) {
            match *statement {
                Statement::Proposal(block, high) => {
                    news.insert(News::Proposal(block, high));
                }
                Statement::Vote(view, block) => *votes.entry((view, block)).or_default() += 1,
                Statement::CommitVote(view, block) => {
                    *commits.entry((view, block)).or_default() += 1;
                }
                Statement::Timeout(view, high) => timeouts.entry(view).or_default().push(high),
            }
        }
        let mut qcs: BTreeSet<_> =
            votes.into_iter().filter(|(_, n)| *n >= self.needed()).map(|(qc, _)| qc).collect();
        news.extend(qcs.iter().map(|(view, block)| News::Qc(*view, *block)));
        let commits = commits.into_iter().filter(|(_, n)| *n >= self.needed());
        news.extend(commits.map(|((view, block), _)| News::CommitCertificate(view, block)));
        qcs.insert((View(0), self.genesis));
        let tcs = timeouts
            .into_iter()
            .flat_map(|(view, highs)| self.reports(view, highs, &qcs))
            .collect::<BTreeSet<_>>();
        news.extend(tcs.iter().map(|(view, high)| News::Tc(*view, *high)));
        Existing { qcs, tcs, news }
    }

    /// The highest views that certificates over `view` can report: any large enough choice of honest
    /// timeouts, and a Byzantine one that reports nothing or any certificate there is.
    fn reports(
        &self,
        view: View,
        mut highs: Vec<View>,
        qcs: &BTreeSet<(View, BlockId)>,
    ) -> Vec<(View, View)> {
        if highs.len() < self.needed() {
            return vec![];
        }
        highs.sort_unstable();
        let least = highs[self.needed() - 1];
        let honest = highs.into_iter().filter(|high| *high >= least);
        let byzantine = qcs.iter().map(|(v, _)| *v).filter(|v| *v >= least && *v < view);
        let byzantine = byzantine.filter(|_| !self.byzantine.is_empty());
        honest.chain(byzantine).map(|high| (view, high)).collect()
    }

    /// Two blocks of each Byzantine leader on every parent that a check lets pass.
    fn byzantine_proposals(&self, existing: &Existing) -> Vec<News> {
        let mut news = Vec::new();
        for view in (1..=self.views).map(View) {
            let leader = self.set.leader(view);
            if !self.byzantine.contains(&leader) {
                continue;
            }
            for (qc_view, parent) in existing.qcs.iter().filter(|(v, _)| *v < view) {
                let before = View(view.0 - 1);
                let tc = if *qc_view == before {
                    None
                } else {
                    let fits = |(v, high): &&(View, View)| *v == before && high <= qc_view;
                    let Some((_, high)) = existing.tcs.iter().find(fits) else { continue };
                    Some(*high)
                };
                for timestamp in 0..2 {
                    news.push(self.propose(leader, view, (*qc_view, *parent), tc, timestamp));
                }
            }
        }
        news
    }

    fn propose(
        &self,
        proposer: ValidatorIndex,
        view: View,
        (qc_view, parent): (View, BlockId),
        tc: Option<View>,
        timestamp: u64,
    ) -> News {
        let table = self.table();
        let before = table.proposals.values().find(|p| block_id(&p.block) == parent);
        let (height, earliest) =
            before.map_or((Height(0), Millis(0)), |p| (p.block.height, p.block.timestamp_unix_ms));
        drop(table);
        let Content { batches, executed, .. } = content(0);
        let block = Block {
            network: Network::Devnet,
            epoch: Epoch(0),
            height: height.next(),
            view,
            parent,
            proposer,
            timestamp_unix_ms: earliest.plus(Millis(timestamp)),
            executed,
            batches,
            next_validators: None,
        };
        let id = block_id(&block);
        let news = News::Proposal(id, tc);
        if !self.table().proposals.contains_key(&(id, tc)) {
            let justify = self.qc(qc_view, parent);
            let timeout = tc.map(|high| self.tc(View(view.0 - 1), high));
            let unsigned = Unsigned::Proposal { block, justify, timeout };
            let signature = self.sign(proposer.0, &unsigned);
            let Message::Proposal(proposal) = unsigned.complete(signature) else {
                unreachable!("a proposal completes to a proposal")
            };
            self.table().proposals.insert((id, tc), proposal);
        }
        news
    }

    fn replicas(&self, state: &[u32]) -> Vec<Arc<ReplicaState>> {
        state.iter().map(|number| self.state(*number)).collect()
    }
}

/// What one replica may hear and becomes by it.
type Followers = Arc<Vec<(News, u32)>>;

/// Who hears what, and becomes what by it.
type Step = (usize, News, u32);

impl World {
    /// The number of the list of all that may be heard in a state.
    fn news(&self, state: &[u32]) -> u32 {
        let table = self.table();
        let said: Vec<u32> = state.iter().map(|number| table.said_of[*number as usize]).collect();
        if let Some(number) = table.news.get(&said) {
            return *number;
        }
        drop(table);
        let existing = self.existing(&self.replicas(state));
        let mut list: Vec<News> = existing.news.iter().copied().collect();
        list.extend(self.byzantine_proposals(&existing));
        let mut table = self.table();
        let known = table.news_lists.iter().position(|known| **known == list);
        let number = known.unwrap_or_else(|| {
            table.news_lists.push(Arc::new(list));
            table.news_lists.len() - 1
        });
        let number = u32::try_from(number).expect("fewer than states");
        table.news.insert(said, number);
        number
    }

    /// What one replica may become, without what changes nothing.
    fn followers(&self, replica: u32, me: ValidatorIndex, news: u32) -> Followers {
        let table = self.table();
        if let Some(known) = table.followers.get(&(replica, news)) {
            return known.clone();
        }
        let list = table.news_lists[news as usize].clone();
        drop(table);
        let state = self.state(replica);
        let view = state.machine.view.0;
        // Giving up the last view would only keep a replica from commit-voting, as does not hearing.
        let timer = (view < self.views).then_some(News::Timer);
        let may_restart = state.may_restart && view <= self.views;
        let restart = may_restart.then_some(News::Restart);
        let heard = list.iter().copied().chain(timer).chain(restart);
        let followers = heard.map(|news| (news, self.hear(replica, me, news)));
        let mut followers: Vec<_> = followers.filter(|(_, next)| *next != replica).collect();
        followers.sort_by_key(|(_, next)| *next);
        followers.dedup_by_key(|(_, next)| *next);
        let followers = Arc::new(followers);
        self.table().followers.insert((replica, news), followers.clone());
        followers
    }
}

impl Model for World {
    type State = Vec<u32>;
    type Action = Step;

    fn init_states(&self) -> Vec<Vec<u32>> {
        vec![self.honest.iter().map(|me| self.initial(*me)).collect()]
    }

    fn actions(&self, state: &Vec<u32>, actions: &mut Vec<Step>) {
        let news = self.news(state);
        for (i, replica) in state.iter().enumerate() {
            let followers = self.followers(*replica, self.honest[i], news);
            actions.extend(followers.iter().map(|(news, next)| (i, *news, *next)));
        }
    }

    fn next_state(&self, last: &Vec<u32>, (i, _, heard): Step) -> Option<Vec<u32>> {
        let mut next = last.clone();
        next[i] = heard;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |world: &World, state: &Vec<u32>| {
                let replicas = world.replicas(state);
                let at = |height: Height| {
                    let blocks = replicas.iter().flat_map(|r| &r.committed);
                    let ids = blocks.filter(|b| b.height == height).map(block_id);
                    ids.collect::<BTreeSet<_>>().len()
                };
                (1..=world.views).all(|height| at(Height(height)) <= 1)
                    && replicas.iter().all(|r| !r.contradicted)
            }),
            Property::always(
                "one vote a view and phase, no commit vote after giving up",
                |world: &World, state: &Vec<u32>| {
                    world.replicas(state).iter().all(|r| keeps_its_word(&r.said))
                },
            ),
            Property::sometimes(
                "a block is final on everybody",
                |world: &World, state: &Vec<u32>| {
                    world.replicas(state).iter().all(|r| !r.committed.is_empty())
                },
            ),
            Property::sometimes("two blocks are final", |world: &World, state: &Vec<u32>| {
                world.replicas(state).iter().any(|r| r.committed.len() >= 2)
            }),
            Property::sometimes(
                "a block is final after a view was given up",
                |world: &World, state: &Vec<u32>| {
                    world.replicas(state).iter().any(|r| {
                        let gave_up = r.said.iter().any(|s| matches!(s, Statement::Timeout(..)));
                        gave_up && r.committed.iter().any(|b| b.view > View(1))
                    })
                },
            ),
        ]
    }
}

fn keeps_its_word(said: &BTreeSet<Statement>) -> bool {
    let mut seen = BTreeSet::new();
    said.iter().all(|statement| match *statement {
        Statement::Proposal(..) => true,
        Statement::Vote(view, _) => seen.insert((view, 0)),
        Statement::CommitVote(view, _) => {
            let gave_up = |s: &Statement| matches!(s, Statement::Timeout(v, _) if *v == view);
            seen.insert((view, 1)) && !said.iter().any(gave_up)
        }
        // After a restart it may be said again, with a higher certificate.
        Statement::Timeout(..) => true,
    })
}

fn explore(name: &str, world: World) -> impl Checker<World> {
    let started = Instant::now();
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} steps, depth {}, {} states of single replicas, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        checker.model().table().states.len(),
        started.elapsed().as_secs_f64(),
    );
    checker
}

#[test]
fn no_order_of_events_breaks_agreement_with_one_byzantine_validator() {
    // It leads the first view, the second, none.
    for byzantine in 1..=3 {
        let name = format!("validator {byzantine} of 4 Byzantine, 2 views");
        explore(&name, World::new(&[byzantine], 2)).assert_properties();
    }
}

/// `WIDE=1` lets every replica restart, not only the first: 17 million states.
#[test]
fn no_order_of_events_and_restarts_breaks_it_either() {
    let mut world = World::new(&[1], 2);
    let restarting = if std::env::var_os("WIDE").is_some() { world.honest.len() } else { 1 };
    world.restarting = world.honest[..restarting].to_vec();
    let name = format!("validator 1 of 4 Byzantine, 2 views, {restarting} restarting once");
    explore(&name, world).assert_properties();
}

/// The checker can fail: two of four break agreement.
#[test]
fn two_byzantine_validators_of_four_break_agreement() {
    let checker = explore("validators 0 and 1 Byzantine, 1 view", World::new(&[0, 1], 1));
    let path = checker.discovery("agreement").expect("a way to break agreement");
    println!("{}", path_text(&path.into_actions()));
}

fn path_text(actions: &[Step]) -> String {
    actions.iter().map(|(i, news, _)| format!("  replica {i}: {news:?}\n")).collect()
}
