//! Sealed keys on disk, and the seeds of load accounts.

use super::NetworkError;
use qbind_crypto::{SecretKey, address_of, sealed};
use qbind_types::{Address, PublicKey};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

const ACCOUNTS_SCHEMA: &str = "qbind.load-accounts/v1";

/// An account with money at genesis whose key the load generator has.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadAccount {
    /// Its address.
    pub address: Address,
    /// Its FIPS 204 seed.
    #[serde(rename = "seed_hex", with = "seed_hex")]
    pub seed: [u8; 32],
}

impl std::fmt::Debug for LoadAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadAccount").field("address", &self.address).finish_non_exhaustive()
    }
}

mod seed_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(seed: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(seed))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let mut seed = [0; 32];
        hex::decode_to_slice(String::deserialize(d)?, &mut seed).map_err(D::Error::custom)?;
        Ok(seed)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accounts {
    schema: String,
    accounts: Vec<LoadAccount>,
}

/// A key to be sealed into `dir/NAME.key` and `.pub`.
pub(super) struct SealedKey {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) secret: SecretKey,
}

/// Seals keys, on all processors: the key derivation is slow on purpose.
pub(super) fn seal_all(keys: Vec<SealedKey>, passphrase: &str) -> Result<(), NetworkError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(keys.len());
    let queue = Mutex::new(keys.into_iter());
    let next = || queue.lock().expect("no holder of this lock panics").next();
    std::thread::scope(|scope| {
        let work = || {
            while let Some(key) = next() {
                seal_one(&key, passphrase)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        // Every thread is waited for, whatever the first of them says.
        let outcomes: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
        outcomes.into_iter().try_for_each(|o| o.expect("the thread returns its errors"))
    })
}

fn seal_one(key: &SealedKey, passphrase: &str) -> Result<(), NetworkError> {
    let json = sealed::seal(&key.secret, passphrase);
    write_secret(&key.dir.join(format!("{}.key", key.name)), json.as_bytes())?;
    let public = hex::encode(key.secret.public_key().as_bytes());
    write(&key.dir.join(format!("{}.pub", key.name)), format!("{public}\n").as_bytes())
}

/// Makes accounts with fresh keys.
pub(super) fn make_load_accounts(count: u32) -> Vec<LoadAccount> {
    let account = |_| {
        let secret = SecretKey::generate();
        LoadAccount { address: address_of(&secret.public_key()), seed: *secret.seed() }
    };
    (0..count).map(account).collect()
}

pub(super) fn write_load_accounts(
    file: &Path,
    accounts: &[LoadAccount],
) -> Result<(), NetworkError> {
    let document = Accounts { schema: ACCOUNTS_SCHEMA.to_owned(), accounts: accounts.to_vec() };
    let text = serde_json::to_string_pretty(&document).expect("plain data serialises");
    write_secret(file, text.as_bytes())
}

pub(super) fn read_load_accounts(file: &Path) -> Result<Vec<LoadAccount>, NetworkError> {
    let text = fs::read_to_string(file)
        .map_err(|source| NetworkError::Read { file: file.to_owned(), source })?;
    let malformed = |detail| NetworkError::Malformed { file: file.to_owned(), detail };
    let document: Accounts =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    if document.schema != ACCOUNTS_SCHEMA {
        return Err(malformed(format!("schema is {}, not {ACCOUNTS_SCHEMA}", document.schema)));
    }
    Ok(document.accounts)
}

/// Text that nobody can guess: the seed of a key that is used for nothing else.
pub(super) fn random_passphrase() -> String {
    hex::encode(SecretKey::generate().seed())
}

/// An account's address for a key.
pub(super) fn address(key: &PublicKey) -> Address {
    address_of(key)
}

pub(super) fn make_dir(dir: &Path, mode: u32) -> Result<(), NetworkError> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(dir);
    made.map_err(|source| NetworkError::Write { file: dir.to_owned(), source })
}

pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<(), NetworkError> {
    write_mode(file, bytes, 0o644)
}

pub(super) fn write_secret(file: &Path, bytes: &[u8]) -> Result<(), NetworkError> {
    write_mode(file, bytes, 0o600)
}

fn write_mode(file: &Path, bytes: &[u8], mode: u32) -> Result<(), NetworkError> {
    let open = || fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = open().and_then(|mut f| -> io::Result<()> { f.write_all(bytes) });
    written.map_err(|source| NetworkError::Write { file: file.to_owned(), source })
}
