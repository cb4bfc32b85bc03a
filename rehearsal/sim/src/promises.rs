//! What an honest validator promises with each signature, over all its lives.

use qbind_consensus::{SafetyRecord, Unsigned};
use qbind_crypto::block_id;
use qbind_types::{BatchRef, BlockId, Epoch, ValidatorIndex, View};
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
    said: BTreeMap<(ValidatorIndex, Statement, Epoch, View), BlockId>,
    gave_up: BTreeMap<(ValidatorIndex, Epoch), View>,
    last_commit_vote: BTreeMap<(ValidatorIndex, Epoch), View>,
    batches: BTreeMap<(Epoch, ValidatorIndex, u64), BatchRef>,
    acks: BTreeMap<(ValidatorIndex, Epoch, ValidatorIndex, u64), BatchRef>,
    pub(crate) broken: Vec<String>,
}

/// Whether a record of the last statement of a kind excludes every other one in this view: it is this
/// one, or a later one of those that share a sync.
fn covers(last: Option<(View, BlockId)>, view: View, block: BlockId) -> bool {
    last.is_some_and(|(v, id)| v > view || (v, id) == (view, block))
}

impl Promises {
    fn complain(&mut self, who: ValidatorIndex, what: String) {
        if self.broken.len() < KEPT {
            self.broken.push(format!("validator {who} {what}"));
        }
    }

    fn once(&mut self, who: ValidatorIndex, what: Statement, at: (Epoch, View), block: BlockId) {
        let (epoch, view) = at;
        let first = *self.said.entry((who, what, epoch, view)).or_insert(block);
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
        let (epoch, view) = (unsigned.epoch(), unsigned.view());
        let durable = durable.filter(|record| record.epoch() == epoch);
        let is_recorded = |holds: fn(&SafetyRecord, View, BlockId) -> bool, block| {
            durable.is_some_and(|record| holds(record, view, block))
        };
        let recorded = match unsigned {
            Unsigned::Proposal { block, .. } => {
                let id = block_id(block);
                self.once(who, Statement::Proposal, (epoch, view), id);
                is_recorded(|r, view, id| covers(r.proposed, view, id), id)
            }
            Unsigned::Vote { block, .. } => {
                self.once(who, Statement::Vote, (epoch, view), *block);
                is_recorded(|r, view, id| covers(r.voted, view, id), *block)
            }
            Unsigned::CommitVote { block, .. } => {
                self.once(who, Statement::CommitVote, (epoch, view), *block);
                if self.gave_up.get(&(who, epoch)).is_some_and(|v| *v >= view) {
                    self.complain(who, format!("commit-votes in view {view}, which it gave up"));
                }
                self.last_commit_vote.insert((who, epoch), view);
                is_recorded(
                    |r, view, id| covers(r.commit_voted, view, id) && r.high_qc.view >= view,
                    *block,
                )
            }
            Unsigned::Timeout { high_qc, .. } => {
                if let Some(v) = self.last_commit_vote.get(&(who, epoch)).copied()
                    && (v >= view || high_qc.view < v)
                {
                    let reported = high_qc.view;
                    let what = format!(
                        "gives view {view} up with a certificate of view {reported} after its \
                         commit vote in view {v}"
                    );
                    self.complain(who, what);
                }
                self.gave_up.insert((who, epoch), view);
                is_recorded(|r, view, _| r.timed_out >= Some(view), BlockId([0; 32]))
            }
        };
        if !recorded {
            self.complain(who, format!("signs for view {view} what a crash would make it forget"));
        }
    }

    /// An own batch; `durable` says whether it outlives a loss of power.
    pub(crate) fn signed_batch(&mut self, who: ValidatorIndex, batch: BatchRef, durable: bool) {
        let first = *self.batches.entry((batch.epoch, who, batch.round)).or_insert(batch);
        if first != batch || !durable {
            let round = batch.round;
            self.complain(who, format!("signs a second or forgettable batch in round {round}"));
        }
    }

    /// An ack; `durable` says whether it outlives a loss of power.
    pub(crate) fn signed_ack(&mut self, who: ValidatorIndex, batch: BatchRef, durable: bool) {
        let first =
            *self.acks.entry((who, batch.epoch, batch.creator, batch.round)).or_insert(batch);
        if first != batch || !durable {
            let (creator, round) = (batch.creator, batch.round);
            let what = format!("acks a second or forgettable batch of {creator}, round {round}");
            self.complain(who, what);
        }
    }
}
