//! Hands the files of a bundle over while it is verified: who judges the run afterwards need not unpack it a
//! second time.
//!
//! The attestation is the first file of all, and says how many bytes of evidence there are and what their
//! Merkle root is. What comes before the manifest is handed over up to that many bytes; what comes after it,
//! plan and metrics among it, only if the manifest has that root and lists it.

use crate::{
    digest::Digest,
    dsse::Envelope,
    manifest::{Manifest, ManifestFile},
    statement::{EvidenceSummary, Predicate, Statement},
    trust::Trust,
};
use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Takes files as they come: name, size in bytes, and content. It is called from several threads; a file of at
/// most 8 MiB comes in one piece, a larger one in several, in order, from one thread.
pub type Take<'a> = dyn Fn(&str, u64, &[u8]) + Sync + 'a;

/// Hands over what was signed for.
pub(super) struct Handover<'a> {
    take: &'a Take<'a>,
    trust: Option<&'a Trust>,
    signed: OnceLock<Signed>,
    /// Size and digest of each file by name; not set before the manifest was seen.
    listed: OnceLock<BTreeMap<String, (u64, Digest)>>,
}

struct Signed {
    root: Digest,
    /// Bytes that may still come.
    left: AtomicU64,
}

impl<'a> Handover<'a> {
    pub(super) fn new(take: &'a Take<'a>, trust: Option<&'a Trust>) -> Self {
        Self { take, trust, signed: OnceLock::new(), listed: OnceLock::new() }
    }

    /// Reads the attestation. Where a trust file is given, a key of it must have signed.
    pub(super) fn attested(&self, attestation: &[u8]) {
        let Ok(envelope) = Envelope::parse(attestation) else { return };
        let signed = |trust: &Trust| {
            trust.keys.iter().any(|key| envelope.is_signed_by(&key.public_key) == Some(true))
        };
        if !self.trust.is_none_or(signed) {
            return;
        }
        let statement = serde_json::from_slice::<Statement<Predicate>>(&envelope.payload());
        if let Ok(statement) = statement {
            let EvidenceSummary { merkle_root: root, bytes, .. } = statement.predicate.evidence;
            self.signed.get_or_init(|| Signed { root, left: AtomicU64::new(bytes) });
        }
    }

    /// Reads the manifest; of one that was not signed nothing more is handed over.
    pub(super) fn listed(&self, manifest: &[u8]) {
        let Some(signed) = self.signed.get() else { return };
        let manifest = Manifest::parse(manifest).ok().filter(|m| m.merkle_root == signed.root);
        let entry = |ManifestFile { path, size, sha3_256 }| (path, (size, sha3_256));
        let files = manifest.into_iter().flat_map(|manifest| manifest.files);
        self.listed.get_or_init(|| files.map(entry).collect());
    }

    /// Hands a whole file over.
    pub(super) fn whole(&self, name: &str, content: &[u8], digest: Digest) {
        let size = content.len() as u64;
        if self.listed.get().is_none_or(|listed| listed.get(name) == Some(&(size, digest))) {
            self.piece(name, size, content);
        }
    }

    /// Hands a piece of a file over; its digest is not known yet.
    pub(super) fn piece(&self, name: &str, size: u64, piece: &[u8]) {
        let Some(Signed { left, .. }) = self.signed.get() else { return };
        let is_listed =
            |listed: &BTreeMap<_, (u64, _)>| listed.get(name).is_some_and(|file| file.0 == size);
        if !self.listed.get().is_none_or(is_listed) {
            return;
        }
        let without = |left: u64| left.checked_sub(piece.len() as u64);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).is_ok() {
            (self.take)(name, size, piece);
        }
    }
}
