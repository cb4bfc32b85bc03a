//! A key that signs bytes, wherever it lies.

use crate::HsmError;
use qbind_crypto::SecretKey;
use qbind_types::{PublicKey, Signature};
use std::fmt;

/// An ML-DSA-44 key.
pub trait Key: fmt::Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// Signs with fresh randomness (FIPS 204, algorithm 2, empty context). May block.
    ///
    /// # Errors
    /// The device's; a key in memory has none.
    fn sign(&self, message: &[u8]) -> Result<Signature, HsmError>;
}

impl Key for SecretKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, HsmError> {
        Ok(Self::sign(self, message))
    }
}
