//! Writes the files of a sound bundle into a new directory.

use crate::{
    digest::Digest,
    findings::Finding,
    reader::{BundleReader, Limits},
    verify::{VerifyOptions, verify},
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
pub fn extract(bundle: &Path, dir: &Path) -> Result<Digest, ExtractError> {
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| ExtractError::Io { doing, path, source }
    };
    let mut file = File::open(bundle).map_err(io("read", bundle))?;
    let found = verify(BufReader::new(&file), &VerifyOptions::default());
    let root = match (found.findings.into_iter().next(), found.merkle_root) {
        (None, Some(root)) => root,
        (Some(first), _) => return Err(ExtractError::NotSound(first)),
        (None, None) => unreachable!("a sound bundle has a manifest"),
    };
    file.rewind().map_err(io("read", bundle))?;
    fs::create_dir(dir).map_err(io("create", dir))?;
    let mut reader = BundleReader::open(BufReader::new(&file), Limits::default())
        .map_err(ExtractError::NotSound)?;
    while let Some(entry) = reader.next_entry().map_err(ExtractError::NotSound)? {
        if !entry.accepted {
            // Only possible if the file changed between the two readings.
            let code = crate::findings::FindingCode::Name;
            let finding = Finding::at(code, entry.name, "appeared while it was extracted");
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
    Ok(root)
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
}
