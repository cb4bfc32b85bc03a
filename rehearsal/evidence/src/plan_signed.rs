//! The plan, signed before the run: who may doubt that a bar was moved compares with the copy they were
//! given then.

use crate::{
    digest::{Digest, DigestPair},
    dsse::Envelope,
    facts::Subject,
    layout,
    statement::{STATEMENT_TYPE, Statement, rfc3339},
};
use qbind_crypto::SecretKey;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// Type of the predicate.
pub const PLAN_PREDICATE: &str = "https://qbind.org/attestation/plan/v1";
/// The kind of the journal's second record, which names the envelope.
pub const PLAN_SIGNED_RECORD: &str = "plan.signed";
/// The field that names it.
pub const PLAN_SIGNED_FIELD: &str = "envelope_sha3_256";

/// Predicate `https://qbind.org/attestation/plan/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fixed {
    /// When, RFC 3339 in UTC with milliseconds.
    fixed_at: String,
}

fn statement(plan: &[u8], fixed_at: String) -> Statement<Fixed> {
    Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        subject: vec![Subject { name: layout::PLAN.to_owned(), digest: DigestPair::of(plan) }],
        predicate_type: PLAN_PREDICATE.to_owned(),
        predicate: Fixed { fixed_at },
    }
}

/// Signs the plan in `dir` and leaves the envelope beside it; its digest belongs into the journal, as
/// the field [`PLAN_SIGNED_FIELD`] of its second record, [`PLAN_SIGNED_RECORD`].
///
/// # Errors
/// The plan cannot be read, or the envelope not be written.
pub fn sign_plan(dir: &Path, unix_ms: u64, keys: &[SecretKey]) -> io::Result<Digest> {
    let plan = fs::read(dir.join(layout::PLAN))?;
    let mut envelope = Envelope::new(&statement(&plan, rfc3339(unix_ms)).to_bytes());
    keys.iter().for_each(|key| envelope.sign(key));
    let bytes = envelope.to_bytes();
    fs::write(dir.join(layout::PLAN_SIGNED), &bytes)?;
    Ok(Digest::of(&[&bytes]))
}

/// The envelope and the time it names; or, in words, what is wrong with it.
pub(crate) fn read(bytes: &[u8], plan: &[u8]) -> Result<(Envelope, String), String> {
    let envelope = Envelope::parse(bytes).map_err(|e| e.to_string())?;
    let payload = envelope.payload();
    let found: Statement<Fixed> =
        serde_json::from_slice(&payload).map_err(|e| format!("is not understood: {e}"))?;
    if found.subject.first().map(|s| s.digest) != Some(DigestPair::of(plan)) {
        return Err("is about another plan: the bar was moved after it was signed".to_owned());
    }
    let at = found.predicate.fixed_at;
    if statement(plan, at.clone()).to_bytes() != payload {
        return Err("is not written in the one way there is".to_owned());
    }
    Ok((envelope, at))
}
