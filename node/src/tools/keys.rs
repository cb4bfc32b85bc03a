//! Key files by path.

use super::{ToolError, explain};
use qbind_crypto::SecretKey;
use qbind_signer::Role;
use qbind_types::PublicKey;
use std::path::{Path, PathBuf};

/// The keystore and the role that `<keystore>/<role>.key` names.
fn keystore_of(file: &Path) -> Result<(PathBuf, Role), ToolError> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let role = [Role::Consensus, Role::BatchSigning, Role::P2pIdentity]
        .into_iter()
        .find(|role| role.as_str() == stem);
    let role = role.ok_or_else(|| {
        let file = file.display();
        ToolError::usage(format!("{file} is not named after a role, such as consensus.key"))
    })?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    Ok((dir.unwrap_or(Path::new(".")).to_owned(), role))
}

/// Opens `<keystore>/<role>.key` with the passphrase in this environment variable.
///
/// # Errors
/// The operator's fault; names the file or the variable.
pub fn read_secret(file: &Path, passphrase_env: &str) -> Result<SecretKey, ToolError> {
    let (dir, role) = keystore_of(file)?;
    let passphrase = passphrase(passphrase_env)?;
    qbind_signer::load(&dir, role, &passphrase).map_err(|e| ToolError::usage(explain(&e)))
}

/// The passphrase in an environment variable.
///
/// # Errors
/// The operator's fault: it is unset.
pub fn passphrase(variable: &str) -> Result<String, ToolError> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        ToolError::usage(format!(
            "the environment variable {variable} with the passphrase is unset"
        ))
    })
}

/// Reads a public key file, in hexadecimal.
///
/// # Errors
/// The operator's fault; names the file.
pub fn read_public(file: &Path) -> Result<PublicKey, ToolError> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| ToolError::usage(format!("cannot read {name}: {e}")))?;
    text.trim()
        .parse()
        .map_err(|_| ToolError::usage(format!("{name} is not a hexadecimal ML-DSA-44 public key")))
}
