//! What goes in and what comes out.

use crate::{Message, SafetyRecord, Unsigned};
use alloc::{boxed::Box, vec::Vec};
use qbind_crypto::Verified;
use qbind_types::{
    BatchRef, Block, BlockId, CommitCertificate, CommitVote, CommittedBlock, Epoch, ExecutedState,
    Height, Millis, Proposal, Qc, Tc, Timeout, ValidatorIndex, ValidatorsId, View, Vote,
};

/// What a leader puts into its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Certified batches in execution order.
    pub batches: Vec<BatchRef>,
    /// The leader's last committed state.
    pub executed: ExecutedState,
    /// The leader's clock.
    pub timestamp_unix_ms: Millis,
    /// The validators of the next epoch, if this block is to be the last of its own.
    pub next_validators: Option<ValidatorsId>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time went by.
    Tick,
    /// From a leader.
    Proposal(Verified<Proposal>),
    /// First phase.
    Vote(Verified<Vote>),
    /// Second phase.
    CommitVote(Verified<CommitVote>),
    /// Someone gives a view up.
    Timeout(Verified<Timeout>),
    /// A certificate from who is ahead.
    Qc(Verified<Qc>),
    /// A certificate from who is ahead.
    Tc(Verified<Tc>),
    /// A certificate from who is ahead.
    CommitCertificate(Verified<CommitCertificate>),
    /// Answer to [`Effect::Sign`].
    Signed(Message),
    /// Answer to [`Effect::Lead`]; ignored when the view has passed.
    Propose {
        /// The view asked for.
        view: View,
        /// The parent asked for.
        parent: BlockId,
        /// What to propose.
        content: Content,
    },
    /// Answer to [`Effect::Check`]: the payload is available and right.
    Checked(BlockId),
    /// Answer to [`Effect::NeedBlock`]. Its id is its proof: it was asked for by certificate.
    Block(Box<Block>),
    /// A final block from sync; must extend the last committed one.
    Committed(Box<Verified<CommittedBlock>>),
}

impl Event {
    /// The epoch whose validators signed what it brings.
    pub fn epoch(&self) -> Option<Epoch> {
        self.origin().map(|(epoch, _)| epoch)
    }

    /// Who signed what it brings, if one validator did.
    pub fn signer(&self) -> Option<ValidatorIndex> {
        match self {
            Self::Proposal(p) => Some(p.block.proposer),
            Self::Vote(v) => Some(v.validator),
            Self::CommitVote(v) => Some(v.validator),
            Self::Timeout(t) => Some(t.validator),
            _ => None,
        }
    }

    /// The epoch of what it brings, and the certificate that might be the one the epoch starts with.
    pub(crate) fn origin(&self) -> Option<(Epoch, Option<&Qc>)> {
        Some(match self {
            Self::Proposal(p) => (p.block.epoch, Some(&p.justify)),
            Self::Vote(v) => (v.epoch, None),
            Self::CommitVote(v) => (v.epoch, None),
            Self::Timeout(t) => (t.epoch, Some(&t.high_qc)),
            Self::Qc(qc) => (qc.epoch, Some(qc)),
            Self::Tc(tc) => (tc.epoch, None),
            Self::CommitCertificate(c) => (c.epoch, None),
            Self::Block(block) => (block.epoch, None),
            Self::Committed(c) => (c.block.epoch, None),
            Self::Signed(message) => (message.epoch(), None),
            Self::Tick | Self::Propose { .. } | Self::Checked(_) => return None,
        })
    }
}

/// Two signed statements that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Who made both.
    pub validator: ValidatorIndex,
    /// The view of both.
    pub view: View,
    /// The first, as a message.
    pub first: Message,
    /// The second, as a message.
    pub second: Message,
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write and fsync before anything that follows.
    Persist(Box<SafetyRecord>),
    /// Keep an uncommitted block with the QC of its parent; covered by the next `Persist`.
    StoreBlock {
        /// The block.
        block: Box<Block>,
        /// Its parent's certificate.
        justify: Box<Qc>,
    },
    /// Sign and answer with `Event::Signed`.
    Sign(Box<Unsigned>),
    /// Send to everyone connected.
    Broadcast(Box<Message>),
    /// Send to one validator.
    Send {
        /// To whom.
        to: ValidatorIndex,
        /// What.
        message: Box<Message>,
    },
    /// This node leads: answer with `Event::Propose` when there is something to propose.
    Lead {
        /// The view.
        view: View,
        /// What the block will extend.
        parent: BlockId,
        /// Its height.
        parent_height: Height,
    },
    /// Answer with `Event::Checked` when the block's payload is available and right.
    Check(Box<Block>),
    /// Fetch a block and answer with `Event::Block`.
    NeedBlock {
        /// Its id.
        id: BlockId,
        /// Validators to ask first: who signed for it or for one that extends it. Voters have it,
        /// commit voters may not.
        holders: Vec<ValidatorIndex>,
    },
    /// Blocks are final, ascending; execute and store them.
    Commit(Vec<CommittedBlock>),
    /// A view started.
    Entered {
        /// The view.
        view: View,
        /// Whether the one before was given up.
        by_timeout: bool,
    },
    /// A QC was formed or received for the first time.
    Certified {
        /// Its view.
        view: View,
        /// Its block.
        block: BlockId,
    },
    /// This node gives a view up.
    GaveUp {
        /// The view.
        view: View,
    },
    /// Proof of a fault.
    Evidence(Box<Evidence>),
    /// Two conflicting blocks are final: more than the tolerated stake is faulty, or our code is
    /// wrong. The node must stop and not start again by itself.
    Conflict {
        /// What was final here.
        committed: BlockId,
        /// What another certificate says.
        other: BlockId,
    },
}
