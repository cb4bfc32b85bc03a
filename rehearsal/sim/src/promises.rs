//! What an honest validator promises with each signature, over all its lives.

use qbind_consensus::{SafetyRecord, Unsigned};
use qbind_crypto::block_id;
use qbind_types::{BatchRef, BlockId, ValidatorIndex, View};
use std::collections::BTreeMap;

/// Most violations kept; one is enough to fail a run.
const KEPT: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Statement {
    Proposal,
    Vote,
    CommitVote,
}

/// Everything honest validators signed, to be held against what they sign next.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    said: BTreeMap<(ValidatorIndex, Statement, View), BlockId>,
    gave_up: BTreeMap<ValidatorIndex, View>,
    last_commit_vote: BTreeMap<ValidatorIndex, View>,
    batches: BTreeMap<(ValidatorIndex, u64), BatchRef>,
    acks: BTreeMap<(ValidatorIndex, ValidatorIndex, u64), BatchRef>,
    pub(crate) broken: Vec<String>,
}

impl Promises {
    fn complain(&mut self, who: ValidatorIndex, what: String) {
        if self.broken.len() < KEPT {
            self.broken.push(format!("validator {who} {what}"));
        }
    }

    fn once(&mut self, who: ValidatorIndex, what: Statement, view: View, block: BlockId) {
        let first = *self.said.entry((who, what, view)).or_insert(block);
        if first != block {
            self.complain(who, format!("signed two {what:?}s in view {view}: {first} and {block}"));
        }
    }

    /// A consensus signature; `durable` is what a loss of power now would leave of the record.
    pub(crate) fn signed(
        &mut self,
        who: ValidatorIndex,
        unsigned: &Unsigned,
        durable: Option<&SafetyRecord>,
    ) {
        let view = unsigned.view();
        let is_recorded = |holds: fn(&SafetyRecord, View, BlockId) -> bool, block| {
            durable.is_some_and(|record| holds(record, view, block))
        };
        let recorded = match unsigned {
            Unsigned::Proposal { block, .. } => {
                let id = block_id(block);
                self.once(who, Statement::Proposal, view, id);
                is_recorded(|r, view, id| r.proposed == Some((view, id)), id)
            }
            Unsigned::Vote { block, .. } => {
                self.once(who, Statement::Vote, view, *block);
                is_recorded(|r, view, id| r.voted == Some((view, id)), *block)
            }
            Unsigned::CommitVote { block, .. } => {
                self.once(who, Statement::CommitVote, view, *block);
                if self.gave_up.get(&who).is_some_and(|v| *v >= view) {
                    self.complain(who, format!("commit-votes in view {view}, which it gave up"));
                }
                self.last_commit_vote.insert(who, view);
                is_recorded(
                    |r, view, id| r.commit_voted == Some((view, id)) && r.high_qc.view >= view,
                    *block,
                )
            }
            Unsigned::Timeout { high_qc, .. } => {
                if let Some(v) = self.last_commit_vote.get(&who).copied()
                    && (v >= view || high_qc.view < v)
                {
                    let reported = high_qc.view;
                    let what = format!(
                        "gives view {view} up with a certificate of view {reported} after its \
                         commit vote in view {v}"
                    );
                    self.complain(who, what);
                }
                self.gave_up.insert(who, view);
                is_recorded(|r, view, _| r.timed_out >= Some(view), BlockId([0; 32]))
            }
        };
        if !recorded {
            self.complain(who, format!("signs for view {view} what a crash would make it forget"));
        }
    }

    /// An own batch; `durable` says whether it outlives a loss of power.
    pub(crate) fn signed_batch(&mut self, batch: BatchRef, durable: bool) {
        let who = batch.creator;
        let first = *self.batches.entry((who, batch.round)).or_insert(batch);
        if first != batch || !durable {
            let round = batch.round;
            self.complain(who, format!("signs a second or forgettable batch in round {round}"));
        }
    }

    /// An ack; `durable` says whether it outlives a loss of power.
    pub(crate) fn signed_ack(&mut self, who: ValidatorIndex, batch: BatchRef, durable: bool) {
        let first = *self.acks.entry((who, batch.creator, batch.round)).or_insert(batch);
        if first != batch || !durable {
            let (creator, round) = (batch.creator, batch.round);
            let what = format!("acks a second or forgettable batch of {creator}, round {round}");
            self.complain(who, what);
        }
    }
}
