//! Evidence where it lies: a directory as it is, a bundle unpacked into a private temporary one.

use qbind_evidence::{ExtractError, Verification, extract, extract_verified};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

/// A directory with evidence; what was unpacked goes with it.
#[derive(Debug)]
pub(crate) struct EvidenceDir {
    path: PathBuf,
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
            return Ok(Self { path: path.to_owned(), _unpacked: None });
        }
        Self::unpacked(path, |dir| extract(path, dir))
    }

    /// Unpacks a bundle that was just found valid and must still be the same.
    ///
    /// # Errors
    /// As [`EvidenceDir::open`], and if it is another by now.
    pub(crate) fn open_verified(path: &Path, verified: &Verification) -> Result<Self, String> {
        Self::unpacked(path, |dir| extract_verified(path, verified, dir))
    }

    fn unpacked(
        path: &Path,
        extract: impl FnOnce(&Path) -> Result<(), ExtractError>,
    ) -> Result<Self, String> {
        let shown = path.display();
        let hint = "give a .qbundle file or the output directory of a rehearsal";
        let room = "set TMPDIR to a directory with room for the unpacked evidence";
        let unpacked = tempfile::tempdir().map_err(|e| format!("no room: {e}; {room}"))?;
        let dir = unpacked.path().join("evidence");
        extract(&dir).map_err(|e| match e {
            ExtractError::NotSound(first) => format!("{shown} is not sound: {first}; {hint}"),
            ExtractError::Io { .. } => {
                let cause = e.source().map(|c| format!(": {c}")).unwrap_or_default();
                format!("{e}{cause}; {hint}, and {room}")
            }
        })?;
        Ok(Self { path: dir, _unpacked: Some(unpacked) })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
