//! Several machines on a network that reorders, repeats and loses messages, by seed.

mod model;

use crate::*;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec,
    vec::Vec,
};
use qbind_crypto::{SecretKey, Verified, Verifier, block_id, preimage};
use qbind_types::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Node {
    machine: Consensus,
    safety: SafetyRecord,
    pending: Vec<Block>,
    committed: Vec<Block>,
}

struct Net {
    keys: Vec<SecretKey>,
    config: Config,
    verifier: Verifier,
    nodes: Vec<Node>,
    queue: Vec<(usize, Message)>,
    now: Millis,
    rng: ChaCha8Rng,
    loss_percent: u32,
    genesis: BlockId,
    down: Vec<usize>,
}

impl Net {
    fn new(n: usize, seed: u64, loss_percent: u32) -> Self {
        let keys: Vec<_> = (0..n).map(|i| SecretKey::from_seed(&[i as u8 + 1; 32])).collect();
        let members = keys
            .iter()
            .enumerate()
            .map(|(i, k)| ValidatorInfo {
                id: i as u64,
                address: Default::default(),
                previous_key: None,
                public_key: k.public_key(),
                power: VotingPower(10),
            })
            .collect();
        let set = Arc::new(ValidatorSet::new(Epoch(0), members).unwrap());
        let verifier = Verifier::new(Network::Devnet, set.clone());
        let timing = Timing { base: Millis(100), cap: Millis(1_000), resend: Millis(100) };
        let genesis = BlockId([9; 32]);
        let start = EpochStart::genesis(genesis);
        let config = Config { network: Network::Devnet, set, start, me: None, timing };
        let mut net = Self {
            keys,
            config,
            verifier,
            nodes: Vec::new(),
            queue: Vec::new(),
            now: Millis(0),
            rng: ChaCha8Rng::seed_from_u64(seed),
            loss_percent,
            genesis,
            down: Vec::new(),
        };
        let mut first = Vec::new();
        for i in 0..n {
            let (machine, effects) =
                net.start(i, SafetyRecord::start(&EpochStart::genesis(genesis)), None, vec![]);
            net.nodes.push(Node {
                machine,
                safety: SafetyRecord::start(&EpochStart::genesis(genesis)),
                pending: vec![],
                committed: vec![],
            });
            first.push(effects);
        }
        for (i, effects) in first.into_iter().enumerate() {
            net.perform(i, effects);
        }
        net
    }

    fn start(
        &self,
        i: usize,
        safety: SafetyRecord,
        committed: Option<Block>,
        pending: Vec<Block>,
    ) -> (Consensus, Vec<Effect>) {
        let config = Config { me: Some(ValidatorIndex(i as u16)), ..self.config.clone() };
        let restored = Restored { safety, committed, pending };
        Consensus::new(config, restored, self.now)
    }

    fn restart(&mut self, i: usize) {
        let node = &self.nodes[i];
        let (safety, pending) = (node.safety.clone(), node.pending.clone());
        let (machine, effects) = self.start(i, safety, node.committed.last().cloned(), pending);
        self.nodes[i].machine = machine;
        self.perform(i, effects);
    }

    fn perform(&mut self, i: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.nodes[i].safety = *record,
                Effect::StoreBlock { block, .. } => self.nodes[i].pending.push(*block),
                Effect::Sign(unsigned) => {
                    let signature = self.keys[i].sign(&unsigned.preimage(Network::Devnet));
                    self.feed(i, Event::Signed(unsigned.complete(signature)));
                }
                Effect::Broadcast(message) => {
                    for to in (0..self.nodes.len()).filter(|to| *to != i) {
                        self.queue.push((to, (*message).clone()));
                    }
                }
                Effect::Send { to, message } => self.queue.push((usize::from(to.0), *message)),
                Effect::Lead { view, parent, .. } => {
                    let content = Content {
                        batches: vec![],
                        executed: ExecutedState { height: Height(0), root: StateRoot::default() },
                        timestamp_unix_ms: self.now,
                        next_validators: None,
                    };
                    self.feed(i, Event::Propose { view, parent, content });
                }
                Effect::Check(block) => self.feed(i, Event::Checked(block_id(&block))),
                Effect::NeedBlock { id, .. } => {
                    let found = self
                        .nodes
                        .iter()
                        .find_map(|n| n.pending.iter().find(|b| block_id(b) == id).cloned());
                    if let Some(block) = found {
                        self.feed(i, Event::Block(block.into()));
                    }
                }
                Effect::Commit(blocks) => {
                    for c in blocks {
                        self.verifier.verify_committed_block(c.clone()).unwrap();
                        self.nodes[i].committed.push(c.block);
                    }
                }
                Effect::Conflict { .. } => panic!("conflicting commits"),
                Effect::Entered { .. }
                | Effect::Certified { .. }
                | Effect::GaveUp { .. }
                | Effect::Evidence(_) => {}
            }
        }
    }

    fn feed(&mut self, i: usize, event: Event) {
        let effects = self.nodes[i].machine.step(self.now, event);
        self.perform(i, effects);
    }

    fn verified(&self, message: Message) -> Event {
        let v = &self.verifier;
        match message {
            Message::Proposal(m) => Event::Proposal(v.verify_proposal(m).unwrap()),
            Message::Vote(m) => Event::Vote(v.verify_vote(m).unwrap()),
            Message::CommitVote(m) => Event::CommitVote(v.verify_commit_vote(m).unwrap()),
            Message::Timeout(m) => Event::Timeout(v.verify_timeout(m).unwrap()),
            Message::Qc(m) => Event::Qc(v.verify_qc(m).unwrap()),
            Message::Tc(m) => Event::Tc(v.verify_tc(m).unwrap()),
            Message::CommitCertificate(m) => {
                Event::CommitCertificate(v.verify_commit_certificate(m).unwrap())
            }
        }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.queue.is_empty() {
                self.now = Millis(self.now.0 + 50);
                for i in 0..self.nodes.len() {
                    if !self.down.contains(&i) {
                        self.feed(i, Event::Tick);
                    }
                }
                continue;
            }
            let at = self.rng.random_range(0..self.queue.len());
            let (to, message) = self.queue.swap_remove(at);
            if self.down.contains(&to) || self.rng.random_range(0..100) < self.loss_percent {
                continue;
            }
            let event = self.verified(message);
            self.feed(to, event);
        }
    }

    fn heights(&self) -> Vec<usize> {
        self.nodes.iter().map(|n| n.committed.len()).collect()
    }

    fn assert_agreement(&self) {
        let mut at: BTreeMap<Height, BlockId> = BTreeMap::new();
        for node in &self.nodes {
            for (i, block) in node.committed.iter().enumerate() {
                assert_eq!(block.height, Height(i as u64 + 1), "heights have no gaps");
                let id = block_id(block);
                assert_eq!(*at.entry(block.height).or_insert(id), id, "one block per height");
            }
        }
    }
}

#[test]
fn commits_on_a_good_network_without_giving_up_views() {
    let mut net = Net::new(4, 1, 0);
    net.run(2_000);
    net.assert_agreement();
    assert!(net.heights().iter().all(|h| *h >= 20), "{:?}", net.heights());
    assert_eq!(net.now, Millis(0), "progress needs no timer");
}

#[test]
fn agrees_under_loss_and_reordering() {
    for seed in 0..6 {
        let mut net = Net::new(4, seed, 20);
        net.run(3_000);
        net.assert_agreement();
        net.loss_percent = 0;
        let before = net.heights().into_iter().max().unwrap();
        net.run(3_000);
        net.assert_agreement();
        assert!(net.heights().into_iter().max().unwrap() > before, "seed {seed}: live after loss");
    }
}

#[test]
fn restarts_never_vote_twice_and_the_chain_goes_on() {
    let mut net = Net::new(4, 7, 10);
    for round in 0..20 {
        net.run(150);
        net.restart(round % 4);
        net.assert_agreement();
    }
    net.loss_percent = 0;
    net.run(2_000);
    net.assert_agreement();
    assert!(net.heights().into_iter().max().unwrap() > 10);
}

#[test]
fn one_of_four_down_costs_views_but_not_progress_and_two_down_halt() {
    let mut net = Net::new(4, 3, 0);
    net.down = vec![2];
    net.run(3_000);
    net.assert_agreement();
    assert!(net.heights()[0] >= 10, "{:?}", net.heights());
    net.down = vec![2, 3];
    net.queue.clear();
    net.run(300);
    let halted = net.heights();
    net.run(600);
    assert_eq!(net.heights(), halted, "two of four are no quorum");
    net.down = vec![2];
    net.run(3_000);
    assert!(net.heights()[0] > halted[0], "goes on when one returns");
    net.assert_agreement();
}

#[test]
fn a_second_vote_in_one_view_is_refused_by_the_record() {
    let mut record = SafetyRecord::start(&EpochStart::genesis(BlockId([0; 32])));
    assert!(record.may_vote(View(1)) && record.may_commit_vote(View(1)));
    record.voted = Some((View(1), BlockId([1; 32])));
    assert!(!record.may_vote(View(1)));
    record.timed_out = Some(View(2));
    assert!(!record.may_vote(View(2)) && !record.may_commit_vote(View(2)));
    assert!(record.may_vote(View(3)) && record.may_commit_vote(View(3)));
}

#[test]
fn useless_messages_do_not_grow_memory() {
    let mut net = Net::new(4, 1, 0);
    let sign = |net: &Net, view: u64, block: u8| {
        let (epoch, view, block) = (Epoch(0), View(view), BlockId([block; 32]));
        let message = qbind_crypto::preimage::vote(Network::Devnet, epoch, view, &block);
        let signature = net.keys[1].sign(&message);
        let vote = Vote { epoch, view, block, validator: ValidatorIndex(1), signature };
        net.verifier.verify_vote(vote).unwrap()
    };
    for view in (2..3_000).step_by(7) {
        let vote: Verified<Vote> = sign(&net, view, 1);
        net.nodes[0].machine.step(Millis(0), Event::Vote(vote));
    }
    assert!(net.nodes[0].machine.entries() < 100, "{}", net.nodes[0].machine.entries());
    net.queue.clear();
}

#[test]
fn a_restarted_leader_says_what_it_had_recorded_again() {
    let net = Net::new(4, 3, 0);
    let leader = &net.nodes[1];
    let (view, id) = leader.safety.proposed.expect("validator 1 leads view 1");
    let (_, effects) = net.start(1, leader.safety.clone(), None, leader.pending.clone());
    let signed: Vec<&Unsigned> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Sign(unsigned) => Some(&**unsigned),
            _ => None,
        })
        .collect();
    assert!(matches!(signed[0], Unsigned::Proposal { block, .. } if block_id(block) == id));
    assert!(
        matches!(signed[1], Unsigned::Vote { view: v, block, .. } if (*v, *block) == (view, id))
    );
    let mut gave_up = leader.safety.clone();
    gave_up.timed_out = Some(view);
    let (_, effects) = net.start(1, gave_up, None, leader.pending.clone());
    assert!(!effects.iter().any(|e| matches!(e, Effect::Sign(_))), "{effects:?}");
}

/// The first block of view 1.
fn first_block(net: &Net, timestamp: u64) -> Block {
    Block {
        network: Network::Devnet,
        epoch: Epoch(0),
        height: Height(1),
        view: View(1),
        parent: net.genesis,
        proposer: ValidatorIndex(1),
        timestamp_unix_ms: Millis(timestamp),
        executed: ExecutedState { height: Height(0), root: StateRoot::default() },
        batches: vec![],
        next_validators: None,
    }
}

fn proposed(net: &Net, block: Block, justify: Qc, timeout: Option<Tc>) -> Event {
    let proposer = usize::from(block.proposer.0);
    let unsigned = Unsigned::Proposal { block, justify, timeout };
    let signature = net.keys[proposer].sign(&unsigned.preimage(Network::Devnet));
    let Message::Proposal(proposal) = unsigned.complete(signature) else { unreachable!() };
    Event::Proposal(net.verifier.verify_proposal(proposal).unwrap())
}

fn considers(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Check(_)))
}

#[test]
fn only_what_the_epoch_starts_from_is_certified_without_votes() {
    let mut net = Net::new(4, 4, 0);
    let start = Qc::start(&net.config.start);
    let first = first_block(&net, 7);
    let tc = {
        let view = View(1);
        let sign = |i: usize| {
            let (epoch, validator) = (Epoch(0), ValidatorIndex(i as u16));
            let unsigned = Unsigned::Timeout { epoch, view, high_qc: start.clone(), validator };
            let signature = net.keys[i].sign(&unsigned.preimage(Network::Devnet));
            SignedTimeout { validator, high_qc_view: View(0), signature }
        };
        Tc { epoch: Epoch(0), view, timeouts: [1, 2, 3].map(sign).to_vec() }
    };
    let second = |parent: BlockId, height: u64| Block {
        height: Height(height),
        view: View(2),
        parent,
        proposer: ValidatorIndex(2),
        ..first.clone()
    };
    let id = block_id(&first);
    let events = [
        proposed(&net, first.clone(), start.clone(), None),
        // Nobody voted for the first block: it is no parent, whatever a certificate without votes says.
        proposed(&net, second(id, 2), Qc { block: id, ..start.clone() }, Some(tc.clone())),
        proposed(&net, second(net.genesis, 1), start.clone(), Some(tc)),
    ];
    let machine = &mut net.nodes[0].machine;
    let considered: Vec<bool> =
        events.into_iter().map(|event| considers(&machine.step(Millis(1), event))).collect();
    assert_eq!(considered, [true, false, true]);
    let ahead = Qc { view: View(90), block: id, ..start };
    let effects = machine.step(Millis(2), Event::Qc(net.verifier.verify_qc(ahead).unwrap()));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn an_epoch_ends_with_its_last_block_and_what_comes_after_only_proves_it() {
    let mut net = Net::new(4, 9, 0);
    let start = Qc::start(&net.config.start);
    let last = Block { next_validators: Some(ValidatorsId([5; 32])), ..first_block(&net, 7) };
    let id = block_id(&last);
    let qc = |view: u64, block: BlockId, phase: fn(Network, Epoch, View, &BlockId) -> Vec<u8>| {
        let message = phase(Network::Devnet, Epoch(0), View(view), &block);
        let vote = |i: usize| (ValidatorIndex(i as u16), net.keys[i].sign(&message));
        Qc { epoch: Epoch(0), view: View(view), block, votes: [1, 2, 3].map(vote).to_vec() }
    };
    let closing = |timestamp: u64| Block {
        height: Height(2),
        view: View(2),
        parent: id,
        proposer: ValidatorIndex(2),
        next_validators: None,
        ..first_block(&net, timestamp)
    };
    let certified = qc(1, id, preimage::vote);
    let batch =
        BatchRef { epoch: Epoch(0), creator: ValidatorIndex(1), round: 0, id: BatchId([1; 32]) };
    let full = Block { batches: vec![batch], ..closing(8) };
    let ending = Block { next_validators: Some(ValidatorsId([6; 32])), ..closing(9) };
    let empty = closing(10);
    let (end, second) = (block_id(&empty), block_id(&last));
    let commit = qc(2, end, preimage::commit);
    let commit =
        CommitCertificate { epoch: Epoch(0), view: View(2), block: end, votes: commit.votes };
    let proposals = [
        (proposed(&net, last.clone(), start, None), true),
        (proposed(&net, full, certified.clone(), None), false),
        (proposed(&net, ending, certified.clone(), None), false),
        (proposed(&net, empty.clone(), certified, None), true),
    ];
    let verified = net.verifier.verify_commit_certificate(commit).unwrap();
    for (i, (proposal, expected)) in proposals.into_iter().enumerate() {
        // Each to a replica of its own, which knows the last block.
        let machine = &mut net.nodes[i].machine;
        if i > 0 {
            let start = Qc::start(&net.config.start);
            let unsigned =
                Unsigned::Proposal { block: last.clone(), justify: start, timeout: None };
            let signature = net.keys[1].sign(&unsigned.preimage(Network::Devnet));
            let Message::Proposal(first) = unsigned.complete(signature) else { unreachable!() };
            let first = Event::Proposal(net.verifier.verify_proposal(first).unwrap());
            machine.step(Millis(1), first);
        }
        assert_eq!(considers(&machine.step(Millis(1), proposal)), expected, "proposal {i}");
    }
    let machine = &mut net.nodes[3].machine;
    assert!(!machine.has_ended());
    let effects = machine.step(Millis(2), Event::CommitCertificate(verified));
    let committed: Vec<&CommittedBlock> = effects
        .iter()
        .filter_map(|e| if let Effect::Commit(blocks) = e { Some(blocks) } else { None })
        .flatten()
        .collect();
    assert_eq!(committed.len(), 1, "what comes after the last block is not of the chain");
    assert_eq!((&committed[0].block, &committed[0].proof.descendants), (&last, &vec![empty]));
    assert!(net.verifier.verify_committed_block(committed[0].clone()).is_ok());
    let end = EpochStart { epoch: Epoch(1), height: Height(1), view: View(1), block: second };
    let machine = &mut net.nodes[3].machine;
    assert_eq!(machine.end(), Some(end));
    assert_eq!(machine.deadline(), Millis(u64::MAX));
    assert!(machine.step(Millis(90_000), Event::Tick).is_empty());
}

#[test]
fn a_block_names_a_state_no_older_than_its_parents_and_no_checkpoint_later_than_the_next() {
    let mut net = Net::new(4, 10, 0);
    // The epoch starts from height 20, whose block nobody has.
    let start = EpochStart { height: Height(20), view: View(20), ..net.config.start };
    net.config.start = start;
    let named = |block: &Block, height: u64| Block {
        executed: ExecutedState { height: Height(height), root: StateRoot::default() },
        ..block.clone()
    };
    let (height, view) = (Height(21), View(21));
    let first = named(&Block { height, view, ..first_block(&net, 7) }, 3);
    let id = block_id(&first);
    let message = preimage::vote(Network::Devnet, Epoch(0), view, &id);
    let vote = |i: usize| (ValidatorIndex(i as u16), net.keys[i].sign(&message));
    let qc = Qc { epoch: Epoch(0), view, block: id, votes: [1, 2, 3].map(vote).to_vec() };
    let second = Block {
        height: Height(22),
        view: View(22),
        parent: id,
        proposer: ValidatorIndex(2),
        ..first.clone()
    };
    for (height, expected) in
        [(2, false), (3, true), (9, true), (10, true), (11, false), (20, false)]
    {
        let (mut machine, _) = net.start(0, SafetyRecord::start(&start), None, vec![]);
        machine.step(Millis(1), proposed(&net, first.clone(), Qc::start(&start), None));
        let event = proposed(&net, named(&second, height), qc.clone(), None);
        assert_eq!(considers(&machine.step(Millis(1), event)), expected, "names height {height}");
    }
}

#[test]
fn a_leader_with_two_blocks_is_given_up_at_once() {
    let mut net = Net::new(4, 4, 0);
    let proposal = |net: &Net, timestamp: u64| {
        let justify = Qc::start(&net.config.start);
        proposed(net, first_block(net, timestamp), justify, None)
    };
    let gives_up = |effects: &[Effect]| {
        let gave =
            |e: &Effect| matches!(e, Effect::Sign(u) if matches!(**u, Unsigned::Timeout { .. }));
        effects.iter().filter(|e| gave(e)).count()
    };
    let (first, second) = (proposal(&net, 7), proposal(&net, 8));
    let machine = &mut net.nodes[0].machine;
    assert_eq!(gives_up(&machine.step(Millis(1), first.clone())), 0);
    assert_eq!(gives_up(&machine.step(Millis(1), first)), 0, "the same again is no fault");
    let effects = machine.step(Millis(1), second.clone());
    assert_eq!(gives_up(&effects), 1);
    assert!(effects.iter().any(|e| matches!(e, Effect::Evidence(_))));
    assert_eq!(gives_up(&machine.step(Millis(1), second)), 0, "once a view");
}

#[test]
fn a_block_that_has_just_become_final_is_still_served() {
    let mut net = Net::new(4, 5, 0);
    net.run(2_000);
    let committed = net.nodes[0].committed.clone();
    assert!(committed.len() > 3);
    let machine = &net.nodes[0].machine;
    for block in committed.iter().rev().take(3) {
        assert_eq!(machine.block(&block_id(block)), Some(block));
    }
}
