//! SHA3-256, for the state tree, the receipts tree and the genesis file.

use sha3::{Digest, Sha3_256};

/// SHA3-256 of the concatenation of `parts`.
pub(crate) fn sha3_256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha3_256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
