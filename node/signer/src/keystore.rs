//! The encrypted keystore: a directory with `<role>.key`, the sealed secret (EncryptedFsV1), and
//! `<role>.pub`, the public key in hexadecimal, for each [`Role`].

use qbind_crypto::{SecretKey, sealed};
use qbind_types::PublicKey;
use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Proposals, votes, timeouts.
    Consensus,
    /// Batches and acks.
    BatchSigning,
    /// The node's identity towards peers.
    P2pIdentity,
}

impl Role {
    /// The file name without extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::BatchSigning => "batch-signing",
            Self::P2pIdentity => "p2p-identity",
        }
    }
}

/// Why a key cannot be had.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others may read the secret.
    #[error("{} has mode {mode:03o}, others can read it; run `chmod 600 {}`", path.display(), path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not a sealed key, or not with this passphrase.
    #[error("cannot open {}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sealed::SealError,
    },
    /// The public key file is not a public key.
    #[error("{} is not a hexadecimal ML-DSA-44 public key", path.display())]
    PublicKey {
        /// Which file.
        path: PathBuf,
    },
    /// Secret and public file do not belong together.
    #[error("{} does not belong to the public key beside it", path.display())]
    Mismatch {
        /// The secret's file.
        path: PathBuf,
    },
}

/// Writes both files of a role.
///
/// # Errors
/// The operator's fault or the disk's; an existing file is never touched.
pub fn create(
    dir: &Path,
    role: Role,
    secret: &SecretKey,
    passphrase: &str,
) -> Result<(), KeystoreError> {
    write_new(&path(dir, role, "key"), 0o600, &sealed::seal(secret, passphrase))?;
    write_public(dir, role, &secret.public_key())
}

/// Writes the public key of a role whose secret lies elsewhere.
///
/// # Errors
/// The operator's fault or the disk's; an existing file is never touched.
pub fn write_public(dir: &Path, role: Role, key: &PublicKey) -> Result<(), KeystoreError> {
    write_new(&path(dir, role, "pub"), 0o644, &(hex::encode(key.as_bytes()) + "\n"))
}

/// Opens the secret of a role.
///
/// # Errors
/// The operator's fault; names the file and what to do.
pub fn load(dir: &Path, role: Role, passphrase: &str) -> Result<SecretKey, KeystoreError> {
    let path = path(dir, role, "key");
    let file = |what, source| KeystoreError::File { what, path: path.clone(), source };
    let mode = fs::metadata(&path).map_err(|e| file("find", e))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeystoreError::Permissions { path, mode });
    }
    let json = fs::read_to_string(&path).map_err(|e| file("read", e))?;
    let secret = sealed::open(&json, passphrase)
        .map_err(|source| KeystoreError::Sealed { path: path.clone(), source })?;
    if secret.public_key() != load_public(dir, role)? {
        return Err(KeystoreError::Mismatch { path });
    }
    Ok(secret)
}

/// Reads the public key of a role.
///
/// # Errors
/// The operator's fault; names the file.
pub fn load_public(dir: &Path, role: Role) -> Result<PublicKey, KeystoreError> {
    let path = path(dir, role, "pub");
    let text = fs::read_to_string(&path).map_err(|source| KeystoreError::File {
        what: "read",
        path: path.clone(),
        source,
    })?;
    text.trim().parse().map_err(|_| KeystoreError::PublicKey { path })
}

fn path(dir: &Path, role: Role, extension: &str) -> PathBuf {
    dir.join(format!("{}.{extension}", role.as_str()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), KeystoreError> {
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| KeystoreError::File { what: "create", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let secret = SecretKey::from_seed(&[5; 32]);
        create(dir.path(), Role::Consensus, &secret, "right").unwrap();
        let loaded = load(dir.path(), Role::Consensus, "right").unwrap();
        assert_eq!(loaded.public_key(), secret.public_key());
        let wrong = load(dir.path(), Role::Consensus, "wrong").unwrap_err();
        assert!(matches!(wrong, KeystoreError::Sealed { .. }), "{wrong}");
        let again = create(dir.path(), Role::Consensus, &secret, "right").unwrap_err();
        assert!(matches!(again, KeystoreError::File { what: "create", .. }), "{again}");
        let absent = load(dir.path(), Role::P2pIdentity, "right").unwrap_err();
        assert!(matches!(absent, KeystoreError::File { what: "find", .. }), "{absent}");
    }

    #[test]
    fn readable_or_mismatched_keys_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), Role::Consensus, &SecretKey::from_seed(&[5; 32]), "p").unwrap();
        let key = dir.path().join("consensus.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let open = load(dir.path(), Role::Consensus, "p").unwrap_err();
        assert!(matches!(open, KeystoreError::Permissions { mode: 0o640, .. }), "{open}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let other = SecretKey::from_seed(&[6; 32]).public_key();
        fs::write(dir.path().join("consensus.pub"), other.to_string()).unwrap();
        let mismatch = load(dir.path(), Role::Consensus, "p").unwrap_err();
        assert!(matches!(mismatch, KeystoreError::Mismatch { .. }), "{mismatch}");
    }
}
