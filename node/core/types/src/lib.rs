//! The nouns of the protocol, their units, their one canonical encoding, their size limits.
//!
//! Promises: every wire type has exactly one byte encoding (borsh: little-endian, length-prefixed,
//! no padding, trailing bytes refused) and a stated maximum; an identifier always binds the whole
//! content it names and never signature bytes, which ML-DSA may randomise.
//!
//! Never here: a clock, a socket, a disk, a random number, a signature check.
#![no_std]
extern crate alloc;

mod batch;
mod block;
mod bytes;
mod certificate;
mod evidence;
mod message;
mod network;
mod registry;
mod transaction;
mod units;
mod validator;

pub use batch::{Batch, BatchAck, BatchCertificate, BatchRef, CertifiedBatch};
pub use block::{Block, BlockHeader, CommitProof, CommittedBlock, ExecutedState};
pub use bytes::{
    Address, BatchId, BlockId, GenesisHash, PUBLIC_KEY_BYTES, ParseHexError, PublicKey,
    SIGNATURE_BYTES, Signature, StateRoot, SystemRoot, TxId, ValidatorsId,
};
pub use certificate::{CommitCertificate, Qc, SignedTimeout, Tc};
pub use evidence::{Evidence, Offence, Phase, SignedBatchRef, SignedHeader};
pub use message::{CommitVote, Proposal, Timeout, Vote};
pub use network::Network;
pub use registry::{KeyRole, KeyRotation, REGISTRY, RegistryCall, RotationKind};
pub use transaction::{Payload, PayloadError, Transaction, TransferV0, TransferV1};
pub use units::{Epoch, Height, Millis, ValidatorIndex, View, VotingPower};
pub use validator::{EpochStart, ValidatorInfo, ValidatorSet, ValidatorSetError};

/// Size limits of everything that crosses a wire, in bytes or items.
pub mod limits {
    /// Largest message body of any kind.
    pub const MESSAGE_BYTES: usize = 32 * 1024 * 1024;
    /// A block's executed height never skips a multiple of this, so that a certified block names the
    /// state root after each of them.
    pub const CHECKPOINT: u64 = 10;
    /// Largest validator set.
    pub const VALIDATORS: usize = 256;
    /// Most batches one block may reference.
    pub const BLOCK_BATCHES: usize = 64;
    /// Most transactions in one batch (any profile may set less).
    pub const BATCH_TRANSACTIONS: usize = 10_000;
    /// Largest transaction payload but for reports: a transfer with a call to the registry.
    pub const PAYLOAD_BYTES: usize = 72 + 1_344;
    /// Largest encoded evidence of any offence.
    pub const EVIDENCE_BYTES: usize = 20 * 1024;
    /// Largest payload of all: a transfer with a report of an offence.
    pub const REPORT_BYTES: usize = 72 + 1 + EVIDENCE_BYTES;
    /// Payload of a transfer with gas.
    pub const TRANSFER_BYTES: usize = 72;
    /// Largest encoded transfer: address, nonce, payload, public key, signature, lengths.
    pub const TRANSACTION_BYTES: usize = 32 + 8 + 4 + TRANSFER_BYTES + 1312 + 2420 + 2;
    /// Largest encoded transaction of all: a report.
    pub const REPORT_TRANSACTION_BYTES: usize = TRANSACTION_BYTES - TRANSFER_BYTES + REPORT_BYTES;
}

/// Decodes `bytes` as `T`, refusing trailing bytes.
///
/// # Errors
/// The peer's fault: the bytes are not the canonical encoding of a `T`.
pub fn decode<T: borsh::BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::try_from_slice(bytes).map_err(|_| DecodeError)
}

/// The canonical encoding of `value`.
pub fn encode<T: borsh::BorshSerialize>(value: &T) -> alloc::vec::Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

/// The bytes are not a canonical encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes are not a canonical encoding")
    }
}

impl core::error::Error for DecodeError {}
