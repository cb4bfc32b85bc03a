//! What data layers say to each other.

use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use qbind_types::{
    Batch, BatchAck, BatchCertificate, BatchRef, CertifiedBatch, Payload, Transaction, limits,
};
use thiserror::Error;

use crate::config::bounds;

/// A message between the data layers of two nodes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum DagMessage {
    /// From its creator to everybody.
    Batch(Batch),
    /// From who holds it to everybody.
    Ack(BatchAck),
    /// To who seems to lack it.
    Certificate(BatchCertificate),
    /// "Send me this batch and its certificate."
    Request(BatchRef),
    /// The answer.
    Response(CertifiedBatch),
    /// A full node's clients' transactions, to a validator, which treats each as submitted.
    Transactions(Vec<Transaction>),
}

/// Bytes are not an acceptable message: always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than any message may be.
    #[error("{bytes} bytes, at most {}", limits::MESSAGE_BYTES)]
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// Not the canonical encoding of a message.
    #[error("not a canonical message")]
    Malformed,
    /// A list is longer than it may be.
    #[error("{got} {what}, at most {most}")]
    TooMany {
        /// What is listed.
        what: &'static str,
        /// Items given.
        got: usize,
        /// Items allowed.
        most: usize,
    },
}

impl DagMessage {
    /// Reads a message and checks every length in it, before anybody verifies a signature.
    ///
    /// # Errors
    /// The sender's fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > limits::MESSAGE_BYTES {
            return Err(MessageError::TooLong { bytes: bytes.len() });
        }
        let message: Self = qbind_types::decode(bytes).map_err(|_| MessageError::Malformed)?;
        message.check_lengths()?;
        Ok(message)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        qbind_types::encode(self)
    }

    fn check_lengths(&self) -> Result<(), MessageError> {
        match self {
            Self::Batch(batch) => check_batch(batch),
            Self::Certificate(certificate) => check_certificate(certificate),
            Self::Response(certified) => {
                check_batch(&certified.batch)?;
                check_certificate(&certified.certificate)
            }
            Self::Transactions(transactions) => {
                check("forwarded transactions", transactions.len(), bounds::FORWARDED)?;
                check_payloads(transactions)
            }
            Self::Ack(_) | Self::Request(_) => Ok(()),
        }
    }
}

fn check(what: &'static str, got: usize, most: usize) -> Result<(), MessageError> {
    if got > most { Err(MessageError::TooMany { what, got, most }) } else { Ok(()) }
}

fn check_batch(batch: &Batch) -> Result<(), MessageError> {
    check("parents", batch.parents.len(), limits::VALIDATORS)?;
    check("transactions", batch.transactions.len(), limits::BATCH_TRANSACTIONS)?;
    check_payloads(&batch.transactions)
}

fn check_payloads(transactions: &[Transaction]) -> Result<(), MessageError> {
    let mut payloads = transactions.iter().map(|t| &t.payload);
    payloads.try_for_each(|p| check("payload bytes", p.len(), Payload::most_bytes(p)))
}

fn check_certificate(certificate: &BatchCertificate) -> Result<(), MessageError> {
    check("acks", certificate.acks.len(), limits::VALIDATORS)
}
