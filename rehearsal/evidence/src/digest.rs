//! Digests of evidence: lowercase hexadecimal, as `openssl dgst` and in-toto write them.

use qbind_crypto::Sha3;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::{fmt, fs::File, io, io::Read, path::Path, str::FromStr};

/// A 32-byte digest; printed as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// SHA3-256 over the concatenation of `parts`.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut digester = Digester::default();
        for part in parts {
            digester.update(part);
        }
        digester.finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // One spelling only: upper case would be a second encoding of the same digest.
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err("expected 64 lowercase hexadecimal digits");
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| "expected 64 lowercase hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// SHA3-256 of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Digester(Sha3);

impl Digester {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finish())
    }
}

/// One artifact under the two algorithms that policy engines ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestPair {
    /// SHA-256.
    pub sha256: Digest,
    /// SHA3-256.
    pub sha3_256: Digest,
}

impl DigestPair {
    /// Both digests of a byte string.
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Digest(Sha256::digest(bytes).into()), sha3_256: Digest::of(&[bytes]) }
    }
}

/// Both digests of a file, and its size in bytes.
///
/// # Errors
/// The world's fault: the file cannot be read.
pub fn digest_of_file(path: &Path) -> io::Result<(DigestPair, u64)> {
    let mut file = File::open(path)?;
    let (mut sha256, mut sha3) = (Sha256::new(), Digester::default());
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        sha3.update(&buffer[..read]);
        size += read as u64;
    }
    Ok((DigestPair { sha256: Digest(sha256.finalize().into()), sha3_256: sha3.finish() }, size))
}
