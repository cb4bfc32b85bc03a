//! An account and its bytes on disk and in the state tree.

use qbind_types::Address;

/// Bytes of an encoded account.
pub const ACCOUNT_BYTES: usize = 24;
/// Bytes of an account's key.
pub const ACCOUNT_KEY_BYTES: usize = 37;

/// What the state knows of an address; an address never seen has nonce 0 and balance 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Account {
    /// The nonce its next transaction must carry.
    pub nonce: u64,
    /// Smallest units it holds.
    pub balance: u128,
}

/// Bytes of the wrong length where an account should be: a damaged database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an account takes {ACCOUNT_BYTES} bytes, found {got}")]
pub struct AccountBytesError {
    /// Bytes found.
    pub got: usize,
}

impl Account {
    /// Nonce then balance, big-endian.
    pub fn encode(&self) -> [u8; ACCOUNT_BYTES] {
        let mut out = [0; ACCOUNT_BYTES];
        out[..8].copy_from_slice(&self.nonce.to_be_bytes());
        out[8..].copy_from_slice(&self.balance.to_be_bytes());
        out
    }

    /// Reads what [`Account::encode`] wrote.
    ///
    /// # Errors
    /// The world's fault: any other length. Never read as an empty account.
    pub fn decode(bytes: &[u8]) -> Result<Self, AccountBytesError> {
        let bytes: &[u8; ACCOUNT_BYTES] =
            bytes.try_into().map_err(|_| AccountBytesError { got: bytes.len() })?;
        let (nonce, balance) = bytes.split_at(8);
        Ok(Self {
            nonce: u64::from_be_bytes(nonce.try_into().expect("8 of 24")),
            balance: u128::from_be_bytes(balance.try_into().expect("16 of 24")),
        })
    }
}

/// The account's key in the database; its SHA3-256 is the key in the state tree.
///
/// *Shape*: `acct:` and the 32 bytes of the address.
pub fn account_key(address: &Address) -> [u8; ACCOUNT_KEY_BYTES] {
    let mut out = [0; ACCOUNT_KEY_BYTES];
    out[..5].copy_from_slice(b"acct:");
    out[5..].copy_from_slice(&address.0);
    out
}
