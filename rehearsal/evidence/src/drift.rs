//! A signed word on whether an attestation still says something about the network.

use crate::{
    digest::{Digest, DigestPair},
    dsse::Envelope,
    facts::Subject,
    statement::{Predicate, STATEMENT_TYPE, Statement, rfc3339},
    trust::Trust,
};
use qbind_crypto::SecretKey;
use serde::{Deserialize, Serialize};

/// Type of the predicate.
pub const DRIFT_PREDICATE: &str = "https://qbind.org/attestation/drift/v1";
const SUBJECT: &str = "attestation";

/// What measuring again gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lasting {
    /// The network is the one that was measured.
    #[serde(rename = "STILL-VALID")]
    StillValid,
    /// It is another.
    #[serde(rename = "STALE")]
    Stale,
}

impl std::fmt::Display for Lasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::StillValid => "STILL-VALID",
            Self::Stale => "STALE",
        })
    }
}

/// Predicate `https://qbind.org/attestation/drift/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DriftNotice {
    /// The answer.
    pub result: Lasting,
    /// When the second measurement began, RFC 3339 in UTC with milliseconds.
    pub measured_at: String,
    /// SHA3-256 of its samples.
    pub samples_sha3_256: Digest,
    /// Why, one sentence each; empty where nothing changed.
    pub reasons: Vec<String>,
}

impl DriftNotice {
    /// Measured at this time.
    pub fn at(mut self, unix_ms: u64) -> Self {
        self.measured_at = rfc3339(unix_ms);
        self
    }

    fn statement(&self, about: &Statement<Predicate>) -> Statement<Self> {
        let digest = DigestPair::of(&about.to_bytes());
        Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { name: SUBJECT.to_owned(), digest }],
            predicate_type: DRIFT_PREDICATE.to_owned(),
            predicate: self.clone(),
        }
    }

    /// The bytes of the notice about this attestation, signed.
    pub fn sign(&self, about: &Statement<Predicate>, key: &SecretKey) -> Vec<u8> {
        let mut envelope = Envelope::new(&self.statement(about).to_bytes());
        envelope.sign(key);
        envelope.to_bytes()
    }

    /// Reads a notice about this attestation, signed by a key of `trust`.
    ///
    /// # Errors
    /// In words: another form, another attestation, no trusted or a wrong signature.
    pub fn read(bytes: &[u8], about: &Statement<Predicate>, trust: &Trust) -> Result<Self, String> {
        let envelope = Envelope::parse(bytes).map_err(|e| e.to_string())?;
        let payload = envelope.payload();
        let found: Statement<Self> =
            serde_json::from_slice(&payload).map_err(|e| format!("is not understood: {e}"))?;
        if found.predicate.statement(about).to_bytes() != payload {
            return Err("is about another attestation, or not written in the one way".to_owned());
        }
        let signed = envelope.signatures.iter().filter_map(|s| trust.find(s.keyid));
        let checked: Vec<bool> =
            signed.map(|key| envelope.is_signed_by(&key.public_key) == Some(true)).collect();
        match checked.as_slice() {
            [] => Err("is signed by no key of the trust file".to_owned()),
            all if all.contains(&false) => Err("has a wrong signature".to_owned()),
            _ => Ok(found.predicate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        VerifyOptions,
        seal::tests::{bundle, key},
        verify,
        verify::tests::trust,
    };

    #[test]
    fn a_notice_counts_for_its_attestation_under_a_trusted_key_only() {
        let bytes = bundle();
        let about = verify(&bytes[..], &VerifyOptions::default()).statement.unwrap();
        let notice = DriftNotice {
            result: Lasting::Stale,
            measured_at: String::new(),
            samples_sha3_256: Digest::of(&[b"samples"]),
            reasons: vec!["eu -> us moved".to_owned()],
        }
        .at(1_770_681_600_000);
        let signed = notice.sign(&about, &key(1));
        assert_eq!(DriftNotice::read(&signed, &about, &trust()), Ok(notice.clone()));
        let read = |bytes: &[u8]| DriftNotice::read(bytes, &about, &trust()).unwrap_err();
        assert!(read(&notice.sign(&about, &key(9))).contains("no key of the trust file"));
        let mut other = about.clone();
        other.predicate.run_id = "other".to_owned();
        assert!(read(&notice.sign(&other, &key(1))).contains("another attestation"));
        let mut forged = Envelope::new(&notice.statement(&about).to_bytes());
        forged.sign(&key(1));
        let swapped = DriftNotice { result: Lasting::StillValid, ..notice };
        let mut envelope = Envelope::new(&swapped.statement(&about).to_bytes());
        envelope.signatures = forged.signatures;
        assert!(read(&envelope.to_bytes()).contains("wrong signature"));
    }
}
