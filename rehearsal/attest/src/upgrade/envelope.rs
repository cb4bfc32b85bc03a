//! The envelope: a JSON file, its digest, and the council's signatures.
//!
//! Version 1.0 is what councils have signed so far: each signature is over the 32 bytes of the digest.
//! Version 1.1 adds the evidence and whether it is an emergency to what is digested, and each signature
//! also covers the member's id and the time.

use crate::policy::Instant;
use qbind_crypto::{AwsLc, Portable, Scheme, SecretKey, sha3_256};
use qbind_types::{PublicKey, Signature};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The version written here.
pub const VERSION: &str = "1.1";
/// The version before, without evidence.
pub const VERSION_OLD: &str = "1.0";
/// Kind of evidence: a dress rehearsal, named by the Merkle root of its bundle, which stays the same
/// while signatures are added.
pub const MERKLE_KIND: &str = "t238_5";
const DIGEST_TAG: &[u8] = b"QBIND-ENVELOPE-v1:";
const APPROVAL_TAG: &str = "QBIND-ENVELOPE-APPROVAL-v1.1";
const BYTES: u64 = 4 * 1024 * 1024;
const APPROVALS: usize = 256;

/// What an upgrade changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nothing that consensus sees; maintainers decide, no council.
    ANonConsensus,
    /// Something that old and new nodes agree about; rolled out node by node.
    BConsensusCompatible,
    /// A hard fork, at a height.
    CHardFork,
}

/// What an envelope stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// [`MERKLE_KIND`].
    pub kind: String,
    /// Merkle root of the bundle, 64 hexadecimal digits.
    pub sha3_256: String,
    /// Where it may be found; says nothing about what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
}

/// A council member's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub member_id: String,
    /// With which key, 2,624 hexadecimal digits.
    pub public_key: String,
    /// 4,840 hexadecimal digits.
    pub signature: String,
    /// When (ISO 8601); signed in version 1.1 only.
    pub timestamp: String,
}

/// An upgrade, as the council approves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`VERSION`] or [`VERSION_OLD`].
    pub envelope_version: String,
    /// Its name.
    pub envelope_id: String,
    /// The protocol's version after the upgrade.
    pub protocol_version: String,
    /// `devnet`, `testnet` or `mainnet`.
    pub network_environment: String,
    /// What it changes.
    pub class: Class,
    /// The software's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// From which height on; above zero for a hard fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_height: Option<u64>,
    /// Platform, such as `linux-x86_64`, to SHA3-256 of the node's binary, 64 hexadecimal digits.
    #[serde(deserialize_with = "once_each")]
    pub binary_hashes: BTreeMap<String, String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Whether the emergency threshold is asked for (1.1).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// What it stands on (1.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// Who approved.
    #[serde(default)]
    pub council_approvals: Vec<Approval>,
}

/// Why a file is no envelope.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// It cannot be read.
    #[error("cannot read the envelope {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not one.
    #[error("{} is no upgrade envelope: {detail}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl Envelope {
    /// Reads and checks an envelope.
    ///
    /// # Errors
    /// It cannot be read, or says nothing that could be approved.
    pub fn load(path: &Path) -> Result<Self, EnvelopeError> {
        let io = |source| EnvelopeError::Io { path: path.to_owned(), source };
        let malformed = |detail| EnvelopeError::Malformed { path: path.to_owned(), detail };
        if fs::metadata(path).map_err(io)?.len() > BYTES {
            return Err(malformed(format!("it is larger than {BYTES} bytes")));
        }
        Self::parse(&fs::read(path).map_err(io)?).map_err(malformed)
    }

    /// Reads and checks the bytes of an envelope.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let envelope: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        envelope.check()?;
        Ok(envelope)
    }

    /// What every envelope must be.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let old = match self.envelope_version.as_str() {
            VERSION => false,
            VERSION_OLD => true,
            other => return Err(format!("envelope_version is {other:?}, expected 1.0 or 1.1")),
        };
        for (key, text) in
            [("envelope_id", &self.envelope_id), ("protocol_version", &self.protocol_version)]
        {
            if text.trim().is_empty() {
                return Err(format!("{key} is empty"));
            }
        }
        if !["devnet", "testnet", "mainnet"].contains(&self.network_environment.as_str()) {
            let found = &self.network_environment;
            return Err(format!(
                "network_environment is {found:?}, expected devnet, testnet or mainnet"
            ));
        }
        if self.class == Class::CHardFork && self.activation_height.is_none_or(|h| h == 0) {
            return Err("a hard fork needs an activation_height above 0".to_owned());
        }
        if self.binary_hashes.is_empty() {
            return Err("binary_hashes is empty".to_owned());
        }
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if let Some(bad) = self.binary_hashes.keys().find(|p| p.is_empty() || !p.bytes().all(plain))
        {
            return Err(format!("{bad:?} is no platform, such as linux-x86_64"));
        }
        let digests = self.binary_hashes.values().chain(self.evidence.iter().map(|e| &e.sha3_256));
        if let Some(bad) = digests.into_iter().find(|d| !is_digest(d)) {
            return Err(format!("{bad:?} is not 64 lowercase hexadecimal digits"));
        }
        if let Some(other) = self.evidence.iter().find(|e| e.kind != MERKLE_KIND) {
            return Err(format!("evidence of kind {:?}, expected {MERKLE_KIND:?}", other.kind));
        }
        if old && (self.emergency || !self.evidence.is_empty()) {
            return Err("version 1.0 has neither evidence nor emergency; use 1.1".to_owned());
        }
        if self.council_approvals.len() > APPROVALS {
            return Err(format!("more than {APPROVALS} approvals"));
        }
        Ok(())
    }

    /// SHA3-256 over `QBIND-ENVELOPE-v1:` and the envelope without its approvals: compact JSON, keys
    /// sorted, without what is empty.
    pub fn digest(&self) -> [u8; 32] {
        let mut fields: BTreeMap<&str, Value> = BTreeMap::from([
            ("binary_hashes", json!(self.binary_hashes)),
            ("class", json!(self.class)),
            ("envelope_id", json!(self.envelope_id)),
            ("envelope_version", json!(self.envelope_version)),
            ("network_environment", json!(self.network_environment)),
            ("protocol_version", json!(self.protocol_version)),
        ]);
        if let Some(height) = self.activation_height {
            fields.insert("activation_height", json!(height));
        }
        for (key, text) in [("notes", &self.notes), ("version", &self.version)] {
            if !text.is_empty() {
                fields.insert(key, json!(text));
            }
        }
        if self.emergency {
            fields.insert("emergency", json!(true));
        }
        if !self.evidence.is_empty() {
            let sorted = |e: &Evidence| {
                let mut item = BTreeMap::from([("kind", &e.kind), ("sha3_256", &e.sha3_256)]);
                if !e.uri.is_empty() {
                    item.insert("uri", &e.uri);
                }
                json!(item)
            };
            fields.insert("evidence", self.evidence.iter().map(sorted).collect());
        }
        let json = serde_json::to_vec(&fields).expect("texts and numbers");
        sha3_256(&[DIGEST_TAG, &json])
    }

    /// What a member signs.
    fn message(&self, member: &str, timestamp: &str) -> Vec<u8> {
        let digest = self.digest();
        if self.envelope_version == VERSION_OLD {
            return digest.to_vec();
        }
        format!("{APPROVAL_TAG}:{}:{member}:{timestamp}", hex::encode(digest)).into_bytes()
    }

    /// Adds a member's approval; one they gave before gives way.
    pub fn approve(&mut self, member: &str, at: Instant, key: &SecretKey) {
        let timestamp = at.to_string();
        let signature = Portable::sign(key.seed(), &self.message(member, &timestamp));
        self.council_approvals.retain(|approval| approval.member_id != member);
        self.council_approvals.push(Approval {
            member_id: member.to_owned(),
            public_key: hex::encode(key.public_key().as_bytes()),
            signature: hex::encode(signature.as_bytes()),
            timestamp,
        });
        self.council_approvals.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    }

    /// Whether `approval` is `key`'s signature under this envelope; both implementations must say so.
    pub(super) fn is_approved_by(&self, approval: &Approval, key: &PublicKey) -> bool {
        let bytes = hex::decode(&approval.signature).unwrap_or_default();
        let Some(signature) = Signature::from_slice(&bytes) else { return false };
        let message = self.message(&approval.member_id, &approval.timestamp);
        AwsLc::verify(key, &message, &signature) && Portable::verify(key, &message, &signature)
    }

    /// The file: two spaces of indentation and a final newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and numbers") + "\n"
    }
}

/// A map in which a key that stands twice is refused: readers would disagree which one counts.
fn once_each<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Once;
    impl<'de> Visitor<'de> for Once {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of platforms to digests")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, String>()? {
                if all.insert(key.clone(), value).is_some() {
                    return Err(A::Error::custom(format!("{key:?} stands twice")));
                }
            }
            Ok(all)
        }
    }
    from.deserialize_map(Once)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
