//! What a person who was not there decides about a bundle, signed by itself.
//!
//! A sign-off is a DSSE envelope with one signature, in `sign-offs/<key id>.dsse.json`. Its subject is
//! the payload of the attestation, and so, through plan digest and Merkle root, every file.

use crate::{
    digest::{Digest, DigestPair},
    dsse::{Envelope, key_id},
    facts::Subject,
    layout,
    statement::{STATEMENT_TYPE, Statement, rfc3339},
};
use qbind_crypto::SecretKey;
use serde::{Deserialize, Serialize};

/// Type of the sign-off predicate.
pub const SIGN_OFF_PREDICATE: &str = "https://qbind.org/attestation/sign-off/v1";
/// Name of the subject.
const SUBJECT: &str = "attestation";
/// Longest reason, in bytes.
pub const REASON_BYTES: usize = 4_096;
/// Most gates one sign-off waives.
const WAIVERS: usize = 64;
/// Longest name of a gate, in bytes.
const GATE_BYTES: usize = 64;
/// Most decisions of others that one names.
const SEEN: usize = 256;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go on.
    Approve,
    /// Do not.
    Reject,
}

/// Why a gate that did not pass shall not stand in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// Its id.
    pub gate: String,
    /// The reason.
    pub reason: String,
}

/// Predicate `https://qbind.org/attestation/sign-off/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignOff {
    /// Yes or no.
    pub decision: Decision,
    /// As what the signer decides; the policy says who may.
    pub role: String,
    /// Why; required to reject.
    pub reason: String,
    /// When, RFC 3339 in UTC with milliseconds.
    pub decided_at: String,
    /// Whether the signer judged the raw files again, with the same result.
    pub recomputed: bool,
    /// Gates that did not pass and are let through, sorted by id.
    pub waivers: Vec<Waiver>,
    /// Decisions of others that were there, sorted by key: who leaves one out is found out.
    pub seen: Vec<Seen>,
}

/// Somebody else's decision that a signer saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Seen {
    /// Whose.
    pub keyid: Digest,
    /// When they decided.
    pub decided_at: String,
}

/// A sign-off as found in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedOff {
    /// Who signed.
    pub keyid: Digest,
    /// Whether the signature is right; `None` where the key is not among those asked about.
    pub is_signed: Option<bool>,
    /// What it says.
    pub sign_off: SignOff,
}

fn unix_ms(rfc3339: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(rfc3339).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// What `decided` saw of others and `found` does not hold as it was, or later; in words.
pub(crate) fn left_out(decided: &SignOff, found: &[SignedOff]) -> Option<String> {
    decided.seen.iter().find_map(|seen| {
        let there = found.iter().find(|other| other.keyid == seen.keyid);
        match there.and_then(|other| other.sign_off.decided_unix_ms()) {
            None => Some(format!("saw the decision of key {}, which was left out", seen.keyid)),
            Some(at) if Some(at) < unix_ms(&seen.decided_at) => Some(format!(
                "saw a decision of key {}, in whose place an earlier one lies",
                seen.keyid
            )),
            Some(_) => None,
        }
    })
}

/// The file of a key's sign-off.
pub(crate) fn file_of(key: Digest) -> String {
    format!("{}/{key}.dsse.json", layout::SIGN_OFFS)
}

/// The key whose sign-off a file must be.
pub(crate) fn key_of(file: &str) -> Option<Digest> {
    let name = file.strip_prefix(layout::SIGN_OFFS)?.strip_prefix('/')?;
    name.strip_suffix(".dsse.json")?.parse().ok()
}

fn statement(attestation: &[u8], sign_off: SignOff) -> Statement<SignOff> {
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject { name: SUBJECT.to_owned(), digest: DigestPair::of(attestation) }],
        predicate_type: SIGN_OFF_PREDICATE.to_owned(),
        predicate: sign_off,
    }
}

impl SignOff {
    /// Decided now.
    pub fn at(mut self, unix_ms: u64) -> Self {
        self.decided_at = rfc3339(unix_ms);
        self
    }

    /// When, Unix milliseconds.
    pub fn decided_unix_ms(&self) -> Option<u64> {
        unix_ms(&self.decided_at)
    }

    fn check(&self) -> Result<(), &'static str> {
        let reject = self.decision == Decision::Reject;
        if reject && self.reason.trim().is_empty() {
            return Err("rejects without a reason");
        }
        if reject && !self.waivers.is_empty() {
            return Err("rejects and waives");
        }
        let texts = self.waivers.iter().map(|w| &w.reason).chain([&self.reason, &self.role]);
        if texts.clone().any(|text| text.len() > REASON_BYTES) {
            return Err("has a text that is too long");
        }
        if self.waivers.iter().any(|w| w.reason.trim().is_empty()) {
            return Err("waives a gate without a reason");
        }
        let sorted = self.waivers.windows(2).all(|pair| pair[0].gate < pair[1].gate);
        if !sorted || self.waivers.len() > WAIVERS {
            return Err("has unsorted, repeated or too many waivers");
        }
        if self.waivers.iter().any(|w| w.gate.len() > GATE_BYTES) {
            return Err("waives a gate with a name that is too long");
        }
        let sorted = self.seen.windows(2).all(|pair| pair[0].keyid < pair[1].keyid);
        let is_time = |seen: &Seen| unix_ms(&seen.decided_at).is_some();
        if !sorted || self.seen.len() > SEEN || !self.seen.iter().all(is_time) {
            return Err("has unsorted, repeated, too many or undated decisions of others");
        }
        if self.decided_unix_ms().is_none_or(|ms| rfc3339(ms) != self.decided_at) {
            return Err("has a time that is not RFC 3339 in UTC with milliseconds");
        }
        Ok(())
    }

    /// The file's bytes: the sign-off about this attestation's payload, signed.
    ///
    /// # Errors
    /// The signer's fault, in words.
    pub(crate) fn sign(self, attestation: &[u8], key: &SecretKey) -> Result<Vec<u8>, &'static str> {
        self.check()?;
        let mut envelope = Envelope::new(&statement(attestation, self).to_bytes());
        envelope.sign(key);
        Ok(envelope.to_bytes())
    }

    /// Reads the file of `key`; says in words what is wrong with it.
    pub(crate) fn read(
        bytes: &[u8],
        key: Digest,
        attestation: &[u8],
    ) -> Result<(Self, Envelope), String> {
        let envelope = Envelope::parse(bytes).map_err(|e| e.to_string())?;
        if envelope.signatures.len() != 1 || envelope.signatures[0].keyid != key {
            return Err("is not signed by the key it is named after, and by no other".to_owned());
        }
        let payload = envelope.payload();
        let found: Statement<Self> =
            serde_json::from_slice(&payload).map_err(|e| format!("is not understood: {e}"))?;
        if found.statement_type != STATEMENT_TYPE || found.predicate_type != SIGN_OFF_PREDICATE {
            return Err(format!("has the predicate type {:?}", found.predicate_type));
        }
        if found.subject.first().map(|s| s.digest) != Some(DigestPair::of(attestation)) {
            return Err("is about another attestation".to_owned());
        }
        found.predicate.check()?;
        let expected = statement(attestation, found.predicate.clone());
        if expected.to_bytes() != payload {
            return Err("is not written in the one way there is".to_owned());
        }
        Ok((found.predicate, envelope))
    }
}

/// The id under which a key signs off.
pub(crate) fn id_of(key: &SecretKey) -> Digest {
    key_id(&key.public_key())
}
