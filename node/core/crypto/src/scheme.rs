//! ML-DSA-44 twice, behind one trait.

use aws_lc_rs::{
    rand::{SecureRandom, SystemRandom},
    signature::{KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey},
};
use ml_dsa::signature::Keypair;
use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa44, SigningKey, VerifyingKey};
use qbind_types::{PublicKey, SIGNATURE_BYTES, Signature};
use std::fmt;
use zeroize::Zeroizing;

/// Pure ML-DSA-44 with an empty context (FIPS 204, algorithms 2 and 3).
pub trait Scheme {
    /// The public key of a 32-byte seed (FIPS 204, algorithm 6).
    fn public_key(seed: &[u8; 32]) -> PublicKey;
    /// Signs with the key of a seed.
    fn sign(seed: &[u8; 32], message: &[u8]) -> Signature;
    /// Whether the signature is right; any malformed input is just wrong.
    fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// The `aws-lc-rs` implementation: fast, hedged signatures.
pub struct AwsLc;

impl Scheme for AwsLc {
    fn public_key(seed: &[u8; 32]) -> PublicKey {
        public_key_of(&key_pair(seed))
    }

    fn sign(seed: &[u8; 32], message: &[u8]) -> Signature {
        sign_with(&key_pair(seed), message)
    }

    fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ML_DSA_44, key.as_bytes())
            .verify(message, signature.as_bytes())
            .is_ok()
    }
}

fn key_pair(seed: &[u8; 32]) -> PqdsaKeyPair {
    PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed).expect("any 32 bytes are a seed")
}

fn public_key_of(pair: &PqdsaKeyPair) -> PublicKey {
    PublicKey::from_slice(pair.public_key().as_ref()).expect("an ML-DSA-44 key has 1,312 bytes")
}

fn sign_with(pair: &PqdsaKeyPair, message: &[u8]) -> Signature {
    let mut out = [0u8; SIGNATURE_BYTES];
    let written = pair.sign(message, &mut out).expect("signing in memory cannot fail");
    Signature::from_slice(&out[..written]).expect("an ML-DSA-44 signature has 2,420 bytes")
}

/// The pure Rust `ml-dsa` implementation: deterministic signatures.
pub struct Portable;

impl Scheme for Portable {
    fn public_key(seed: &[u8; 32]) -> PublicKey {
        let key = SigningKey::<MlDsa44>::from_seed(&(*seed).into());
        PublicKey::from_slice(&key.verifying_key().encode())
            .expect("an ML-DSA-44 key has 1,312 bytes")
    }

    fn sign(seed: &[u8; 32], message: &[u8]) -> Signature {
        let key = SigningKey::<MlDsa44>::from_seed(&(*seed).into());
        let signature = key
            .expanded_key()
            .sign_deterministic(message, &[])
            .expect("an empty context is never too long");
        Signature::from_slice(&signature.encode()).expect("an ML-DSA-44 signature has 2,420 bytes")
    }

    fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = EncodedVerifyingKey::<MlDsa44>::try_from(&key.as_bytes()[..]) else {
            return false;
        };
        let Ok(signature) = EncodedSignature::<MlDsa44>::try_from(&signature.as_bytes()[..]) else {
            return false;
        };
        ml_dsa::Signature::<MlDsa44>::decode(&signature).is_some_and(|signature| {
            VerifyingKey::<MlDsa44>::decode(&key).verify_with_context(message, &[], &signature)
        })
    }
}

/// Whether `signature` is `key`'s over `message`.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    AwsLc::verify(key, message, signature)
}

/// A signing key: the 32-byte FIPS 204 seed and its expansion. Never printed; wiped on drop.
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    pair: PqdsaKeyPair,
    public: PublicKey,
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        SystemRandom::new().fill(&mut seed[..]).expect("the operating system has randomness");
        Self::from_seed(&seed)
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = key_pair(seed);
        let public = public_key_of(&pair);
        Self { seed: Zeroizing::new(*seed), pair, public }
    }

    /// The seed: the whole secret.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs with fresh randomness (hedged).
    pub fn sign(&self, message: &[u8]) -> Signature {
        sign_with(&self.pair, message)
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self::from_seed(&self.seed)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(n: u8) -> [u8; 32] {
        [n; 32]
    }

    #[test]
    fn both_implementations_derive_the_same_key_and_accept_each_others_signatures() {
        for n in 0..8 {
            let key = AwsLc::public_key(&seed(n));
            assert_eq!(key, Portable::public_key(&seed(n)));
            for signature in [AwsLc::sign(&seed(n), b"m"), Portable::sign(&seed(n), b"m")] {
                assert!(AwsLc::verify(&key, b"m", &signature));
                assert!(Portable::verify(&key, b"m", &signature));
            }
        }
    }

    #[test]
    fn both_refuse_the_same_mutilated_signatures() {
        let key = AwsLc::public_key(&seed(1));
        let good = AwsLc::sign(&seed(1), b"m");
        for position in (0..SIGNATURE_BYTES).step_by(37) {
            for bit in [0x01u8, 0x80] {
                let mut bytes = *good.as_bytes();
                bytes[position] ^= bit;
                let bad = Signature::from_slice(&bytes).unwrap();
                assert!(!AwsLc::verify(&key, b"m", &bad), "byte {position}");
                assert!(!Portable::verify(&key, b"m", &bad), "byte {position}");
            }
        }
        assert!(!AwsLc::verify(&key, b"other", &good));
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{:?}", SecretKey::from_seed(&seed(3))), "SecretKey(<redacted>)");
    }
}
