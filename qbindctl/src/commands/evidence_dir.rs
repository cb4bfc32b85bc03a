//! Evidence where it lies: a directory as it is, a bundle unpacked into a private temporary one.

use qbind_evidence::{VerifyOptions, extract, verify};
use std::{
    fs::File,
    io::BufReader,
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
        let shown = path.display();
        let hint = "give a .qbundle file or the output directory of a rehearsal";
        let file = File::open(path).map_err(|e| format!("cannot read {shown}: {e}; {hint}"))?;
        let found = verify(BufReader::new(file), &VerifyOptions::default());
        if let Some(first) = found.findings.first() {
            return Err(format!("{shown} is not sound: {first}; {hint}"));
        }
        let room = "set TMPDIR to a directory with room for the unpacked evidence";
        let unpacked = tempfile::tempdir().map_err(|e| format!("no room: {e}; {room}"))?;
        let dir = unpacked.path().join("evidence");
        extract(path, &dir).map_err(|e| format!("cannot unpack {shown}: {e}; {room}"))?;
        Ok(Self { path: dir, _unpacked: Some(unpacked) })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
