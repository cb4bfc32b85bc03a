//! Identifiers.

use crate::preimage;
use aws_lc_rs::digest::{Context, Digest, SHA3_256};
use qbind_types::{
    Address, Batch, BatchId, Block, BlockHeader, BlockId, GenesisHash, Network, PublicKey,
    Transaction, TxId, ValidatorSet, ValidatorsId,
};

/// SHA3-256 of the concatenation of `parts`.
pub fn sha3_256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Context::new(&SHA3_256);
    for part in parts {
        hasher.update(part);
    }
    bytes(&hasher.finish())
}

/// SHA3-256 of bytes that arrive in pieces.
#[derive(Clone)]
pub struct Sha3(Context);

impl Default for Sha3 {
    fn default() -> Self {
        Self(Context::new(&SHA3_256))
    }
}

impl Sha3 {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> [u8; 32] {
        bytes(&self.0.finish())
    }
}

fn bytes(digest: &Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA3-256 gives 32 bytes")
}

/// The account a public key controls.
pub fn address_of(key: &PublicKey) -> Address {
    Address(sha3_256(&[b"QBIND:ACCOUNT:v1", key.as_bytes()]))
}

/// Identifies a block by everything in it.
pub fn block_id(block: &Block) -> BlockId {
    header_id(&header(block))
}

/// A block without its list of batches.
pub fn header(block: &Block) -> BlockHeader {
    let tag = preimage::tag(block.network, "BLOCK_BATCHES");
    block.header(sha3_256(&[&tag, &qbind_types::encode(&block.batches)]))
}

/// The id of the block with this header.
pub fn header_id(header: &BlockHeader) -> BlockId {
    BlockId(sha3_256(&[&preimage::tag(header.network, "BLOCK"), &qbind_types::encode(header)]))
}

/// Identifies a batch by epoch, creator, round, parents and transaction ids, not by signatures.
pub fn batch_id(network: Network, batch: &Batch) -> BatchId {
    let mut hasher = Context::new(&SHA3_256);
    hasher.update(&preimage::tag(network, "BATCH_ID"));
    hasher.update(&batch.epoch.0.to_le_bytes());
    hasher.update(&batch.creator.0.to_le_bytes());
    hasher.update(&batch.round.to_le_bytes());
    hasher.update(&qbind_types::encode(&batch.parents));
    hasher.update(&(batch.transactions.len() as u64).to_le_bytes());
    for transaction in &batch.transactions {
        hasher.update(&tx_id(network, transaction).0);
    }
    BatchId(bytes(&hasher.finish()))
}

/// Identifies a validator set by its epoch and all its members.
pub fn validators_id(network: Network, set: &ValidatorSet) -> ValidatorsId {
    let tag = preimage::tag(network, "VALIDATORS");
    ValidatorsId(sha3_256(&[&tag, &qbind_types::encode(set)]))
}

/// Identifies a transaction by its signed fields; the key is bound through the sender's address.
pub fn tx_id(network: Network, transaction: &Transaction) -> TxId {
    TxId(sha3_256(&[&preimage::transaction(network, transaction)]))
}

/// Identifies a genesis file by its raw bytes.
pub fn genesis_hash(file: &[u8]) -> GenesisHash {
    GenesisHash(sha3_256(&[file]))
}
