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

/// SHA3-256 as the Merkle tree library wants it: it is written against an older `digest`.
pub(crate) struct TreeHasher(Sha3_256);

impl jmt::SimpleHasher for TreeHasher {
    fn new() -> Self {
        Self(Sha3_256::new())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
