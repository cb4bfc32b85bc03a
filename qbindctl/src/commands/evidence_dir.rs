//! Evidence where it lies: a directory as it is, a bundle unpacked into a private temporary one.

use qbind_evidence::{ExtractError, Verification, VerifyOptions, extract, unpack, verify};
use qbind_gates::{Files, Packer};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    thread,
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
        let unpacked = tempfile::tempdir().map_err(|e| format!("no room: {e}; {ROOM}"))?;
        let dir = unpacked.path().join("evidence");
        extract(path, &dir).map_err(|e| explained(path, &e))?;
        Ok(Self { path: dir, _unpacked: Some(unpacked) })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

const ROOM: &str = "set TMPDIR to a directory with room for the unpacked evidence";

/// The raw files of a directory, or of a bundle in which nothing is wrong; whose signatures it has is not
/// asked here.
///
/// # Errors
/// As [`EvidenceDir::open`].
pub(crate) fn files(path: &Path) -> Result<Files, String> {
    if path.is_dir() {
        let unreadable = |e| format!("{} is no readable directory: {e}; {HINT}", path.display());
        return fs::read_dir(path).map(|_| Files::Dir(path.to_owned())).map_err(unreadable);
    }
    let file =
        File::open(path).map_err(|e| format!("cannot read {}: {e}; {HINT}", path.display()))?;
    files_of(path, &verify(BufReader::new(file), &VerifyOptions::default()))
}

/// The raw files of a bundle that was just verified and must still be the same.
///
/// # Errors
/// In a sentence with a hint: something is wrong with it, or it is another by now.
pub(crate) fn files_of(bundle: &Path, verified: &Verification) -> Result<Files, String> {
    let no_room = |e: io::Error| format!("no room: {e}; {ROOM}");
    let mut packer = tempfile::tempfile().and_then(Packer::new).map_err(no_room)?;
    // One thread unpacks, the other packs.
    let (pieces, waiting) = sync_channel::<(String, u64, Vec<u8>)>(WAITING);
    thread::scope(|scope| {
        let packed = scope.spawn(move || {
            for (name, bytes, piece) in waiting {
                packer.take(&name, bytes, &piece)?;
            }
            packer.finish()
        });
        let unpacked = unpack(bundle, verified, |name, bytes, piece| {
            let sent = pieces.send((name.to_owned(), bytes, piece.to_vec()));
            sent.map_err(|_| io::Error::other("no room"))
        });
        drop(pieces);
        let files = packed.join().expect("packing does not panic").map_err(no_room)?;
        unpacked.map_err(|e| explained(bundle, &e))?;
        Ok(files)
    })
}

/// Pieces that wait at most.
const WAITING: usize = 64;

const HINT: &str = "give a .qbundle file or the output directory of a rehearsal";

fn explained(path: &Path, error: &ExtractError) -> String {
    match error {
        ExtractError::NotSound(first) => {
            format!("{} is not sound: {first}; {HINT}", path.display())
        }
        ExtractError::Io { .. } => {
            let cause = error.source().map(|c| format!(": {c}")).unwrap_or_default();
            format!("{error}{cause}; {HINT}, and {ROOM}")
        }
    }
}
