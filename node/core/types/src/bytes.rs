//! Fixed-length byte strings: hashes, keys, signatures.

use alloc::{format, string::String, sync::Arc};
use borsh::{BorshDeserialize, BorshSerialize, io};
use core::{fmt, str::FromStr};

/// Bytes of an ML-DSA-44 public key (FIPS 204, table 2).
pub const PUBLIC_KEY_BYTES: usize = 1312;
/// Bytes of an ML-DSA-44 signature (FIPS 204, table 2).
pub const SIGNATURE_BYTES: usize = 2420;

/// Text is not `0x`-optional hexadecimal of the right length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseHexError {
    /// Hexadecimal digits expected.
    pub expected_digits: usize,
}

impl fmt::Display for ParseHexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.expected_digits)
    }
}

impl core::error::Error for ParseHexError {}

macro_rules! hash32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
            Default,
        )]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(0x{}…)", stringify!($name), hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;
            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0u8; 32];
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| ParseHexError { expected_digits: 64 })?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash32!(
    /// SHA3-256 over the canonical encoding of a block, without any signature.
    BlockId
);
hash32!(
    /// SHA3-256 over epoch, creator, round, parent and transaction ids of a batch.
    BatchId
);
hash32!(
    /// SHA3-256 over the signed fields of a transaction.
    TxId
);
hash32!(
    /// Root of the authenticated state: the accounts and everything beside them.
    StateRoot
);
hash32!(
    /// Commits to the part of the state that is not accounts.
    SystemRoot
);
hash32!(
    /// SHA3-256 over the canonical encoding of a validator set.
    ValidatorsId
);
hash32!(
    /// SHA3-256 of the genesis file's bytes.
    GenesisHash
);
hash32!(
    /// An account: SHA3-256 of its public key under the account domain tag.
    Address
);

macro_rules! long_bytes {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<[u8; $len]>);

        impl $name {
            /// Takes exactly the right number of bytes, else `None`.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                let bytes: [u8; $len] = bytes.try_into().ok()?;
                Some(Self(Arc::new(bytes)))
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl BorshSerialize for $name {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                writer.write_all(&self.0[..])
            }
        }

        impl BorshDeserialize for $name {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                let mut bytes = [0u8; $len];
                reader.read_exact(&mut bytes)?;
                Ok(Self(Arc::new(bytes)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), hex::encode(&self.0[..4]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&format!("0x{}", hex::encode(&self.0[..])))
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;
            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let mut bytes = [0u8; $len];
                hex::decode_to_slice(digits, &mut bytes)
                    .map_err(|_| ParseHexError { expected_digits: 2 * $len })?;
                Ok(Self(Arc::new(bytes)))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

long_bytes!(
    /// An ML-DSA-44 public key, 1,312 bytes.
    PublicKey,
    PUBLIC_KEY_BYTES
);
long_bytes!(
    /// An ML-DSA-44 signature, 2,420 bytes.
    Signature,
    SIGNATURE_BYTES
);
