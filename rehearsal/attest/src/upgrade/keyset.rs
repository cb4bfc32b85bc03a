//! The council's keys.

use crate::policy::{Algorithm, Instant};
use qbind_types::PublicKey;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const VERSION: &str = "1.0";
const BYTES: u64 = 4 * 1024 * 1024;

/// A council member's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CouncilKey {
    /// Who.
    pub member_id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// For whom they act; unknown ones are one organisation.
    #[serde(default)]
    pub organisation: String,
    /// 2,624 hexadecimal digits.
    pub public_key: PublicKey,
    /// Its scheme.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Approvals before do not count (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Instant>,
    /// Approvals after do not count (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Instant>,
    /// The key is worth nothing any more (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Instant>,
}

/// Whose approvals count, and how many are needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    /// `1.0`.
    pub keyset_version: String,
    /// The network whose council it is.
    pub network_environment: String,
    /// Members who must approve.
    pub threshold: usize,
    /// Members who must approve an emergency.
    pub emergency_threshold: usize,
    /// Organisations among them.
    #[serde(default = "one")]
    pub organisations: usize,
    /// The members.
    pub keys: Vec<CouncilKey>,
}

fn one() -> usize {
    1
}

/// Why a file is no keyset.
#[derive(Debug, Error)]
pub enum KeysetError {
    /// It cannot be read.
    #[error("cannot read the council's keys {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not one.
    #[error("{} is no council keyset: {detail}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl Keyset {
    /// Reads and checks a keyset.
    ///
    /// # Errors
    /// It cannot be read, or could never be met.
    pub fn load(path: &Path) -> Result<Self, KeysetError> {
        let io = |source| KeysetError::Io { path: path.to_owned(), source };
        let malformed = |detail| KeysetError::Malformed { path: path.to_owned(), detail };
        if fs::metadata(path).map_err(io)?.len() > BYTES {
            return Err(malformed(format!("it is larger than {BYTES} bytes")));
        }
        Self::parse(&fs::read(path).map_err(io)?).map_err(malformed)
    }

    /// Reads and checks the bytes of a keyset.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let keyset: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if keyset.keyset_version != VERSION {
            let found = &keyset.keyset_version;
            return Err(format!("keyset_version is {found:?}, expected {VERSION:?}"));
        }
        let (mut ids, mut keys, mut organisations) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for key in &keyset.keys {
            if !ids.insert(&key.member_id) {
                return Err(format!("member_id {:?} appears twice", key.member_id));
            }
            if !keys.insert(key.public_key.as_bytes()) {
                return Err(format!("the key of {:?} appears twice", key.member_id));
            }
            if key.algorithm != Algorithm::MlDsa44 {
                let id = &key.member_id;
                return Err(format!("UNSUPPORTED: the key of {id:?} is not ml-dsa-44"));
            }
            organisations.insert(&key.organisation);
        }
        let members = keyset.keys.len();
        for (name, wanted, most) in [
            ("threshold", keyset.threshold, members),
            ("emergency_threshold", keyset.emergency_threshold, keyset.threshold),
            ("organisations", keyset.organisations, organisations.len()),
        ] {
            if wanted == 0 || wanted > most {
                return Err(format!("{name} is {wanted}, expected 1 to {most}"));
            }
        }
        Ok(keyset)
    }

    /// The key of a member.
    pub fn member(&self, id: &str) -> Option<&CouncilKey> {
        self.keys.iter().find(|key| key.member_id == id)
    }
}
