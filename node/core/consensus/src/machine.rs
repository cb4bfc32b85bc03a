//! The state machine of one replica.

use crate::{
    Content, Effect, Event, Evidence, Message, Pacemaker, SafetyRecord, Timing, Unsigned,
    chain::{Branch, Chain, Tip},
    collect::{CommitCollector, TimeoutCollector, VIEWS_AHEAD, VoteCollector},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec,
    vec::Vec,
};
use qbind_crypto::{Verified, block_id};
use qbind_types::{
    Block, BlockId, CommitCertificate, CommittedBlock, Epoch, EpochStart, Height, Millis, Network,
    Proposal, Qc, Signature, Tc, Timeout, ValidatorIndex, ValidatorSet, View,
};

/// Most blocks asked for by id at once.
const MAX_NEEDED: usize = 64;

/// What does not change while a replica runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which chain.
    pub network: Network,
    /// Who decides; the epoch is theirs.
    pub set: Arc<ValidatorSet>,
    /// What the epoch starts from.
    pub start: EpochStart,
    /// Which of them this node is; `None` for a node that only follows.
    pub me: Option<ValidatorIndex>,
    /// Pacemaker.
    pub timing: Timing,
}

/// What a replica starts from.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The safety record, or [`SafetyRecord::start`].
    pub safety: SafetyRecord,
    /// The last committed block, if any.
    pub committed: Option<Block>,
    /// Uncommitted blocks that were stored.
    pub pending: Vec<Block>,
}

/// One replica's consensus.
#[derive(Debug, Clone)]
pub struct Consensus {
    pub(crate) config: Config,
    pub(crate) safety: SafetyRecord,
    pub(crate) view: View,
    pub(crate) chain: Chain,
    pub(crate) pacemaker: Pacemaker,
    pub(crate) votes: VoteCollector,
    pub(crate) commits: CommitCollector,
    pub(crate) timeouts: TimeoutCollector,
    /// First proposal of each view from the current one on: at most one per view.
    pub(crate) proposals: BTreeMap<View, Verified<Proposal>>,
    pub(crate) entry_tc: Option<Tc>,
    pub(crate) own_timeout: Option<Timeout>,
    pub(crate) checking: Option<BlockId>,
    pub(crate) led: Option<(View, BlockId)>,
    needed: BTreeSet<BlockId>,
    waiting_commit: Option<CommitCertificate>,
    pub(crate) last_commit: Option<CommitCertificate>,
    pub(crate) helped: BTreeMap<ValidatorIndex, View>,
    pub(crate) highest_seen: View,
}

impl Consensus {
    /// Starts or resumes; the effects must be carried out first.
    pub fn new(config: Config, restored: Restored, now: Millis) -> (Self, Vec<Effect>) {
        let Restored { mut safety, committed, pending } = restored;
        let EpochStart { height, view, block: id, .. } = config.start;
        let tip = committed.as_ref().map_or(Tip { id, height, view }, |b| Tip {
            id: block_id(b),
            height: b.height,
            view: b.view,
        });
        let mut chain = Chain::new(tip, committed);
        for block in pending {
            chain.insert(block_id(&block), block);
        }
        let entry_tc = safety.entered_by.clone();
        let after_tc = entry_tc.as_ref().map_or(View(1), |tc| tc.view.next());
        let view = safety.view.max(safety.high_qc.view.next()).max(after_tc).max(tip.view.next());
        safety.view = view;
        let mut this = Self {
            pacemaker: Pacemaker::new(config.timing, now),
            config,
            safety,
            view,
            chain,
            votes: VoteCollector::default(),
            commits: CommitCollector::default(),
            timeouts: TimeoutCollector::default(),
            proposals: BTreeMap::new(),
            entry_tc,
            own_timeout: None,
            checking: None,
            led: None,
            needed: BTreeSet::new(),
            waiting_commit: None,
            last_commit: None,
            helped: BTreeMap::new(),
            highest_seen: view,
        };
        let mut out = vec![Effect::Entered { view, by_timeout: false }];
        this.say_again(&mut out);
        this.try_lead(&mut out);
        (this, out)
    }

    /// What was recorded before a crash may never have been sent. The same statement again excludes
    /// nothing, and without it the others wait for a timer.
    fn say_again(&self, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        let (epoch, view) = (self.epoch(), self.view);
        if self.safety.timed_out >= Some(view) {
            return;
        }
        if let Some((voted, block)) = self.safety.commit_voted.filter(|(v, _)| v.next() == view) {
            let unsigned = Unsigned::CommitVote { epoch, view: voted, block, validator: me };
            out.push(Effect::Sign(Box::new(unsigned)));
        }
        if let Some((_, id)) = self.safety.proposed.filter(|(v, _)| *v == view)
            && let Some(block) = self.chain.get(&id).cloned()
            && let Some((justify, timeout)) = self.justification()
            && justify.block == block.parent
        {
            out.push(Effect::Sign(Box::new(Unsigned::Proposal { block, justify, timeout })));
        }
        if let Some((_, block)) = self.safety.voted.filter(|(v, _)| *v == view) {
            let unsigned = Unsigned::Vote { epoch, view, block, validator: me };
            out.push(Effect::Sign(Box::new(unsigned)));
        }
    }

    /// Applies one event. Total: never blocks, fails, logs, or reads a clock.
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        if let Event::Signed(message) = &event {
            // Also of an epoch that has ended here meanwhile: others may still need it.
            out.push(Effect::Broadcast(Box::new(message.clone())));
        }
        if self.has_ended() || !self.concerns(&event) {
            return out;
        }
        match event {
            Event::Tick => self.on_tick(now, &mut out),
            Event::Proposal(p) => self.on_proposal(now, p, &mut out),
            Event::Vote(v) => self.on_vote(now, v.get(), &mut out),
            Event::CommitVote(v) => self.on_commit_vote(now, v.get(), &mut out),
            Event::Timeout(t) => self.on_timeout(now, t.get(), &mut out),
            Event::Qc(qc) => self.on_qc(now, qc.get(), &mut out),
            Event::Tc(tc) => self.on_tc(now, tc.get(), &mut out),
            Event::CommitCertificate(c) => self.on_commit_certificate(now, c.get(), &mut out),
            Event::Signed(message) => self.on_signed(now, message, &mut out),
            Event::Propose { view, parent, content } => {
                self.on_propose(view, parent, content, &mut out);
            }
            Event::Checked(block) => self.on_checked(block, &mut out),
            Event::Block(block) => self.on_block(now, *block, &mut out),
            Event::Committed(c) => self.on_committed(now, c.into_inner(), &mut out),
        }
        out
    }

    /// Whether an event is of this epoch, and claims nothing of what the epoch starts from that this
    /// replica knows to be false: only that block is certified without votes.
    fn concerns(&self, event: &Event) -> bool {
        let Some((epoch, qc)) = event.origin() else { return true };
        let is_start = |qc: &Qc| *qc == Qc::start(&self.config.start);
        epoch == self.epoch() && qc.is_none_or(|qc| !qc.votes.is_empty() || is_start(qc))
    }

    /// Whether the last block of the epoch is final. Nothing happens here any more.
    pub fn has_ended(&self) -> bool {
        self.end().is_some()
    }

    /// What the next epoch starts from, once that is final.
    pub fn end(&self) -> Option<EpochStart> {
        let Tip { id, height, view } = self.chain.tip();
        let last = self.chain.get(&id).filter(|b| b.ends_epoch() && b.epoch == self.epoch())?;
        Some(EpochStart { epoch: last.next_epoch(), height, view, block: id })
    }

    /// Whether a child of `parent` would come after the last block of the epoch.
    pub fn is_closing(&self, parent: &BlockId) -> bool {
        self.chain.is_closing(parent)
    }

    /// When `Event::Tick` is due; never, once the epoch has ended.
    pub fn deadline(&self) -> Millis {
        if self.has_ended() { Millis(u64::MAX) } else { self.pacemaker.deadline() }
    }

    /// The view this replica is in.
    pub fn view(&self) -> View {
        self.view
    }

    /// Highest view any certificate proved to have started.
    pub fn highest_seen_view(&self) -> View {
        self.highest_seen.max(self.view)
    }

    /// Height and view of the last final block.
    pub fn committed(&self) -> (Height, View) {
        (self.chain.tip().height, self.chain.tip().view)
    }

    /// Id of the last final block.
    pub fn committed_id(&self) -> BlockId {
        self.chain.tip().id
    }

    /// The uncommitted blocks from above the last final one up to `id`, if all are known.
    pub fn branch(&self, id: &BlockId) -> Option<Vec<Block>> {
        match self.chain.branch(id) {
            Branch::Complete(blocks) => Some(blocks),
            Branch::Missing(_) | Branch::Conflicting => None,
        }
    }

    /// The first proposal of a view that is not over.
    pub fn proposal(&self, view: View) -> Option<&Proposal> {
        self.proposals.get(&view).map(Verified::get)
    }

    /// A known uncommitted block, or one of the last final ones.
    pub fn block(&self, id: &BlockId) -> Option<&Block> {
        self.chain.find(id)
    }

    /// Entries in all collections, for bounds on memory.
    pub fn entries(&self) -> usize {
        self.votes.votes.entries()
            + self.commits.votes.entries()
            + self.proposals.len()
            + self.chain.len()
            + self.needed.len()
            + self.helped.len()
    }

    fn epoch(&self) -> Epoch {
        self.config.set.epoch()
    }

    fn on_tick(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if now >= self.pacemaker.deadline() {
            self.give_up(out);
            self.pacemaker.resend(now);
            self.ask_again(now, out);
        }
    }

    fn give_up(&mut self, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        if let Some(own) = self.own_timeout.clone().filter(|t| t.view == self.view) {
            out.push(Effect::Broadcast(Box::new(Message::Timeout(own))));
            if let Some(tc) = self.entry_tc.clone().filter(|tc| tc.view.next() == self.view) {
                out.push(Effect::Broadcast(Box::new(Message::Tc(tc))));
            }
            return;
        }
        if self.safety.timed_out != Some(self.view) {
            out.push(Effect::GaveUp { view: self.view });
        }
        self.safety.timed_out = Some(self.view);
        let (epoch, view, high_qc) = (self.epoch(), self.view, self.safety.high_qc.clone());
        self.persist(out);
        out.push(Effect::Sign(Box::new(Unsigned::Timeout { epoch, view, high_qc, validator: me })));
    }

    fn persist(&mut self, out: &mut Vec<Effect>) {
        self.safety.view = self.view;
        self.safety.entered_by.clone_from(&self.entry_tc);
        out.push(Effect::Persist(Box::new(self.safety.clone())));
    }

    fn on_signed(&mut self, now: Millis, message: Message, out: &mut Vec<Effect>) {
        match message {
            Message::Proposal(p) => {
                // Our own proposal needs no check of its signature, only the ordinary path.
                self.proposals.insert(p.block.view, Verified::own_proposal(p));
                self.try_vote(out);
            }
            Message::Vote(v) => self.on_vote(now, &v, out),
            Message::CommitVote(v) => self.on_commit_vote(now, &v, out),
            Message::Timeout(t) => {
                self.own_timeout = Some(t.clone());
                self.on_timeout(now, &t, out);
            }
            Message::Qc(_) | Message::Tc(_) | Message::CommitCertificate(_) => {}
        }
    }

    fn keep_block(&mut self, id: BlockId, block: &Block, justify: &Qc, out: &mut Vec<Effect>) {
        if !self.chain.contains(&id) {
            self.chain.insert(id, block.clone());
            let (block, justify) = (Box::new(block.clone()), Box::new(justify.clone()));
            out.push(Effect::StoreBlock { block, justify });
        }
    }

    fn on_proposal(&mut self, now: Millis, proposal: Verified<Proposal>, out: &mut Vec<Effect>) {
        let view = proposal.block.view;
        if view <= self.chain.tip().view {
            return;
        }
        self.on_qc(now, &proposal.justify.clone(), out);
        if let Some(tc) = &proposal.timeout {
            self.on_tc(now, &tc.clone(), out);
        }
        let id = block_id(&proposal.block);
        if let Some(first) = self.proposals.get(&view) {
            if first.block != proposal.block {
                let first = Message::Proposal(first.get().clone());
                let validator = proposal.block.proposer;
                let second = Message::Proposal(proposal.into_inner());
                out.push(Effect::Evidence(Box::new(Evidence { validator, view, first, second })));
                if view == self.view && self.safety.timed_out != Some(view) {
                    // A leader with two blocks splits the votes; waiting for its timer gains nothing.
                    self.give_up(out);
                    self.pacemaker.resend(now);
                }
            }
            return;
        }
        self.keep_block(id, &proposal.block, &proposal.justify, out);
        self.proposals.insert(view, proposal);
        self.retry(now, out);
    }

    /// After a block arrived: what waited for it may go on.
    fn retry(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if let Some(certificate) = self.waiting_commit.take() {
            self.on_commit_certificate(now, &certificate, out);
        }
        self.try_vote(out);
        self.try_lead(out);
    }

    /// What is still missing may have been asked of nodes that are gone since.
    fn ask_again(&mut self, now: Millis, out: &mut Vec<Effect>) {
        if !self.needed.is_empty() {
            self.needed.clear();
            self.retry(now, out);
        }
    }

    /// Asks for a block. Who voted for it or for one that extends it has it; who only commit-voted may
    /// not.
    fn need(
        &mut self,
        id: BlockId,
        signers: &[(ValidatorIndex, Signature)],
        out: &mut Vec<Effect>,
    ) {
        if self.needed.len() < MAX_NEEDED && self.needed.insert(id) {
            let holders = signers.iter().map(|(signer, _)| *signer);
            let holders = holders.filter(|holder| Some(*holder) != self.config.me).collect();
            out.push(Effect::NeedBlock { id, holders });
        }
    }

    fn try_vote(&mut self, out: &mut Vec<Effect>) {
        if self.config.me.is_none() || !self.safety.may_vote(self.view) {
            return;
        }
        let Some(proposal) = self.proposals.get(&self.view) else { return };
        let block = proposal.block.clone();
        let id = block_id(&block);
        if self.checking == Some(id) {
            return;
        }
        if let Branch::Missing(missing) = self.chain.branch(&block.parent) {
            let signers = proposal.justify.votes.clone();
            self.need(missing, &signers, out);
            return;
        }
        if self.is_well_formed(&block) {
            self.checking = Some(id);
            out.push(Effect::Check(Box::new(block)));
        }
    }

    /// The rules that need the parent: position, clock and executed state only move forward, the last
    /// without skipping a checkpoint.
    fn is_well_formed(&self, block: &Block) -> bool {
        let Some((height, view)) = self.chain.position(&block.parent) else { return false };
        let forward = self.chain.get(&block.parent).is_none_or(|parent| {
            let executed = parent.executed.height;
            block.timestamp_unix_ms >= parent.timestamp_unix_ms
                && (executed..=executed.next_checkpoint()).contains(&block.executed.height)
        });
        // After the last block of an epoch come empty ones at most, to make that one final.
        let is_fitting = !self.chain.is_closing(&block.parent)
            || (block.batches.is_empty() && !block.ends_epoch());
        forward
            && is_fitting
            && block.height == height.next()
            && block.view > view
            && block.executed.height <= height
    }

    fn on_checked(&mut self, id: BlockId, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        let is_current = self.proposals.get(&self.view).is_some_and(|p| block_id(&p.block) == id);
        if self.checking != Some(id) || !is_current || !self.safety.may_vote(self.view) {
            return;
        }
        self.checking = None;
        self.safety.voted = Some((self.view, id));
        self.persist(out);
        out.push(Effect::Sign(Box::new(Unsigned::Vote {
            epoch: self.epoch(),
            view: self.view,
            block: id,
            validator: me,
        })));
    }

    /// Votes of the last committed view still count: its QC may be what lets this replica lead next.
    fn is_of_interest(&self, view: View) -> bool {
        view >= self.chain.tip().view && view.0 <= self.view.0.saturating_add(VIEWS_AHEAD)
    }

    fn on_vote(&mut self, now: Millis, vote: &qbind_types::Vote, out: &mut Vec<Effect>) {
        if !self.is_of_interest(vote.view) {
            return;
        }
        let (qc, evidence) = self.votes.insert(&self.config.set, vote);
        out.extend(evidence.map(|e| Effect::Evidence(Box::new(e))));
        if let Some(qc) = qc {
            self.on_qc(now, &qc, out);
        }
    }

    fn on_commit_vote(
        &mut self,
        now: Millis,
        vote: &qbind_types::CommitVote,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_of_interest(vote.view) {
            return;
        }
        let (certificate, evidence) = self.commits.insert(&self.config.set, vote);
        out.extend(evidence.map(|e| Effect::Evidence(Box::new(e))));
        if let Some(certificate) = certificate {
            self.on_commit_certificate(now, &certificate, out);
        }
    }

    fn on_qc(&mut self, now: Millis, qc: &Qc, out: &mut Vec<Effect>) {
        if qc.view > self.safety.high_qc.view {
            self.safety.high_qc = qc.clone();
            out.push(Effect::Certified { view: qc.view, block: qc.block });
        } else {
            return;
        }
        if qc.view >= self.view {
            if let Some(me) = self.config.me
                && self.safety.may_commit_vote(qc.view)
            {
                self.safety.commit_voted = Some((qc.view, qc.block));
                self.persist(out);
                out.push(Effect::Sign(Box::new(Unsigned::CommitVote {
                    epoch: self.epoch(),
                    view: qc.view,
                    block: qc.block,
                    validator: me,
                })));
            }
            self.pacemaker.progress(now);
            self.enter(qc.view.next(), None, out);
        } else {
            self.try_lead(out);
        }
    }

    fn on_tc(&mut self, now: Millis, tc: &Tc, out: &mut Vec<Effect>) {
        if tc.view >= self.view {
            self.pacemaker.failure(now);
            self.enter(tc.view.next(), Some(tc.clone()), out);
        }
    }

    fn enter(&mut self, view: View, tc: Option<Tc>, out: &mut Vec<Effect>) {
        self.view = view;
        self.highest_seen = self.highest_seen.max(view);
        let by_timeout = tc.is_some();
        self.entry_tc = tc;
        self.own_timeout = None;
        self.checking = None;
        self.proposals = self.proposals.split_off(&view);
        out.push(Effect::Entered { view, by_timeout });
        self.try_vote(out);
        self.try_lead(out);
    }

    /// The certificates that allow a proposal in the current view, if this replica has them.
    fn justification(&self) -> Option<(Qc, Option<Tc>)> {
        let high = &self.safety.high_qc;
        if high.view.next() == self.view {
            return Some((high.clone(), None));
        }
        let tc = self.entry_tc.clone().filter(|tc| tc.view.next() == self.view)?;
        (high.view >= tc.high_qc_view()).then(|| (high.clone(), Some(tc)))
    }

    fn try_lead(&mut self, out: &mut Vec<Effect>) {
        let leads = self.config.me == Some(self.config.set.leader(self.view));
        if !leads || !self.safety.may_propose(self.view) {
            return;
        }
        let Some((justify, _)) = self.justification() else { return };
        if self.led == Some((self.view, justify.block)) {
            return;
        }
        if let Branch::Missing(missing) = self.chain.branch(&justify.block) {
            self.need(missing, &justify.votes, out);
            return;
        }
        if let Some((parent_height, _)) = self.chain.position(&justify.block) {
            self.led = Some((self.view, justify.block));
            let (view, parent) = (self.view, justify.block);
            out.push(Effect::Lead { view, parent, parent_height });
        }
    }

    fn on_propose(&mut self, view: View, parent: BlockId, content: Content, out: &mut Vec<Effect>) {
        let Some(me) = self.config.me else { return };
        if view != self.view || !self.safety.may_propose(view) {
            return;
        }
        let Some((justify, timeout)) = self.justification() else { return };
        if justify.block != parent {
            // A better certificate arrived since `Lead`; `try_lead` has asked again.
            return;
        }
        let Some((height, _)) = self.chain.position(&parent) else { return };
        let earliest = self.chain.get(&parent).map_or(Millis(0), |p| p.timestamp_unix_ms);
        let is_closing = self.chain.is_closing(&parent);
        let block = Block {
            network: self.config.network,
            epoch: self.epoch(),
            height: height.next(),
            view,
            parent,
            proposer: me,
            timestamp_unix_ms: content.timestamp_unix_ms.max(earliest),
            executed: content.executed,
            batches: if is_closing { Vec::new() } else { content.batches },
            next_validators: content.next_validators.filter(|_| !is_closing),
        };
        let id = block_id(&block);
        self.keep_block(id, &block, &justify, out);
        self.safety.proposed = Some((view, id));
        self.persist(out);
        out.push(Effect::Sign(Box::new(Unsigned::Proposal { block, justify, timeout })));
    }

    fn on_timeout(&mut self, now: Millis, timeout: &Timeout, out: &mut Vec<Effect>) {
        self.on_qc(now, &timeout.high_qc, out);
        if timeout.view < self.view {
            self.help(timeout.validator, out);
            return;
        }
        let (power, tc) = self.timeouts.insert(&self.config.set, timeout);
        if let Some(tc) = tc {
            self.on_tc(now, &tc, out);
        } else if power >= self.config.set.honest_power().0
            && timeout.view == self.view
            && self.safety.timed_out != Some(self.view)
        {
            // Someone honest gave up: waiting longer would only delay the certificate.
            self.give_up(out);
        }
    }

    /// Sends a straggler what lets it catch up, once per validator and view.
    fn help(&mut self, to: ValidatorIndex, out: &mut Vec<Effect>) {
        if self.config.me == Some(to) || self.helped.get(&to) == Some(&self.view) {
            return;
        }
        self.helped.insert(to, self.view);
        let high = self.safety.high_qc.clone();
        out.push(Effect::Send { to, message: Box::new(Message::Qc(high)) });
        if let Some(tc) = self.entry_tc.clone() {
            out.push(Effect::Send { to, message: Box::new(Message::Tc(tc)) });
        }
        if let Some(certificate) = self.last_commit.clone() {
            let message = Box::new(Message::CommitCertificate(certificate));
            out.push(Effect::Send { to, message });
        }
    }

    fn on_commit_certificate(
        &mut self,
        now: Millis,
        certificate: &CommitCertificate,
        out: &mut Vec<Effect>,
    ) {
        self.highest_seen = self.highest_seen.max(certificate.view.next());
        if certificate.view <= self.chain.tip().view {
            if certificate.view == self.chain.tip().view && certificate.block != self.chain.tip().id
            {
                out.push(Effect::Conflict {
                    committed: self.chain.tip().id,
                    other: certificate.block,
                });
            }
            return;
        }
        match self.chain.branch(&certificate.block) {
            Branch::Complete(blocks) => {
                let committed = self.chain.commit(blocks, certificate);
                self.last_commit = Some(certificate.clone());
                self.forget();
                out.push(Effect::Commit(committed));
                if self.has_ended() {
                    return;
                }
                self.try_vote(out);
                self.try_lead(out);
            }
            Branch::Missing(missing) => {
                let newer = self.waiting_commit.as_ref().is_none_or(|w| w.view < certificate.view);
                if newer {
                    self.waiting_commit = Some(certificate.clone());
                }
                self.need(missing, &certificate.votes, out);
            }
            Branch::Conflicting => {
                let (committed, other) = (self.chain.tip().id, certificate.block);
                out.push(Effect::Conflict { committed, other });
            }
        }
        if certificate.view >= self.view {
            self.pacemaker.progress(now);
            self.enter(certificate.view.next(), None, out);
        }
    }

    fn forget(&mut self) {
        let view = self.chain.tip().view;
        self.votes.votes.forget_below(view);
        self.commits.votes.forget_below(view);
        // What is still missing is asked for again by whoever waits for it.
        self.needed.clear();
        if self.waiting_commit.as_ref().is_some_and(|w| w.view <= view) {
            self.waiting_commit = None;
        }
    }

    fn on_block(&mut self, now: Millis, block: Block, out: &mut Vec<Effect>) {
        let id = block_id(&block);
        if self.needed.remove(&id) && !self.chain.contains(&id) {
            self.chain.insert(id, block);
            self.retry(now, out);
        }
    }

    fn on_committed(&mut self, now: Millis, committed: CommittedBlock, out: &mut Vec<Effect>) {
        let id = block_id(&committed.block);
        if !self.chain.extend(id, &committed.block) {
            return;
        }
        let certificate = committed.proof.certificate.clone();
        self.highest_seen = self.highest_seen.max(certificate.view.next());
        if self.last_commit.as_ref().is_none_or(|c| c.view < certificate.view) {
            self.last_commit = Some(certificate.clone());
        }
        self.forget();
        out.push(Effect::Commit(vec![committed]));
        if self.has_ended() {
            return;
        }
        if certificate.view >= self.view {
            self.pacemaker.progress(now);
            self.enter(certificate.view.next(), None, out);
        }
        self.retry(now, out);
    }
}
