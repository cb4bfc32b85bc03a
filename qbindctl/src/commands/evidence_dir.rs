//! Evidence where it lies: a directory as it is, a bundle unpacked into a private temporary one.

use qbind_evidence::{ExtractError, Finding, Verification, VerifyOptions, extract, verify_taking};
use qbind_gates::{Files, PackError, Packer};
use std::{
    error::Error,
    fs::{self, File},
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
    let (_, files) = verified_files(file, &VerifyOptions::default());
    files.map_err(|why| match why {
        Unfit::Unsound(first) => format!("{} is not sound: {first}; {HINT}", path.display()),
        Unfit::Unpacked(error) => format!("{}: {}", path.display(), no_room(&error)),
    })
}

/// Why a bundle is not judged.
pub(crate) enum Unfit {
    /// The first thing that is wrong with it.
    Unsound(Finding),
    /// Nothing is wrong with it, but its files cannot be held.
    Unpacked(PackError),
}

/// What is to be said of a bundle, and its raw files. It is read once.
pub(crate) fn verified_files(
    bundle: File,
    options: &VerifyOptions<'_>,
) -> (Verification, Result<Files, Unfit>) {
    let packer = tempfile::tempfile().map(Packer::new);
    let source = BufReader::with_capacity(128 * 1024, bundle);
    let verified = verify_taking(source, options, &|name, bytes, piece| {
        if let Ok(packer) = &packer {
            packer.take(name, bytes, piece);
        }
    });
    let files = match verified.findings.first() {
        Some(first) => Err(Unfit::Unsound(first.clone())),
        None => packer.map_err(PackError::from).and_then(Packer::finish).map_err(Unfit::Unpacked),
    };
    (verified, files)
}

/// Why files cannot be held, and what to try.
pub(crate) fn no_room(error: &PackError) -> String {
    match error {
        PackError::Io(cause) => format!("{error}: {cause}; {ROOM}"),
        PackError::Metrics => error.to_string(),
    }
}

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
