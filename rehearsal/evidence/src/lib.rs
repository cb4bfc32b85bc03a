//! Journal, bundle, DSSE signatures, verification.
//!
//! A rehearsal leaves a directory of raw evidence. [`seal`] packs it into one file, the *bundle*,
//! with a manifest (path, size and SHA3-256 of every file, and a Merkle root over them) and two
//! signed in-toto statements; [`verify`] decides, from the bundle and a list of trusted keys alone,
//! whether the evidence is what was signed. The bytes are described in `docs/evidence.md`.
//!
//! Promises: the same directory and keys give the same bundle, byte for byte; no bundle with a
//! changed byte verifies; a reader of a hostile bundle uses bounded memory and time and writes
//! nothing; what a statement says is derived from the files it covers, never typed beside them.
//!
//! Whether the *run* passed and whether the *bundle* is valid are two answers: a signed FAIL is a
//! valid bundle.
//!
//! Never here: judging a gate, a network socket, unpacking through an archive library.

mod aside;
mod container;
mod digest;
mod drift;
mod dsse;
mod envelopes;
mod extract;
mod facts;
mod findings;
mod journal;
mod keys;
pub mod layout;
mod manifest;
mod merkle;
mod plan_signed;
mod planned;
mod reader;
mod seal;
mod sign;
mod sign_off;
mod statement;
mod trust;
mod ustar;
mod verify;

pub use digest::{Digest, DigestPair, Digester, digest_of_file};
pub use drift::{DRIFT_PREDICATE, DriftNotice, Lasting};
pub use dsse::{Envelope, EnvelopeError, EnvelopeSignature, IN_TOTO_PAYLOAD, key_id, pae};
pub use extract::{ExtractError, extract};
pub use facts::{
    Facts, FactsError, Form, GateType, GateVerdict, GatesSummary, Outcome, Severity, Subject,
    Verdict,
};
pub use findings::{Finding, FindingCode};
pub use journal::{Journal, JournalError, JournalFault, JournalSummary, Record, verify_journal};
pub use keys::{KeyError, PublishedKey, create_key, open_key};
pub use manifest::{Manifest, ManifestFile};
pub use merkle::{Leaf, merkle_root};
pub use plan_signed::{PLAN_PREDICATE, PLAN_SIGNED_FIELD, PLAN_SIGNED_RECORD, sign_plan};
pub use reader::{BundleReader, Entry, Limits};
pub use seal::{SealError, SealOptions, Sealed, seal};
pub use sign::{SignError, Signed, cosign_bundle, sign_bundle};
pub use sign_off::{Decision, REASON_BYTES, SIGN_OFF_PREDICATE, Seen, SignOff, SignedOff, Waiver};
pub use statement::{
    Predicate, REHEARSAL_PREDICATE, STATEMENT_TYPE, Statement, TEST_RESULT_PREDICATE,
};
pub use trust::{Trust, TrustError, TrustedKey};
pub use verify::{
    SignerReport, SignerStatus, Take, Verification, VerifyOptions, verify, verify_taking,
};
