//! Hands the files of a bundle over while it is verified, and no more of them than the signed statement
//! speaks of: who judges the run afterwards need not unpack it a second time.

use crate::{
    dsse::Envelope,
    statement::{Predicate, Statement},
    trust::Trust,
};
use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// Takes files as they come: name, size in bytes, and content. It is called from several threads; a file of at
/// most 8 MiB comes in one piece, a larger one in several, in order, from one thread.
pub type Take<'a> = dyn Fn(&str, u64, &[u8]) + Sync + 'a;

/// Hands over as much as was signed for.
pub(super) struct Handover<'a> {
    take: &'a Take<'a>,
    trust: Option<&'a Trust>,
    /// Bytes that may still come; not set before the statement was seen, which is the first file of all.
    left: OnceLock<AtomicU64>,
}

impl<'a> Handover<'a> {
    pub(super) fn new(take: &'a Take<'a>, trust: Option<&'a Trust>) -> Self {
        Self { take, trust, left: OnceLock::new() }
    }

    /// Reads in the attestation how many bytes the evidence has. Where a trust file is given, a key of it must
    /// have signed that: a stranger fills nobody's disk.
    pub(super) fn permit(&self, attestation: &[u8]) {
        let Ok(envelope) = Envelope::parse(attestation) else { return };
        let signed = |trust: &Trust| {
            trust.keys.iter().any(|key| envelope.is_signed_by(&key.public_key) == Some(true))
        };
        if !self.trust.is_none_or(signed) {
            return;
        }
        let statement = serde_json::from_slice::<Statement<Predicate>>(&envelope.payload());
        if let Ok(statement) = statement {
            let bytes = statement.predicate.evidence.bytes;
            self.left.get_or_init(|| AtomicU64::new(bytes));
        }
    }

    /// Hands a piece over; what goes beyond the signed number belongs to no valid bundle.
    pub(super) fn piece(&self, name: &str, size: u64, piece: &[u8]) {
        let Some(left) = self.left.get() else { return };
        let without = |left: u64| left.checked_sub(piece.len() as u64);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).is_ok() {
            (self.take)(name, size, piece);
        }
    }
}
