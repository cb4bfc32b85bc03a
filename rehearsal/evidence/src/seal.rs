//! Evidence directory -> bundle.

use crate::{
    container,
    digest::{Digest, Digester},
    dsse::Envelope,
    envelopes::Statements,
    facts::{Facts, FactsError, Verdict},
    layout::{self, NameFault},
    manifest::{Manifest, ManifestFile},
    ustar,
};
use qbind_crypto::SecretKey;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;
use thiserror::Error;

/// How to seal.
#[derive(Debug, Clone, Copy)]
pub struct SealOptions<'a> {
    /// Written to `facts.json` first. `None`: the directory already has one.
    pub facts: Option<&'a Facts>,
    /// Keys that sign both statements; without any the bundle is complete but unsigned.
    pub signers: &'a [SecretKey],
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where.
    pub path: PathBuf,
    /// What the manifest commits to.
    pub merkle_root: Digest,
    /// SHA3-256 of `plan.yaml`.
    pub plan_digest: Digest,
    /// Verdict the statement carries.
    pub verdict: Verdict,
    /// Files in the manifest.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Bytes of the bundle.
    pub packed_bytes: u64,
    /// Entries of the directory that are no part of the evidence format and were left out.
    pub left_out: Vec<String>,
}

/// Why no bundle was written.
#[derive(Debug, Error)]
pub enum SealError {
    /// It would be refused by whoever reads it.
    #[error("the bundle would not be sound: {finding}")]
    Unsound {
        /// What would be wrong.
        finding: crate::findings::Finding,
    },
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
    /// A file whose name the format does not permit.
    #[error("{name:?} {fault}; rename it and whatever refers to it")]
    Name {
        /// Which file.
        name: String,
        /// What is wrong.
        fault: NameFault,
    },
    /// A link, socket or device.
    #[error("{name:?} is not a regular file; copy its content into the evidence directory")]
    NotAFile {
        /// Which entry.
        name: String,
    },
    /// A private key or passphrase among the evidence.
    #[error(
        "{name:?} looks like a secret; keep keys and passphrases out of the evidence directory"
    )]
    Secret {
        /// Which file.
        name: String,
    },
    /// A required file is not there.
    #[error("{name} is missing; without it there is nothing to attest")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// A file changed while it was being sealed.
    #[error("{name:?} changed while it was sealed; stop what writes to it and seal again")]
    Moving {
        /// Which file.
        name: String,
    },
    /// Facts or gates are not usable.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The bundle exists.
    #[error("{} exists; bundles are never overwritten", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
}

/// Packs the evidence under `dir` into the bundle `out`.
///
/// Also leaves `manifest.json` and both envelopes in `dir`, so that the directory shows what was
/// signed. Everything is read twice: once for the manifest, once for the archive.
///
/// # Errors
/// Nothing is left at `out` when sealing fails.
pub fn seal(dir: &Path, out: &Path, options: &SealOptions<'_>) -> Result<Sealed, SealError> {
    if out.exists() {
        return Err(SealError::Exists { path: out.to_owned() });
    }
    if let Some(facts) = options.facts {
        facts.store(dir)?;
    }
    let (names, left_out) = collect(dir)?;
    if let Some(name) = layout::REQUIRED.iter().find(|name| !names.contains_key(**name)) {
        return Err(SealError::Missing { name });
    }
    let manifest = Manifest::new(
        names.iter().map(|(name, path)| measure(name, path)).collect::<Result<_, _>>()?,
    );
    let document = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|source| SealError::Io { doing: "read", path, source })
    };
    let plan = document(layout::PLAN)?;
    let statements =
        Statements::derive(&document(layout::FACTS)?, &document(layout::GATES)?, &plan, &manifest)?;
    let mut attestation = Envelope::new(&statements.rehearsal.to_bytes());
    let mut test_result = Envelope::new(&statements.test_result.to_bytes());
    for key in options.signers {
        attestation.sign(key);
        test_result.sign(key);
    }
    let written = [
        (layout::ATTESTATION, attestation.to_bytes()),
        (layout::MANIFEST, manifest.to_bytes()),
        (layout::TEST_RESULT, test_result.to_bytes()),
    ];
    for (name, bytes) in &written {
        let path = dir.join(name);
        fs::write(&path, bytes).map_err(|source| SealError::Io { doing: "write", path, source })?;
    }
    let mut bundle = BundleWriter::create(out)?;
    let mut generated = written.iter().peekable();
    for file in &manifest.files {
        while let Some((name, bytes)) = generated.next_if(|(name, _)| *name < file.path.as_str()) {
            bundle.bytes(name, bytes)?;
        }
        bundle.file(file, &names[&file.path])?;
    }
    for (name, bytes) in generated {
        bundle.bytes(name, bytes)?;
    }
    let packed_bytes = bundle.publish(false)?;
    Ok(Sealed {
        path: out.to_owned(),
        merkle_root: manifest.merkle_root,
        plan_digest: Digest::of(&[&plan]),
        verdict: statements.rehearsal.predicate.verdict,
        files: manifest.files.len() as u64,
        bytes: manifest.bytes(),
        packed_bytes,
        left_out,
    })
}

/// Every evidence file by name, and what lies beside them that is none.
fn collect(dir: &Path) -> Result<(BTreeMap<String, PathBuf>, Vec<String>), SealError> {
    let mut files = BTreeMap::new();
    let mut left_out = Vec::new();
    for (name, path) in children(dir)? {
        if layout::ENVELOPE.contains(&name.as_str()) {
            continue;
        }
        if layout::FILES.contains(&name.as_str()) {
            take(&name, path, &mut files)?;
        } else if layout::FOLDERS.contains(&name.as_str()) && name != layout::SIGN_OFFS {
            descend(name, path, &mut files)?;
        } else {
            left_out.push(name);
        }
    }
    left_out.sort();
    Ok((files, left_out))
}

fn walk(folder: &str, dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), SealError> {
    for (child, path) in children(dir)? {
        descend(format!("{folder}/{child}"), path, files)?;
    }
    Ok(())
}

fn descend(
    name: String,
    path: PathBuf,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), SealError> {
    if examine(&path)?.is_dir() { walk(&name, &path, files) } else { take(&name, path, files) }
}

/// Without following links: evidence lies in its directory or nowhere.
fn examine(path: &Path) -> Result<fs::Metadata, SealError> {
    let failed = |source| SealError::Io { doing: "examine", path: path.to_owned(), source };
    fs::symlink_metadata(path).map_err(failed)
}

fn take(name: &str, path: PathBuf, files: &mut BTreeMap<String, PathBuf>) -> Result<(), SealError> {
    if !examine(&path)?.is_file() {
        return Err(SealError::NotAFile { name: name.to_owned() });
    }
    layout::check_name(name).map_err(|fault| SealError::Name { name: name.to_owned(), fault })?;
    let base = name.rsplit('/').next().unwrap_or(name);
    if base.ends_with(".key") || base.contains("passphrase") || base.contains("load-accounts") {
        return Err(SealError::Secret { name: name.to_owned() });
    }
    files.insert(name.to_owned(), path);
    Ok(())
}

fn children(dir: &Path) -> Result<Vec<(String, PathBuf)>, SealError> {
    let failed = |source| SealError::Io { doing: "list", path: dir.to_owned(), source };
    let mut children = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        children.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(children)
}

fn measure(name: &str, path: &Path) -> Result<ManifestFile, SealError> {
    let failed = |source| SealError::Io { doing: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut digester, mut size) = (Digester::default(), 0);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => {
                digester.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
    Ok(ManifestFile { path: name.to_owned(), size, sha3_256: digester.finish() })
}

/// What was written is not what was meant to be; nothing was replaced.
pub(crate) fn unsound(finding: crate::findings::Finding) -> SealError {
    SealError::Unsound { finding }
}

/// Writes an archive beside its final place and moves it there when it is whole.
pub(crate) struct BundleWriter {
    out: PathBuf,
    archive: container::Writer<BufWriter<NamedTempFile>>,
}

impl BundleWriter {
    pub(crate) fn create(out: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::Io { doing: "write", path: out.to_owned(), source };
        let folder = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = NamedTempFile::new_in(folder).map_err(failed)?;
        let archive = container::Writer::new(BufWriter::new(file)).map_err(failed)?;
        Ok(Self { out: out.to_owned(), archive })
    }

    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), SealError> {
        self.begin(name, bytes.len() as u64)?;
        self.push(bytes)?;
        self.end(bytes.len() as u64)
    }

    pub(crate) fn begin(&mut self, name: &str, size: u64) -> Result<(), SealError> {
        let header = ustar::header(name, size)
            .ok_or_else(|| SealError::Name { name: name.to_owned(), fault: NameFault::Long })?;
        self.push(&header)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        self.archive.write_all(bytes).map_err(|source| SealError::Io {
            doing: "write",
            path: self.out.clone(),
            source,
        })
    }

    pub(crate) fn end(&mut self, size: u64) -> Result<(), SealError> {
        let padding = (ustar::BLOCK - (size % ustar::BLOCK as u64) as usize) % ustar::BLOCK;
        self.push(&[0; ustar::BLOCK][..padding])
    }

    fn file(&mut self, expected: &ManifestFile, path: &Path) -> Result<(), SealError> {
        self.begin(&expected.path, expected.size)?;
        let failed = |source| SealError::Io { doing: "read", path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let (mut digester, mut size) = (Digester::default(), 0);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            size += read as u64;
            if read == 0 || size > expected.size {
                break;
            }
            digester.update(&buffer[..read]);
            self.push(&buffer[..read])?;
        }
        if size != expected.size || digester.finish() != expected.sha3_256 {
            return Err(SealError::Moving { name: expected.path.clone() });
        }
        self.end(size)
    }

    /// Ends the archive, makes it durable and gives it its name.
    pub(crate) fn publish(self, replace: bool) -> Result<u64, SealError> {
        self.publish_if(replace, |_| Ok(()))
    }

    /// As [`BundleWriter::publish`], if `check` finds the finished file as it should be.
    pub(crate) fn publish_if(
        mut self,
        replace: bool,
        check: impl FnOnce(&File) -> Result<(), SealError>,
    ) -> Result<u64, SealError> {
        self.push(&[0; 2 * ustar::BLOCK])?;
        let out = self.out;
        let failed = |source| SealError::Io { doing: "write", path: out.clone(), source };
        let buffered = self.archive.finish().map_err(failed)?;
        let file = buffered.into_inner().map_err(|e| failed(e.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        let bytes = file.as_file().metadata().map_err(failed)?.len();
        share(file.as_file()).map_err(failed)?;
        file.as_file().rewind().map_err(failed)?;
        check(file.as_file())?;
        if replace {
            file.persist(&out).map_err(|e| failed(e.error))?;
        } else {
            file.persist_noclobber(&out).map_err(|e| failed(e.error))?;
        }
        Ok(bytes)
    }
}

/// A temporary file is private; evidence is there to be read.
fn share(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
