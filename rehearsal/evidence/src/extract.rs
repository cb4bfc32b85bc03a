//! Writes the files of a sound bundle into a new directory.

use crate::{
    digest::Digest,
    findings::{Finding, FindingCode as Code},
    reader::{BundleReader, Limits},
    verify::{Verification, VerifyOptions, verify},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Seek, Write},
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
    unpack(&file, &found, dir)
}

/// As [`extract`], of a bundle that was just verified and must still be the same.
///
/// # Errors
/// As [`extract`]; it is another bundle by now. Then nothing of it stays.
pub fn extract_verified(
    bundle: &Path,
    verified: &Verification,
    dir: &Path,
) -> Result<(), ExtractError> {
    let file = File::open(bundle).map_err(io("read", bundle))?;
    unpack(&file, verified, dir)
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ExtractError + 'a {
    move |source| ExtractError::Io { doing, path: path.to_owned(), source }
}

fn unpack(file: &File, verified: &Verification, dir: &Path) -> Result<(), ExtractError> {
    if let Some(first) = verified.findings.first() {
        return Err(ExtractError::NotSound(first.clone()));
    }
    fs::create_dir(dir).map_err(io("create", dir))?;
    let sealed = write(file, dir);
    let is_same =
        sealed.as_ref().is_ok_and(|sealed| sealed.is_some() && *sealed == verified.sealed);
    if !is_same {
        fs::remove_dir_all(dir).map_err(io("remove", dir))?;
    }
    match sealed {
        Ok(_) if is_same => Ok(()),
        Ok(_) => {
            let message = "is not the file that was verified a moment ago";
            Err(ExtractError::NotSound(Finding::new(Code::Container, message)))
        }
        Err(error) => Err(error),
    }
}

/// Writes the files, and gives the digest in the seal.
fn write(file: &File, dir: &Path) -> Result<Option<Digest>, ExtractError> {
    let mut reader = BundleReader::open(BufReader::new(file), Limits::default())
        .map_err(ExtractError::NotSound)?;
    while let Some(entry) = reader.next_entry().map_err(ExtractError::NotSound)? {
        if !entry.accepted {
            // Only possible if the file changed between the two readings.
            let finding = Finding::at(Code::Name, entry.name, "appeared while it was extracted");
            return Err(ExtractError::NotSound(finding));
        }
        let path = dir.join(&entry.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        let out = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut out = BufWriter::new(out.map_err(io("create", &path))?);
        let mut written = Ok(());
        reader
            .content(&entry, |piece| {
                if written.is_ok() {
                    written = out.write_all(piece);
                }
            })
            .map_err(ExtractError::NotSound)?;
        written.and_then(|()| out.flush()).map_err(io("write", &path))?;
    }
    Ok(reader.finish().1)
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
    fn another_bundle_in_the_place_of_the_verified_one_leaves_nothing() {
        let dir = tests::evidence();
        let (a, b) = (dir.path().join("a.qbundle"), dir.path().join("b.qbundle"));
        for (key, out) in [(1, &a), (2, &b)] {
            let options = SealOptions { facts: Some(&tests::facts()), signers: &[tests::key(key)] };
            seal(dir.path(), out, &options).unwrap();
        }
        let verified = |path: &Path| {
            verify(BufReader::new(File::open(path).unwrap()), &VerifyOptions::default())
        };
        let (verified, target) = (verified(&a), dir.path().join("extracted"));
        let error = extract_verified(&b, &verified, &target).unwrap_err();
        assert!(error.to_string().contains("not the file that was verified"), "{error}");
        assert!(!target.exists());
        extract_verified(&a, &verified, &target).unwrap();
    }
}
