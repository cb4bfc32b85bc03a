//! What each signature is made over: a domain tag, then fixed-width fields, little-endian.

use qbind_types::{BatchRef, BlockId, Epoch, Network, Transaction, ValidatorIndex, View};

/// `QBIND:<DEV|TST|MAIN>:<kind>:v1`, the first field of every preimage.
pub fn tag(network: Network, kind: &str) -> Vec<u8> {
    format!("QBIND:{}:{kind}:v1", network.tag()).into_bytes()
}

/// First-phase vote.
pub fn vote(network: Network, epoch: Epoch, view: View, block: &BlockId) -> Vec<u8> {
    for_block(tag(network, "VOTE"), epoch, view, block)
}

/// Second-phase vote.
pub fn commit(network: Network, epoch: Epoch, view: View, block: &BlockId) -> Vec<u8> {
    for_block(tag(network, "COMMIT"), epoch, view, block)
}

fn for_block(mut out: Vec<u8>, epoch: Epoch, view: View, block: &BlockId) -> Vec<u8> {
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(&view.0.to_le_bytes());
    out.extend_from_slice(&block.0);
    out
}

/// Timeout vote.
pub fn timeout(network: Network, epoch: Epoch, view: View, high_qc_view: View) -> Vec<u8> {
    let mut out = tag(network, "TIMEOUT");
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(&view.0.to_le_bytes());
    out.extend_from_slice(&high_qc_view.0.to_le_bytes());
    out
}

/// A leader's signature on its block.
pub fn proposal(network: Network, block: &BlockId) -> Vec<u8> {
    let mut out = tag(network, "PROPOSAL");
    out.extend_from_slice(&block.0);
    out
}

/// A creator's signature on its batch.
pub fn batch(network: Network, batch: &BatchRef) -> Vec<u8> {
    let mut out = tag(network, "BATCH");
    out.extend_from_slice(&qbind_types::encode(batch));
    out
}

/// An availability ack.
pub fn ack(network: Network, batch: &BatchRef, validator: ValidatorIndex) -> Vec<u8> {
    let mut out = tag(network, "BATCH_ACK");
    out.extend_from_slice(&qbind_types::encode(batch));
    out.extend_from_slice(&validator.0.to_le_bytes());
    out
}

/// A node's proof to a peer, over what both said and the channel it was said on.
pub fn peer(network: Network, said: &[u8]) -> Vec<u8> {
    let mut out = tag(network, "PEER");
    out.extend_from_slice(said);
    out
}

/// A transfer: sender, nonce, payload with its length, suite.
pub fn transaction(network: Network, transaction: &Transaction) -> Vec<u8> {
    let mut out = tag(network, "TX");
    out.extend_from_slice(&transaction.sender.0);
    out.extend_from_slice(&transaction.nonce.to_le_bytes());
    out.extend_from_slice(&(transaction.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&transaction.payload);
    out.extend_from_slice(&transaction.suite.to_le_bytes());
    out
}
