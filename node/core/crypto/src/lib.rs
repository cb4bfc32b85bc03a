//! ML-DSA-44, SHA3-256 and sealed secrets behind domain tags; the only maker of [`Verified`] values.
//!
//! Promises: a signature made for one network or kind of message never verifies for another (the
//! tag is the first field of every preimage); whatever the core is given as `Verified<T>` was
//! decoded from a canonical encoding and every signature in it checked against the validator set of
//! its epoch, or made by this process ([`Verifier::vouch`]); identifiers bind the whole content and no signature bytes.
//!
//! Signatures are pure ML-DSA-44 (FIPS 204) with an empty context. Two implementations stand behind
//! [`Scheme`]: [`AwsLc`] on hot paths, [`Portable`] as its differential partner and for
//! deterministic signing.
//!
//! Never here: consensus rules, sockets, files.

mod account_proof;
mod evidence;
mod hash;
mod light;
pub mod preimage;
mod scheme;
pub mod sealed;
mod verified;
mod verifiers;
mod verify_blocks;
mod verify_data;

pub use account_proof::{
    AccountProof, AccountProofError, EMPTY_TREE, PathEnd, ProvenAccount, account_key, inner_hash,
    leaf_hash, state_root,
};
pub use evidence::{NotEvidence, Proof, verify_evidence};
pub use hash::{
    Sha3, address_of, batch_id, block_id, genesis_hash, header, header_id, sha3_256, tx_id,
    validators_id,
};
pub use light::{LightClient, LightError};
pub use scheme::{AwsLc, Portable, Scheme, SecretKey, verify};
pub use verified::{Reject, Verified, Verifier};
pub use verifiers::Verifiers;
