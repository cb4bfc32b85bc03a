//! Hands the files of a bundle over while it is verified: who judges the run afterwards need not unpack it a
//! second time.
//!
//! The attestation is the first file of all, and says how many bytes of evidence there are and what their
//! Merkle root is. What sorts before the manifest is handed over up to that many bytes; what sorts after it,
//! plan and metrics among it, only if a manifest with that root came and lists it.

use crate::{
    digest::Digest,
    dsse::Envelope,
    layout,
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
/// most 8 MiB comes in one piece, and so do the plan and the gates; a larger one in several, in order, from one
/// thread.
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

    /// Hands a whole file over, or reads what it says about the others.
    pub(super) fn whole(&self, name: &str, content: &[u8], digest: Digest) {
        match name {
            layout::ATTESTATION => self.attestation(content),
            layout::MANIFEST => self.manifest(content),
            _ => {
                let size = content.len() as u64;
                self.hand_over(name, size, content, |listed| *listed == (size, digest));
            }
        }
    }

    /// Hands a piece of a large file over; its digest is not known yet.
    pub(super) fn piece(&self, name: &str, size: u64, piece: &[u8]) {
        self.hand_over(name, size, piece, |listed| listed.0 == size);
    }

    /// Where a trust file is given, a key of it must have signed.
    fn attestation(&self, bytes: &[u8]) {
        let Ok(envelope) = Envelope::parse(bytes) else { return };
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

    /// One that was not signed lists nothing.
    fn manifest(&self, bytes: &[u8]) {
        let Some(signed) = self.signed.get() else { return };
        let manifest = Manifest::parse(bytes).ok().filter(|m| m.merkle_root == signed.root);
        let entry = |ManifestFile { path, size, sha3_256 }| (path, (size, sha3_256));
        let files = manifest.into_iter().flat_map(|manifest| manifest.files);
        self.listed.get_or_init(|| files.map(entry).collect());
    }

    fn hand_over(
        &self,
        name: &str,
        size: u64,
        piece: &[u8],
        is_right: impl FnOnce(&(u64, Digest)) -> bool,
    ) {
        let Some(Signed { left, .. }) = self.signed.get() else { return };
        let is_meant = match self.listed.get() {
            Some(listed) => listed.get(name).is_some_and(is_right),
            None => name < layout::MANIFEST,
        };
        let without = |left: u64| left.checked_sub(piece.len() as u64);
        if is_meant
            && !layout::is_envelope(name)
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).is_ok()
        {
            (self.take)(name, size, piece);
        }
    }
}
