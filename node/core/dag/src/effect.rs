//! What happens to the data layer, and what it wants done.

use crate::{DagMessage, PendingTransaction, Rejection, Standing, Submission};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use qbind_crypto::Verified;
use qbind_types::{
    Address, Batch, BatchAck, BatchCertificate, BatchRef, CertifiedBatch, Epoch, Millis, Signature,
    TxId, ValidatorIndex,
};

/// Whom a message comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A validator.
    Validator(ValidatorIndex),
    /// Any other node; the number is the shell's name for the connection.
    Node(u64),
}

/// Something that happened. Everything signed was verified before.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client, or a full node, hands in a transaction (it carries its own time).
    Submit(Submission),
    /// Answer to [`Effect::Sign`].
    Signed {
        /// Which batch.
        reference: BatchRef,
        /// Over it.
        signature: Signature,
        /// Now.
        now: Millis,
    },
    /// Answer to [`Effect::SignAck`].
    AckSigned {
        /// Which batch.
        reference: BatchRef,
        /// This validator's, over it.
        signature: Signature,
        /// Now.
        now: Millis,
    },
    /// A batch from its creator, or relayed.
    Batch {
        /// The batch, transactions checked.
        batch: Verified<Batch>,
        /// Now.
        now: Millis,
    },
    /// An ack.
    Ack {
        /// The ack.
        ack: Verified<BatchAck>,
        /// Now.
        now: Millis,
    },
    /// A certificate.
    Certificate {
        /// A quorum's.
        certificate: Verified<BatchCertificate>,
        /// Now.
        now: Millis,
    },
    /// Somebody asks for a batch.
    Request {
        /// Who.
        from: Peer,
        /// Which.
        reference: BatchRef,
        /// Now.
        now: Millis,
    },
    /// Somebody answers a request.
    Response {
        /// Content and certificate, which name each other.
        certified: Verified<CertifiedBatch>,
        /// Now.
        now: Millis,
    },
    /// A block was executed.
    Committed {
        /// Its batches.
        refs: Vec<BatchRef>,
        /// Every account it changed.
        accounts: Vec<(Address, Standing)>,
        /// Now.
        now: Millis,
    },
    /// The validators with the shortest way to this node, as the shell has measured it.
    Near {
        /// Which.
        validators: Vec<ValidatorIndex>,
        /// Now.
        now: Millis,
    },
    /// The time of [`crate::Dag::next_deadline`] has come.
    Tick {
        /// Now.
        now: Millis,
    },
}

impl Event {
    /// Whose epoch's validators signed what it brings.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Signed { reference, .. } | Self::AckSigned { reference, .. } => {
                Some(reference.epoch)
            }
            Self::Batch { batch, .. } => Some(batch.epoch),
            Self::Ack { ack, .. } => Some(ack.batch.epoch),
            Self::Certificate { certificate, .. } => Some(certificate.batch.epoch),
            Self::Response { certified, .. } => Some(certified.batch.epoch),
            Self::Submit(_)
            | Self::Request { .. }
            | Self::Committed { .. }
            | Self::Near { .. }
            | Self::Tick { .. } => None,
        }
    }

    /// When it happened.
    pub fn now(&self) -> Millis {
        match self {
            Self::Submit(submission) => submission.now,
            Self::Signed { now, .. }
            | Self::AckSigned { now, .. }
            | Self::Batch { now, .. }
            | Self::Ack { now, .. }
            | Self::Certificate { now, .. }
            | Self::Request { now, .. }
            | Self::Response { now, .. }
            | Self::Committed { now, .. }
            | Self::Near { now, .. }
            | Self::Tick { now } => *now,
        }
    }
}

/// Two batches of one creator and round, both signed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEquivocation {
    /// The one seen first.
    pub first: Arc<Batch>,
    /// The other.
    pub second: Arc<Batch>,
}

/// Something to be done, in order, each before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this own batch durable (fsync): it is the only one of its round, for ever. Its
    /// signature is still zero.
    PersistOwn(Batch),
    /// Make durable (fsync), with everything stored before: this validator acks no other batch of
    /// this creator and round, ever.
    PersistAck(BatchRef),
    /// Keep a batch; it may be served from disk later.
    Store {
        /// Its name.
        reference: BatchRef,
        /// Its content.
        batch: Arc<Batch>,
    },
    /// Keep a certificate.
    StoreCertificate(BatchCertificate),
    /// Keep an accepted transaction until it is forgotten.
    StorePending(PendingTransaction),
    /// These are committed or dropped.
    ForgetPending(Vec<TxId>),
    /// Sign this own batch (`preimage::batch`); answer with [`Event::Signed`].
    Sign(BatchRef),
    /// Sign an ack for this batch (`preimage::ack`); answer with [`Event::AckSigned`].
    SignAck {
        /// Which batch.
        reference: BatchRef,
        /// This node's place in the batch's epoch.
        validator: ValidatorIndex,
    },
    /// To every connected node.
    Broadcast(DagMessage),
    /// To one node; it may be lost, it is sent again when that matters.
    SendTo {
        /// Whom.
        to: Peer,
        /// What.
        message: DagMessage,
    },
    /// Read the batch and its certificate from disk and send them as a response, if they are there.
    ServeFromStore {
        /// Whom.
        to: Peer,
        /// Which.
        batch: BatchRef,
    },
    /// The client's transaction will be committed unless its nonce is used or it is evicted.
    Accepted {
        /// Which.
        id: TxId,
    },
    /// The client's transaction is refused.
    Rejected {
        /// Which.
        id: TxId,
        /// Why.
        rejection: Rejection,
    },
    /// A creator signed two batches for one round.
    Evidence(Box<BatchEquivocation>),
    /// Something to count.
    Note(Note),
}

/// Facts for metrics that no other effect shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// A batch was not taken.
    BatchRefused {
        /// Whose.
        creator: ValidatorIndex,
        /// Why.
        reason: BatchRefusal,
    },
    /// An ack counted towards a certificate.
    AckCounted,
    /// An ack was for nothing this node collects for, or repeated.
    AckUseless,
    /// A certificate was old, repeated or too far ahead.
    CertificateUseless,
    /// Two quorums certified different batches of one round: a third of the stake is faulty.
    CertificatesConflict {
        /// Whose round.
        creator: ValidatorIndex,
    },
    /// A missing batch is looked for.
    FetchStarted,
    /// It was found.
    Fetched,
    /// It is not looked for any more: nobody proved that it exists.
    FetchGivenUp,
    /// Too many are looked for.
    FetchRefused,
    /// An answer nobody waits for.
    ResponseUseless,
    /// A request was refused: unknown batch, or too many requests.
    RequestRefused,
    /// A pending transaction was dropped because the pool was full.
    Evicted,
    /// The first eviction of a new interval: those before it no longer count.
    EvictionIntervalStarted,
    /// One eviction more than the interval's limit, allowed because the mode is `Warn`.
    EvictionOverLimit,
    /// A pending transaction was outbid.
    Replaced,
    /// Pending transactions were dropped for their age.
    Expired {
        /// How many.
        count: usize,
    },
    /// Transactions of a committed own batch had no effect and wait for another batch.
    Requeued {
        /// How many.
        count: usize,
    },
    /// Transactions had no effect too often and were dropped.
    Dropped {
        /// How many.
        count: usize,
    },
}

/// Why a batch is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BatchRefusal {
    /// No transactions, or more than allowed, in number or bytes.
    Size,
    /// Parents of the wrong shape.
    Parents,
    /// Its round is committed already.
    Stale,
    /// Its round is too far ahead of what is committed.
    TooFarAhead,
    /// Another batch of this round is known.
    Equivocation,
    /// Its predecessor is unknown and too many of this creator wait for theirs.
    WaitingRoomFull,
}
