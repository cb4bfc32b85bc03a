//! Secrets at rest: EncryptedFsV1, a JSON document with PBKDF2-HMAC-SHA256 and ChaCha20-Poly1305.

use crate::SecretKey;
use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use thiserror::Error;
use zeroize::Zeroizing;

const ITERATIONS: u32 = 600_000;
/// A file may ask for at most this many: opening must end.
const MAX_ITERATIONS: u32 = 10_000_000;
const KDF: &str = "pbkdf2-hmac-sha256";
const AEAD: &str = "chacha20-poly1305";
const SUITE: u16 = 100;

/// Why a sealed secret cannot be opened.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// Not the JSON of this format.
    #[error("not a sealed key file: {detail}")]
    Malformed {
        /// What is wrong, with line and column where known.
        detail: String,
    },
    /// A version, suite, kdf or aead this build does not know.
    #[error("unsupported {field} {value}")]
    Unsupported {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// The passphrase is wrong, or the file was changed: the two look alike by design.
    #[error("wrong passphrase, or the file was altered")]
    WrongPassphrase,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    suite_id: u16,
    kdf: String,
    kdf_iterations: u32,
    aead: String,
    salt_hex: String,
    nonce_hex: String,
    ciphertext_hex: String,
}

#[derive(Serialize, Deserialize)]
struct Plaintext {
    private_key_hex: String,
}

/// Encrypts `secret` under `passphrase`; the answer is a JSON document.
pub fn seal(secret: &SecretKey, passphrase: &str) -> String {
    let mut salt = [0u8; 16];
    let mut nonce = [0u8; 12];
    let random = SystemRandom::new();
    random.fill(&mut salt).expect("the operating system has randomness");
    random.fill(&mut nonce).expect("the operating system has randomness");
    let plain = Plaintext { private_key_hex: hex::encode(secret.seed()) };
    let mut bytes = serde_json::to_vec(&plain).expect("a string serialises");
    cipher(passphrase, &salt, ITERATIONS)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes)
        .expect("the plaintext is short");
    let document = Document {
        version: 1,
        suite_id: SUITE,
        kdf: KDF.to_owned(),
        kdf_iterations: ITERATIONS,
        aead: AEAD.to_owned(),
        salt_hex: hex::encode(salt),
        nonce_hex: hex::encode(nonce),
        ciphertext_hex: hex::encode(bytes),
    };
    serde_json::to_string_pretty(&document).expect("strings serialise") + "\n"
}

/// Decrypts what [`seal`] made.
///
/// # Errors
/// The operator's fault: not such a file, or not its passphrase.
pub fn open(json: &str, passphrase: &str) -> Result<SecretKey, SealError> {
    let malformed = |detail: String| SealError::Malformed { detail };
    let document: Document = serde_json::from_str(json).map_err(|e| malformed(e.to_string()))?;
    let unsupported = |field, value: String| Err(SealError::Unsupported { field, value });
    if document.version != 1 {
        return unsupported("version", document.version.to_string());
    }
    if document.suite_id != SUITE {
        return unsupported("suite_id", document.suite_id.to_string());
    }
    if document.kdf != KDF {
        return unsupported("kdf", document.kdf);
    }
    if document.aead != AEAD {
        return unsupported("aead", document.aead);
    }
    if !(1..=MAX_ITERATIONS).contains(&document.kdf_iterations) {
        return unsupported("kdf_iterations", document.kdf_iterations.to_string());
    }
    let field = |name: &str, text: &str| {
        hex::decode(text).map_err(|_| malformed(format!("{name} is not hexadecimal")))
    };
    let salt = field("salt_hex", &document.salt_hex)?;
    let nonce: [u8; 12] = field("nonce_hex", &document.nonce_hex)?
        .try_into()
        .map_err(|_| malformed("nonce_hex is not 12 bytes".to_owned()))?;
    let mut bytes = Zeroizing::new(field("ciphertext_hex", &document.ciphertext_hex)?);
    let plain = cipher(passphrase, &salt, document.kdf_iterations)
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes)
        .map_err(|_| SealError::WrongPassphrase)?;
    let plain: Plaintext =
        serde_json::from_slice(plain).map_err(|_| malformed("no private key inside".to_owned()))?;
    let mut seed = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(&plain.private_key_hex, &mut seed[..])
        .map_err(|_| malformed("the private key is not a 32-byte seed".to_owned()))?;
    Ok(SecretKey::from_seed(&seed))
}

fn cipher(passphrase: &str, salt: &[u8], iterations: u32) -> LessSafeKey {
    let mut key = Zeroizing::new([0u8; 32]);
    let iterations = NonZeroU32::new(iterations).expect("at least one, checked");
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        passphrase.as_bytes(),
        &mut key[..],
    );
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("32 bytes are a key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_the_passphrase_and_with_no_other() {
        let secret = SecretKey::from_seed(&[7; 32]);
        let sealed = seal(&secret, "correct");
        assert_eq!(open(&sealed, "correct").unwrap().seed(), secret.seed());
        assert_eq!(open(&sealed, "wrong").unwrap_err(), SealError::WrongPassphrase);
        assert!(!sealed.contains(&hex::encode(secret.seed())));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let sealed = seal(&SecretKey::from_seed(&[7; 32]), "p");
        for (from, to, field) in [
            ("\"version\": 1", "\"version\": 2", "version"),
            ("\"suite_id\": 100", "\"suite_id\": 0", "suite_id"),
            ("pbkdf2-hmac-sha256", "md5", "kdf"),
            ("600000", "4000000000", "kdf_iterations"),
        ] {
            match open(&sealed.replace(from, to), "p").unwrap_err() {
                SealError::Unsupported { field: got, .. } => assert_eq!(got, field),
                other => panic!("{other}"),
            }
        }
        assert!(matches!(open("{}", "p"), Err(SealError::Malformed { .. })));
    }
}
