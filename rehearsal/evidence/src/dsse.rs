//! DSSE envelopes signed with ML-DSA-44.
//!
//! Signatures are pure ML-DSA-44 with an empty context over the pre-authentication encoding, made
//! deterministically, so that the same evidence and key give the same bytes. A signature counts
//! only if both implementations of the scheme accept it.

use crate::digest::Digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use qbind_crypto::{AwsLc, Portable, Scheme, SecretKey};
use qbind_types::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Payload type of an in-toto statement.
pub const IN_TOTO_PAYLOAD: &str = "application/vnd.in-toto+json";
/// Most signatures an envelope may carry.
const SIGNATURES: usize = 64;

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// SHA3-256 of the public key, in hexadecimal.
    pub keyid: Digest,
    /// The signature, in base64.
    pub sig: String,
}

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    /// The signed bytes, in base64.
    pub payload: String,
    /// What they are.
    pub payload_type: String,
    /// Sorted by key id, each key once.
    pub signatures: Vec<EnvelopeSignature>,
}

/// Why bytes are not an envelope of this format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Not JSON, or with other fields.
    #[error("is not a DSSE envelope: {detail}")]
    Malformed {
        /// Line, column and reason.
        detail: String,
    },
    /// A payload type other than in-toto's.
    #[error("has the payload type {found:?}, expected {IN_TOTO_PAYLOAD:?}")]
    PayloadType {
        /// What it says.
        found: String,
    },
    /// Payload or a signature is not canonical base64 of the right length.
    #[error("has a {field} that is not canonical base64 of the right length")]
    Encoding {
        /// Which field.
        field: &'static str,
    },
    /// Too many signatures, unsorted ones, or one key twice.
    #[error("has unsorted, repeated or too many signatures")]
    Signatures,
    /// The same content written differently.
    #[error("is not written in the one way there is")]
    NotCanonical,
}

/// The DSSE pre-authentication encoding: what is really signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The id of a key: SHA3-256 of its 1,312 bytes.
pub fn key_id(key: &PublicKey) -> Digest {
    Digest::of(&[key.as_bytes()])
}

impl Envelope {
    /// An envelope around an in-toto statement, without signatures yet.
    pub fn new(payload: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: IN_TOTO_PAYLOAD.to_owned(),
            signatures: Vec::new(),
        }
    }

    /// Reads an envelope, strictly: only the bytes [`Envelope::to_bytes`] writes are accepted.
    ///
    /// # Errors
    /// How the bytes depart from the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope: Self = serde_json::from_slice(bytes)
            .map_err(|e| EnvelopeError::Malformed { detail: e.to_string() })?;
        if envelope.payload_type != IN_TOTO_PAYLOAD {
            return Err(EnvelopeError::PayloadType { found: envelope.payload_type });
        }
        if envelope.decoded().is_none() {
            return Err(EnvelopeError::Encoding { field: "payload" });
        }
        let sorted = envelope.signatures.windows(2).all(|pair| pair[0].keyid < pair[1].keyid);
        if !sorted || envelope.signatures.len() > SIGNATURES {
            return Err(EnvelopeError::Signatures);
        }
        if envelope.signatures.iter().any(|signature| signature.decoded().is_none()) {
            return Err(EnvelopeError::Encoding { field: "signature" });
        }
        if envelope.to_bytes() != bytes {
            return Err(EnvelopeError::NotCanonical);
        }
        Ok(envelope)
    }

    /// The one way to write it: compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings serialise")
    }

    /// The signed bytes.
    pub fn payload(&self) -> Vec<u8> {
        self.decoded().unwrap_or_default()
    }

    fn decoded(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.payload).ok()
    }

    /// Adds a signature; a second one of the same key replaces the first.
    pub fn sign(&mut self, key: &SecretKey) {
        let keyid = key_id(&key.public_key());
        let message = pae(&self.payload_type, &self.payload());
        let signature = Portable::sign(key.seed(), &message);
        let sig = STANDARD.encode(signature.as_bytes());
        self.signatures.retain(|existing| existing.keyid != keyid);
        self.signatures.push(EnvelopeSignature { keyid, sig });
        self.signatures.sort_by_key(|signature| signature.keyid);
    }

    /// Whether `key` signed it; `None` when no signature names the key.
    pub fn is_signed_by(&self, key: &PublicKey) -> Option<bool> {
        let id = key_id(key);
        let found = self.signatures.iter().find(|signature| signature.keyid == id)?;
        let message = pae(&self.payload_type, &self.payload());
        Some(found.decoded().is_some_and(|signature| {
            AwsLc::verify(key, &message, &signature) && Portable::verify(key, &message, &signature)
        }))
    }
}

impl EnvelopeSignature {
    fn decoded(&self) -> Option<Signature> {
        Signature::from_slice(&STANDARD.decode(&self.sig).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_that_of_the_dsse_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn several_keys_sign_and_each_is_checked_by_itself() {
        let keys: Vec<_> = (1..=3).map(|n| SecretKey::from_seed(&[n; 32])).collect();
        let mut envelope = Envelope::new(b"{}");
        envelope.sign(&keys[0]);
        envelope.sign(&keys[1]);
        envelope.sign(&keys[0]);
        assert_eq!(envelope.signatures.len(), 2);
        let read = Envelope::parse(&envelope.to_bytes()).unwrap();
        assert_eq!(read.is_signed_by(&keys[0].public_key()), Some(true));
        assert_eq!(read.is_signed_by(&keys[1].public_key()), Some(true));
        assert_eq!(read.is_signed_by(&keys[2].public_key()), None);

        let mut other = read.clone();
        other.payload = STANDARD.encode(b"[]");
        assert_eq!(other.is_signed_by(&keys[0].public_key()), Some(false));

        // A signature under another key's id.
        let mut stolen = read;
        stolen.signatures.remove(1);
        stolen.signatures[0].keyid = key_id(&keys[2].public_key());
        assert_eq!(stolen.is_signed_by(&keys[2].public_key()), Some(false));
    }

    #[test]
    fn only_one_spelling_is_an_envelope() {
        let mut envelope = Envelope::new(b"{}");
        envelope.sign(&SecretKey::from_seed(&[1; 32]));
        envelope.sign(&SecretKey::from_seed(&[2; 32]));
        let good = String::from_utf8(envelope.to_bytes()).unwrap();
        assert!(Envelope::parse(good.as_bytes()).is_ok());
        let mut swapped = envelope.clone();
        swapped.signatures.swap(0, 1);
        let mut doubled = envelope.clone();
        doubled.signatures[1] = doubled.signatures[0].clone();
        let cases = [
            good.replace(",\"signatures\"", ", \"signatures\""),
            format!("{good}\n"),
            good.replace("\"payload\":\"e30=\"", "\"payload\":\"e30\""),
            good.replace("\"payload\":\"e30=\"", "\"payload\":\"e31=\""),
            good.replace("in-toto", "in-tutu"),
            good.replacen('{', "{\"extra\":1,", 1),
            good.replacen('{', "{\"payload\":\"e30=\",", 1),
            String::from_utf8(swapped.to_bytes()).unwrap(),
            String::from_utf8(doubled.to_bytes()).unwrap(),
        ];
        for (index, bad) in cases.iter().enumerate() {
            assert!(Envelope::parse(bad.as_bytes()).is_err(), "case {index}: {bad:.80}");
        }
    }
}
