//! Attestation keys at rest: an encrypted file and its public half beside it.

use crate::{digest::Digest, dsse::key_id};
use qbind_crypto::{SecretKey, sealed};
use qbind_types::PublicKey;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Largest key file read.
const BYTES: u64 = 64 * 1024;

/// Why a key could not be made or opened.
#[derive(Debug, Error)]
pub enum KeyError {
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
    /// The file is there already.
    #[error("{} exists; a key is never overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be decrypted.
    #[error("cannot open the key {}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Wrong passphrase, or not such a file.
        #[source]
        source: sealed::SealError,
    },
}

/// The public half of a key that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// Its id.
    pub id: Digest,
    /// The key.
    pub public_key: PublicKey,
    /// Where it lies: the key file's name with `.pub` added.
    pub path: PathBuf,
}

/// Makes a key, encrypts it into `path` (mode 0600) and writes the public half beside it.
///
/// # Errors
/// Either file exists, or cannot be written; then neither is left behind.
pub fn create_key(path: &Path, passphrase: &str) -> Result<PublishedKey, KeyError> {
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    if let Some(taken) = [path, &public_path].into_iter().find(|path| path.exists()) {
        return Err(KeyError::Exists { path: taken.to_owned() });
    }
    let key = SecretKey::generate();
    let public_key = key.public_key();
    write_new(path, 0o600, sealed::seal(&key, passphrase).as_bytes())?;
    let line = format!("{}\n", hex::encode(public_key.as_bytes()));
    if let Err(error) = write_new(&public_path, 0o644, line.as_bytes()) {
        // A key without its public half would look finished; the first error is the one to tell.
        drop(fs::remove_file(path));
        return Err(error);
    }
    Ok(PublishedKey { id: key_id(&public_key), public_key, path: public_path })
}

/// Decrypts a key file.
///
/// # Errors
/// It cannot be read, is not a key file, or the passphrase is wrong.
pub fn open_key(path: &Path, passphrase: &str) -> Result<SecretKey, KeyError> {
    let io = |source| KeyError::Io { doing: "read", path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(io)?.len();
    if size > BYTES {
        let detail = format!("{size} bytes are more than any key file has");
        let source = sealed::SealError::Malformed { detail };
        return Err(KeyError::Sealed { path: path.to_owned(), source });
    }
    let json = fs::read_to_string(path).map_err(io)?;
    sealed::open(&json, passphrase)
        .map_err(|source| KeyError::Sealed { path: path.to_owned(), source })
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |source| KeyError::Io { doing: "write", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _unused = mode;
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_private_encrypted_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("operator.key");
        let published = create_key(&path, "correct horse").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let opened = open_key(&path, "correct horse").unwrap();
        assert_eq!(opened.public_key(), published.public_key);
        assert!(!fs::read_to_string(&path).unwrap().contains(&hex::encode(opened.seed())));
        let line = fs::read_to_string(&published.path).unwrap();
        assert_eq!(line.trim().parse::<PublicKey>().unwrap(), published.public_key);

        let wrong = open_key(&path, "wrong").unwrap_err();
        let KeyError::Sealed { source, .. } = wrong else { panic!("{wrong}") };
        assert_eq!(source, sealed::SealError::WrongPassphrase);
        assert!(matches!(create_key(&path, "x"), Err(KeyError::Exists { .. })));

        fs::remove_file(&path).unwrap();
        assert!(matches!(create_key(&path, "x"), Err(KeyError::Exists { .. })), "public half");
        assert!(!path.exists());
    }
}
