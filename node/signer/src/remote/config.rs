//! `remote_signer.toml`.

use super::Fingerprint;
use serde::{Deserialize, Deserializer};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Largest configuration file.
const MAX_BYTES: u64 = 64 * 1024;
/// The only key a keystore signs with.
const ENTRY: &str = "consensus";

/// Where the signer's key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// In an encrypted keystore of this host.
    EncryptedFs,
    /// In a device.
    HsmPkcs11,
}

/// What `qbind-remote-signer` is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Where it listens, for nodes and for `/metrics`.
    #[serde(default = "listen_addr")]
    pub listen_addr: SocketAddr,
    /// Whose key it holds.
    pub validator_id: u64,
    /// Where the key lies.
    pub backend_mode: Backend,
    /// The keystore (encrypted-fs).
    pub keystore_path: Option<PathBuf>,
    /// The key in the keystore: `consensus`, and nothing else.
    #[serde(default = "entry")]
    pub keystore_entry_id: String,
    /// Environment variable with the keystore's passphrase.
    #[serde(default = "passphrase_env_var")]
    pub passphrase_env_var: String,
    /// The device (hsm-pkcs11).
    pub hsm_config_path: Option<PathBuf>,
    /// Most consensus statements a second.
    #[serde(default = "rate_limit_rps")]
    pub rate_limit_rps: u32,
    /// Most batches and acks a second; acks grow with the number of validators.
    #[serde(default = "batch_rate_limit_rps")]
    pub batch_rate_limit_rps: u32,
    /// Where the guard and the pin lie; the keystore, or [`STATE_DIR`] for a device.
    pub state_dir: Option<PathBuf>,
    /// The nodes to serve; the first to come if the key is not there.
    #[serde(default, deserialize_with = "fingerprints")]
    pub authorized_node_keys: Option<Vec<Fingerprint>>,
}

/// Where the guard of a key in a device lies if nobody says: apart from any database.
pub const STATE_DIR: &str = "/var/lib/qbind-signer";

fn listen_addr() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9443))
}

fn entry() -> String {
    ENTRY.to_owned()
}

fn passphrase_env_var() -> String {
    "QBIND_KEYSTORE_PASSPHRASE".to_owned()
}

fn rate_limit_rps() -> u32 {
    100
}

fn batch_rate_limit_rps() -> u32 {
    4_000
}

fn fingerprints<'de, D>(from: D) -> Result<Option<Vec<Fingerprint>>, D::Error>
where
    D: Deserializer<'de>,
{
    let texts = Vec::<String>::deserialize(from)?;
    texts
        .iter()
        .map(|t| t.parse().map_err(serde::de::Error::custom))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The file says nothing that could be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("{}: {why}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Where in it, and what was expected.
        why: String,
    },
}

impl RemoteConfig {
    /// Reads and checks `remote_signer.toml`; its relative paths are relative to its folder.
    ///
    /// # Errors
    /// The operator's fault; names the file and the key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fault = |source| ConfigError::Read { path: path.to_owned(), source };
        let wrong = |why| ConfigError::Wrong { path: path.to_owned(), why };
        let length = fs::metadata(path).map_err(fault)?.len();
        if length > MAX_BYTES {
            return Err(wrong(format!("{length} bytes, more than {MAX_BYTES}")));
        }
        let text = fs::read_to_string(path).map_err(fault)?;
        let mut config: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.check().map_err(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for place in [&mut config.keystore_path, &mut config.hsm_config_path, &mut config.state_dir]
        {
            *place = place.take().map(|p| folder.join(p));
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let missing = |key: &str, mode: &str| format!("backend_mode = \"{mode}\" needs {key}");
        match self.backend_mode {
            Backend::EncryptedFs if self.keystore_path.is_none() => {
                return Err(missing("keystore_path", "encrypted-fs"));
            }
            Backend::HsmPkcs11 if self.hsm_config_path.is_none() => {
                return Err(missing("hsm_config_path", "hsm-pkcs11"));
            }
            _ => {}
        }
        if self.keystore_entry_id != ENTRY {
            let other = &self.keystore_entry_id;
            return Err(format!("UNSUPPORTED: keystore_entry_id = \"{other}\"; use \"{ENTRY}\""));
        }
        if self.authorized_node_keys.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "authorized_node_keys names nobody; remove it to serve the first that comes"
                    .to_owned(),
            );
        }
        for (key, value) in [
            ("rate_limit_rps", self.rate_limit_rps),
            ("batch_rate_limit_rps", self.batch_rate_limit_rps),
        ] {
            if value == 0 {
                return Err(format!("{key} = 0 would never sign; use 1 or more"));
            }
        }
        Ok(())
    }

    /// Where the guard and the pin lie.
    pub fn state_dir(&self) -> PathBuf {
        let beside = match self.backend_mode {
            Backend::EncryptedFs => self.keystore_path.clone(),
            Backend::HsmPkcs11 => None,
        };
        self.state_dir.clone().or(beside).unwrap_or_else(|| STATE_DIR.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNBOOK: &str = "listen_addr = \"0.0.0.0:9443\"\n\
        validator_id = 42\n\
        backend_mode = \"hsm-pkcs11\"\n\
        hsm_config_path = \"/etc/qbind/hsm.toml\"\n\
        rate_limit_rps = 100\n";

    fn read(text: &str) -> Result<RemoteConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("remote_signer.toml");
        fs::write(&path, text).unwrap();
        RemoteConfig::read(&path)
    }

    #[test]
    fn the_runbooks_file_is_read_as_it_stands() {
        let config = read(RUNBOOK).unwrap();
        assert_eq!((config.validator_id, config.rate_limit_rps), (42, 100));
        assert_eq!(config.listen_addr, listen_addr());
        assert_eq!(config.hsm_config_path, Some("/etc/qbind/hsm.toml".into()));
        assert_eq!(config.state_dir(), Path::new(STATE_DIR));
        let shorter = "validator_id = 42\nbackend_mode = \"hsm-pkcs11\"\nhsm_config_path = \"h\"";
        let shorter = read(shorter).unwrap();
        assert_eq!(shorter.listen_addr, config.listen_addr);
        assert_eq!(shorter.rate_limit_rps, config.rate_limit_rps);
        assert!(shorter.hsm_config_path.unwrap().ends_with("h"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, named) in [
            ("validator_id = 42\n", "", "validator_id"),
            ("hsm-pkcs11", "usb-stick", "usb-stick"),
            ("hsm-pkcs11", "encrypted-fs", "keystore_path"),
            ("hsm_config_path = \"/etc/qbind/hsm.toml\"\n", "", "hsm_config_path"),
            ("rate_limit_rps = 100", "rate_limit_rps = 0", "rate_limit_rps"),
            ("rate_limit_rps = 100", "rate_limit = 100", "rate_limit"),
            ("0.0.0.0:9443", "everywhere", "listen_addr"),
            ("rate_limit_rps = 100", "keystore_entry_id = \"p2p\"", "UNSUPPORTED"),
            ("rate_limit_rps = 100", "authorized_node_keys = [\"0x12\"]", "0x12"),
            ("rate_limit_rps = 100", "authorized_node_keys = []", "names nobody"),
        ] {
            let error = read(&RUNBOOK.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
            assert!(error.contains("remote_signer.toml"), "{error}");
        }
    }
}
