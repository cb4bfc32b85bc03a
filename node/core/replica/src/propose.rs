//! When to propose what, and when a proposal deserves a vote.

use crate::{CouplingResult, CouplingViolation, Effect, Now, Replica};
use alloc::{boxed::Box, vec::Vec};
use qbind_consensus::Content;
use qbind_crypto::block_id;
use qbind_dag::{CouplingVerdict, Mismatch};
use qbind_types::{Block, BlockId, ExecutedState, Height, Millis, View, limits};

/// This node leads and has not proposed yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lead {
    pub(crate) view: View,
    pub(crate) parent: BlockId,
    pub(crate) parent_height: Height,
    pub(crate) since: Millis,
    /// The wait for transactions is over; only missing execution still holds the proposal back.
    pub(crate) waited: bool,
}

/// How far a leader's clock may be ahead of a voter's: lockups end by block time, and no validator shall
/// free them much earlier.
const MOST_AHEAD: Millis = Millis(300_000);

enum Decision {
    Vote,
    Wait,
    Refuse,
}

impl Replica {
    /// Proposes as soon as there is something to propose, or when waiting was long enough.
    pub(crate) fn propose_ready(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(lead) = &mut self.lead else { return };
        lead.waited |= now.monotonic >= lead.since.plus(self.config.empty_block_interval);
        let lead = *lead;
        let Some(executed) = self.executed_after(&lead) else { return };
        let Some(included) = self.included_at(&lead.parent) else { return };
        let is_closing = self.consensus.is_closing(&lead.parent);
        let batches = self.dag.candidates(
            &included,
            limits::BLOCK_BATCHES,
            self.ledger.params().block_gas_limit,
            &qbind_ledger::gas_bound,
        );
        if batches.is_empty() && !lead.waited && !is_closing {
            return;
        }
        self.lead = None;
        let next_validators = self.next_validators(&lead.parent, executed.height);
        let timestamp_unix_ms = now.unix;
        let content = Content { batches, executed, timestamp_unix_ms, next_validators };
        self.propose(now, lead.view, lead.parent, content, out);
    }

    /// The state a block after `lead.parent` names: the last executed, or the first checkpoint its
    /// parent had not reached. Nothing where this node has not executed what its parent's leader had;
    /// others would refuse.
    fn executed_after(&self, lead: &Lead) -> Option<ExecutedState> {
        let parent = self.consensus.block(&lead.parent).map_or(Height(0), |b| b.executed.height);
        let tip = self.ledger.height();
        if tip < parent || tip > lead.parent_height {
            return None;
        }
        let height = tip.min(parent.next_checkpoint());
        let root = self.roots.get(&height).copied()?;
        Some(ExecutedState { height, root })
    }

    /// Votes for the proposal under consideration once everything it needs is here.
    pub(crate) fn check_pending(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(block) = self.checking.clone() else { return };
        match self.decide(now, &block, out) {
            Decision::Wait => {}
            Decision::Refuse => self.checking = None,
            Decision::Vote => {
                self.checking = None;
                let id = block_id(&block);
                self.consensus(now, qbind_consensus::Event::Checked(id), out);
            }
        }
    }

    fn decide(&mut self, now: Now, block: &Block, out: &mut Vec<Effect>) -> Decision {
        if block.timestamp_unix_ms > now.unix.plus(MOST_AHEAD) {
            self.count(CouplingResult::WrongState, out);
            return Decision::Refuse;
        }
        let claimed = block.executed;
        if claimed.height > self.ledger.height() {
            // The leader executed more; so will this node when the commit votes arrive.
            return Decision::Wait;
        }
        match self.roots.get(&claimed.height) {
            Some(ours) if *ours == claimed.root => {}
            _ => {
                self.count(CouplingResult::WrongState, out);
                return Decision::Refuse;
            }
        }
        if block.next_validators != self.next_validators(&block.parent, claimed.height) {
            self.count(CouplingResult::WrongState, out);
            return Decision::Refuse;
        }
        let Some(included) = self.included_at(&block.parent) else { return Decision::Wait };
        let mode = self.config.coupling;
        let verdict = self.dag.check(mode, &block.batches, &included);
        let result = match &verdict {
            CouplingVerdict::Ok => CouplingResult::Ok,
            CouplingVerdict::NotRequired => CouplingResult::NotRequired,
            CouplingVerdict::MissingBatches(_) | CouplingVerdict::UnknownBatches(_) => {
                CouplingResult::Missing
            }
            CouplingVerdict::Mismatch(_) => CouplingResult::Mismatch,
        };
        if result == CouplingResult::Missing {
            let effects = self.dag.want(&block.batches, now.monotonic);
            self.route_dag(now, effects, out);
        }
        if !verdict.permits_vote(mode) {
            if result == CouplingResult::Missing {
                return Decision::Wait;
            }
            if let CouplingVerdict::Mismatch(rule) = verdict {
                self.accuse(block, rule, out);
            }
            self.count(result, out);
            return Decision::Refuse;
        }
        if self.gas_of(block) > self.ledger.params().block_gas_limit {
            self.count(CouplingResult::OverGas, out);
            return Decision::Refuse;
        }
        self.count(result, out);
        Decision::Vote
    }

    /// Shows a proposal whose references no honest leader could have chosen. Two certificates for one
    /// round are not the leader's fault: it may know the other.
    fn accuse(&self, block: &Block, rule: Mismatch, out: &mut Vec<Effect>) {
        if rule != Mismatch::OtherCertified
            && let Some(proposal) = self.consensus.proposal(block.view)
            && proposal.block == *block
        {
            let violation = CouplingViolation { proposal: proposal.clone(), rule };
            out.push(Effect::CouplingViolation(Box::new(violation)));
        }
    }

    /// Gas of the batches at hand; all of them, in mode `Enforce`.
    fn gas_of(&self, block: &Block) -> u64 {
        block
            .batches
            .iter()
            .filter_map(|r| self.dag.batch(&r.id))
            .flat_map(|b| &b.transactions)
            .fold(0, |sum, t| sum.saturating_add(qbind_ledger::gas_bound(t)))
    }
}
