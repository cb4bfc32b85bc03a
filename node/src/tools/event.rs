//! A key rotation as operators hand it around: JSON, keys in base64.

use base64::{Engine, prelude::BASE64_STANDARD};
use qbind_types::{Epoch, KeyRole, KeyRotation, PublicKey, RotationKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is no rotation event; its author's fault.
#[derive(Debug, Error)]
pub enum EventError {
    /// No JSON of this shape.
    #[error("not a rotation event: {0}")]
    Shape(#[from] serde_json::Error),
    /// A key is no key.
    #[error(
        "{field} is not an ML-DSA-44 public key of {} bytes in base64",
        qbind_types::PUBLIC_KEY_BYTES
    )]
    Key {
        /// Which.
        field: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum KeyKind {
    Consensus,
    BatchSigning,
    P2pIdentity,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Urgency {
    #[default]
    Scheduled,
    Emergency,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    validator_id: u64,
    key_kind: KeyKind,
    old_key: String,
    new_key: String,
    effective_epoch: u64,
    grace_epochs: u64,
    #[serde(default)]
    kind: Urgency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A planned rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationEvent {
    /// The key that is given up: the chain must agree.
    pub old_key: PublicKey,
    /// What the registry is asked for.
    pub rotation: KeyRotation,
    /// For people.
    pub reason: Option<String>,
}

impl RotationEvent {
    /// Reads the JSON.
    ///
    /// # Errors
    /// The author's fault.
    pub fn parse(text: &str) -> Result<Self, EventError> {
        let file: File = serde_json::from_str(text)?;
        let key = |field, text: &str| {
            let bytes = BASE64_STANDARD.decode(text).map_err(|_| EventError::Key { field })?;
            PublicKey::from_slice(&bytes).ok_or(EventError::Key { field })
        };
        let rotation = KeyRotation {
            validator_id: file.validator_id,
            role: match file.key_kind {
                KeyKind::Consensus => KeyRole::Consensus,
                KeyKind::BatchSigning => KeyRole::BatchSigning,
                KeyKind::P2pIdentity => KeyRole::P2pIdentity,
            },
            new_key: key("new_key", &file.new_key)?,
            effective_epoch: Epoch(file.effective_epoch),
            grace_epochs: file.grace_epochs,
            kind: match file.kind {
                Urgency::Scheduled => RotationKind::Scheduled,
                Urgency::Emergency => RotationKind::Emergency,
            },
        };
        Ok(Self { old_key: key("old_key", &file.old_key)?, rotation, reason: file.reason })
    }

    /// The JSON.
    pub fn text(&self) -> String {
        let base64 = |key: &PublicKey| BASE64_STANDARD.encode(key.as_bytes());
        let file = File {
            validator_id: self.rotation.validator_id,
            key_kind: match self.rotation.role {
                KeyRole::Consensus => KeyKind::Consensus,
                KeyRole::BatchSigning => KeyKind::BatchSigning,
                KeyRole::P2pIdentity => KeyKind::P2pIdentity,
            },
            old_key: base64(&self.old_key),
            new_key: base64(&self.rotation.new_key),
            effective_epoch: self.rotation.effective_epoch.0,
            grace_epochs: self.rotation.grace_epochs,
            kind: match self.rotation.kind {
                RotationKind::Scheduled => Urgency::Scheduled,
                RotationKind::Emergency => Urgency::Emergency,
            },
            reason: self.reason.clone(),
        };
        serde_json::to_string_pretty(&file).expect("plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_crypto::SecretKey;

    #[test]
    fn what_is_written_reads_back_and_a_foreign_text_is_refused() {
        let key = |seed| SecretKey::from_seed(&[seed; 32]).public_key();
        let event = RotationEvent {
            old_key: key(1),
            rotation: KeyRotation {
                validator_id: 42,
                role: KeyRole::Consensus,
                new_key: key(2),
                effective_epoch: Epoch(12_345),
                grace_epochs: 100,
                kind: RotationKind::Scheduled,
            },
            reason: None,
        };
        let text = event.text();
        assert_eq!(RotationEvent::parse(&text).unwrap(), event);
        // The runbook's example names no kind.
        let without = text.replace(",\n  \"kind\": \"Scheduled\"", "");
        assert!(!without.contains("kind\": \"S"));
        assert_eq!(RotationEvent::parse(&without).unwrap(), event);
        for (from, to, what) in [
            ("\"validator_id\"", "\"validator\"", "unknown field"),
            ("\"Consensus\"", "\"Nonsense\"", "unknown variant"),
            ("\"new_key\": \"", "\"new_key\": \"AA", "new_key is not"),
        ] {
            let error = RotationEvent::parse(&text.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
