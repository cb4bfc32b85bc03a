//! Writes the files of a sound bundle into a new directory.

use crate::{
    findings::{Finding, FindingCode as Code},
    reader::{BundleReader, Limits},
    verify::{Verification, VerifyOptions, verify},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Seek, Write},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a bundle was not extracted.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// The file system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The bundle is not sound; nothing was written.
    #[error("the bundle is not sound, so nothing was extracted: {0}")]
    NotSound(Finding),
}

/// Extracts `bundle` into `dir`, which must not exist yet.
///
/// The whole bundle is checked first (except for whose signatures it carries), so that no byte of
/// an unsound one is written.
///
/// # Errors
/// The bundle is not sound, or the file system refused.
pub fn extract(bundle: &Path, dir: &Path) -> Result<(), ExtractError> {
    let mut file = File::open(bundle).map_err(io("read", bundle))?;
    let found = verify(BufReader::new(&file), &VerifyOptions::default());
    file.rewind().map_err(io("read", bundle))?;
    if let Some(first) = found.findings.first() {
        return Err(ExtractError::NotSound(first.clone()));
    }
    fs::create_dir(dir).map_err(io("create", dir))?;
    let mut current: Option<(String, File)> = None;
    unpack(file, &found, |name, piece| {
        let mut out = match current.take() {
            Some((last, out)) if last == name => out,
            _ => create(&dir.join(name))?,
        };
        out.write_all(piece)?;
        current = Some((name.to_owned(), out));
        Ok(())
    })
}

/// A new file, and the folders above it.
fn create(path: &Path) -> io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Hands over the files of a bundle that was just found sound and must still be the same: name, and each piece
/// in order; an empty file with one empty piece.
fn unpack(
    file: File,
    verified: &Verification,
    mut take: impl FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), ExtractError> {
    let another = || {
        let message = "is not the file that was verified a moment ago";
        ExtractError::NotSound(Finding::new(Code::Container, message))
    };
    let source = BufReader::with_capacity(128 * 1024, file);
    let mut reader =
        BundleReader::open(source, Limits::default()).map_err(ExtractError::NotSound)?;
    while let Some(entry) = reader.next_entry().map_err(ExtractError::NotSound)? {
        if !entry.accepted {
            return Err(another());
        }
        let mut taken = match entry.size {
            0 => take(&entry.name, &[]),
            _ => Ok(()),
        };
        let each = |piece: &[u8]| {
            if taken.is_ok() {
                taken = take(&entry.name, piece);
            }
        };
        reader.content(&entry, each).map_err(ExtractError::NotSound)?;
        taken.map_err(io("write", Path::new(&entry.name)))?;
    }
    match reader.finish().1 {
        Some(seal) if Some(seal) == verified.seal => Ok(()),
        _ => Err(another()),
    }
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ExtractError + 'a {
    move |source| ExtractError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SealOptions, seal, seal::tests};

    #[test]
    fn what_was_sealed_comes_out_and_seals_to_the_same_bundle() {
        let dir = tests::evidence();
        let out = dir.path().join("a.qbundle");
        let options = SealOptions { facts: Some(&tests::facts()), signers: &[tests::key(1)] };
        seal(dir.path(), &out, &options).unwrap();
        let target = dir.path().join("extracted");
        extract(&out, &target).unwrap();
        let again = dir.path().join("b.qbundle");
        seal(&target, &again, &SealOptions { facts: None, signers: &[tests::key(1)] }).unwrap();
        assert_eq!(fs::read(again).unwrap(), fs::read(&out).unwrap());
        assert!(extract(&out, &target).is_err(), "an existing directory is not written into");
    }

    #[test]
    fn another_bundle_in_the_place_of_the_verified_one_is_refused() {
        let dir = tests::evidence();
        let (a, b) = (dir.path().join("a.qbundle"), dir.path().join("b.qbundle"));
        for (key, out) in [(1, &a), (2, &b)] {
            let options = SealOptions { facts: Some(&tests::facts()), signers: &[tests::key(key)] };
            seal(dir.path(), out, &options).unwrap();
        }
        let file = BufReader::new(File::open(&a).unwrap());
        let verified = verify(file, &VerifyOptions::default());
        let error = unpack(File::open(&b).unwrap(), &verified, |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("not the file that was verified"), "{error}");
        let mut bytes = 0;
        unpack(File::open(&a).unwrap(), &verified, |_, piece| {
            bytes += piece.len() as u64;
            Ok(())
        })
        .unwrap();
        assert_eq!(bytes, verified.files.iter().map(|file| file.size).sum::<u64>());
    }
}
