//! Bytes of a peer become events, or its fault.

use crate::Event;
use alloc::{boxed::Box, vec::Vec};
use qbind_consensus::{Event as ConsensusEvent, Message};
use qbind_crypto::{Reject, Verifiers, tx_id};
use qbind_dag::{DagMessage, MessageError, Peer};
use qbind_sync::{Event as SyncEvent, SyncMessage};
use qbind_types::{CommittedBlock, DecodeError, limits};

/// The channel a message came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Proposals, votes, timeouts, certificates.
    Consensus,
    /// Batches, acks, availability certificates.
    Dag,
    /// Heights and blocks.
    Sync,
}

/// Why bytes are refused: always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a message of this channel.
    #[error("undecodable message")]
    Decode(#[from] DecodeError),
    /// Not a message of the data layer.
    #[error("refused data message")]
    Dag(#[from] MessageError),
    /// A signature or a rule of form.
    #[error("refused message")]
    Reject(#[from] Reject),
    /// Longer than any message.
    #[error("{bytes} bytes are more than a message may have")]
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
}

/// Decodes and verifies one message.
///
/// # Errors
/// The peer's fault; nothing of the message may be used.
pub fn open(
    channel: Channel,
    from: Peer,
    bytes: &[u8],
    verifiers: &Verifiers,
) -> Result<Event, OpenError> {
    if bytes.len() > limits::MESSAGE_BYTES {
        return Err(OpenError::TooLong { bytes: bytes.len() });
    }
    match channel {
        Channel::Consensus => open_consensus(qbind_types::decode(bytes)?, verifiers),
        Channel::Dag => open_dag(from, DagMessage::decode(bytes)?, verifiers),
        Channel::Sync => open_sync(from, qbind_types::decode(bytes)?, verifiers),
    }
}

fn open_consensus(message: Message, verifiers: &Verifiers) -> Result<Event, OpenError> {
    let v = verifiers.of(message.epoch())?;
    let event = match message {
        Message::Proposal(m) => ConsensusEvent::Proposal(v.verify_proposal(m)?),
        Message::Vote(m) => ConsensusEvent::Vote(v.verify_vote(m)?),
        Message::CommitVote(m) => ConsensusEvent::CommitVote(v.verify_commit_vote(m)?),
        Message::Timeout(m) => ConsensusEvent::Timeout(v.verify_timeout(m)?),
        Message::Qc(m) => ConsensusEvent::Qc(v.verify_qc(m)?),
        Message::Tc(m) => ConsensusEvent::Tc(v.verify_tc(m)?),
        Message::CommitCertificate(m) => {
            ConsensusEvent::CommitCertificate(v.verify_commit_certificate(m)?)
        }
    };
    Ok(Event::Consensus(Box::new(event)))
}

fn open_dag(from: Peer, message: DagMessage, vs: &Verifiers) -> Result<Event, OpenError> {
    Ok(match message {
        DagMessage::Batch(m) => Event::Batch(Box::new(vs.of(m.epoch)?.verify_batch(m)?)),
        DagMessage::Ack(m) => Event::Ack(Box::new(vs.of(m.batch.epoch)?.verify_ack(m)?)),
        DagMessage::Certificate(m) => {
            let verified = vs.of(m.batch.epoch)?.verify_batch_certificate(m)?;
            Event::Certificate(Box::new(verified))
        }
        DagMessage::Request(reference) => Event::BatchRequest { from, reference },
        DagMessage::Response(m) => {
            let verified = vs.of(m.batch.epoch)?.verify_certified_batch(m)?;
            Event::BatchResponse(Box::new(verified))
        }
        DagMessage::Transactions(list) => {
            let v = vs.newest();
            let events = list.into_iter().map(|transaction| {
                let id = tx_id(v.network(), &transaction);
                let transaction = Box::new(v.verify_transaction(transaction)?);
                Ok(Event::Submit { transaction, id })
            });
            Event::Many(events.collect::<Result<Vec<_>, Reject>>()?)
        }
    })
}

fn open_sync(from: Peer, message: SyncMessage, verifiers: &Verifiers) -> Result<Event, OpenError> {
    Ok(match message {
        SyncMessage::Status { height, lowest } => {
            Event::Sync(SyncEvent::Status { from, height, lowest })
        }
        SyncMessage::BlocksRequest { from: height, limit } => {
            Event::BlocksRequest { from, height, limit }
        }
        SyncMessage::Blocks(blocks) => {
            let most = usize::try_from(qbind_sync::bounds::BLOCKS_PER_ANSWER).expect("small");
            if blocks.len() > most {
                return Err(OpenError::Reject(Reject::TooLarge { what: "answer" }));
            }
            let verify = |b: CommittedBlock| verifiers.of(b.block.epoch)?.verify_committed_block(b);
            match blocks.into_iter().map(verify).collect::<Result<Vec<_>, Reject>>() {
                Ok(blocks) => Event::Sync(SyncEvent::Blocks { from, blocks }),
                // This node has not executed what says who validates that epoch.
                Err(Reject::WrongEpoch { .. }) => Event::Sync(SyncEvent::TooNew { from }),
                Err(lie) => return Err(lie.into()),
            }
        }
        SyncMessage::BlockRequest(id) => Event::BlockRequest { from, id },
        SyncMessage::Block(block) => Event::Sync(SyncEvent::Block(Box::new(block))),
    })
}
