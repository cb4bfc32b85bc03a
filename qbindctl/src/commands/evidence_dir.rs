//! Evidence where it lies: a directory as it is, a bundle unpacked into a private temporary one.

use qbind_evidence::{Digest, ExtractError, extract};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

/// A directory with evidence; what was unpacked goes with it.
#[derive(Debug)]
pub(crate) struct EvidenceDir {
    path: PathBuf,
    root: Option<Digest>,
    _unpacked: Option<tempfile::TempDir>,
}

impl EvidenceDir {
    /// Takes a directory, or unpacks a bundle in which nothing is wrong. Whose signatures it has is not
    /// asked here.
    ///
    /// # Errors
    /// In a sentence with a hint: it cannot be read, or the bundle is not sound.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        if path.is_dir() {
            return Ok(Self { path: path.to_owned(), root: None, _unpacked: None });
        }
        let shown = path.display();
        let hint = "give a .qbundle file or the output directory of a rehearsal";
        let room = "set TMPDIR to a directory with room for the unpacked evidence";
        let unpacked = tempfile::tempdir().map_err(|e| format!("no room: {e}; {room}"))?;
        let dir = unpacked.path().join("evidence");
        let root = extract(path, &dir).map_err(|e| match e {
            ExtractError::NotSound(first) => format!("{shown} is not sound: {first}; {hint}"),
            ExtractError::Io { .. } => {
                let cause = e.source().map(|c| format!(": {c}")).unwrap_or_default();
                format!("{e}{cause}; {hint}, and {room}")
            }
        })?;
        Ok(Self { path: dir, root: Some(root), _unpacked: Some(unpacked) })
    }

    /// The Merkle root of the bundle it was unpacked from.
    pub(crate) fn root(&self) -> Option<Digest> {
        self.root
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
