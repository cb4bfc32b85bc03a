//! What must never be forgotten.

use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{BlockId, Epoch, EpochStart, Qc, Tc, View};

/// The facts the safety argument needs after a crash; fsynced before each signature leaves.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SafetyRecord {
    /// The view this validator was in.
    pub view: View,
    /// Last block proposed.
    pub proposed: Option<(View, BlockId)>,
    /// Last vote.
    pub voted: Option<(View, BlockId)>,
    /// Last commit vote.
    pub commit_voted: Option<(View, BlockId)>,
    /// Last view given up.
    pub timed_out: Option<View>,
    /// Highest QC known.
    pub high_qc: Qc,
    /// The TC that started the view, if one did.
    pub entered_by: Option<Tc>,
}

impl SafetyRecord {
    /// Before anything was signed in an epoch.
    pub fn start(start: &EpochStart) -> Self {
        Self {
            view: start.view.next(),
            proposed: None,
            voted: None,
            commit_voted: None,
            timed_out: None,
            high_qc: Qc::start(start),
            entered_by: None,
        }
    }

    /// The epoch it is about: what was signed in earlier ones excludes nothing in this.
    pub fn epoch(&self) -> Epoch {
        self.high_qc.epoch
    }

    /// Whether a vote in `view` would be this validator's first there, and the view not given up.
    pub fn may_vote(&self, view: View) -> bool {
        view >= self.view
            && self.voted.is_none_or(|(v, _)| v < view)
            && self.timed_out.is_none_or(|v| v < view)
    }

    /// Whether a commit vote in `view` is allowed: not given up, and none sent there before.
    pub fn may_commit_vote(&self, view: View) -> bool {
        self.commit_voted.is_none_or(|(v, _)| v < view) && self.timed_out.is_none_or(|v| v < view)
    }

    /// Whether a proposal in `view` would be this validator's first there.
    pub fn may_propose(&self, view: View) -> bool {
        self.proposed.is_none_or(|(v, _)| v < view) && self.timed_out.is_none_or(|v| v < view)
    }
}
