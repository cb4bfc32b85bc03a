//! Judges the raw files of a bundle again and compares with what its `gates.json` says.

use super::{Failure, opened};
use crate::commands::evidence_dir::{Unfit, no_room, verified_files};
use qbind_evidence::{Verification, VerifyOptions, layout};
use qbind_gates::{Files, GatesResult, PackError, evaluate, read, read_samples, records::paths};
use std::path::Path;

/// How the second judgement compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recomputed {
    /// Every gate says the same in every field.
    Match,
    /// What differs, gate by gate.
    Mismatch(Vec<String>),
    /// Why nothing can be compared: the stored gates are of another form, or the metrics take too much memory.
    Unverifiable(String),
    /// Why it was not tried, and what to try: this machine has no room for the files.
    NoRoom(String),
}

impl Recomputed {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Match => "MATCH",
            Self::Mismatch(_) => "MISMATCH",
            Self::Unverifiable(_) | Self::NoRoom(_) => "UNVERIFIABLE",
        }
    }

    pub(super) fn details(&self) -> &[String] {
        match self {
            Self::Match => &[],
            Self::Mismatch(gates) => gates,
            Self::Unverifiable(why) | Self::NoRoom(why) => std::slice::from_ref(why),
        }
    }
}

/// Verifies a bundle, and judges its raw files again; nothing is judged where something is wrong with it.
pub(super) fn verify_and_recompute(
    bundle: &Path,
    options: &VerifyOptions<'_>,
) -> Result<(Verification, Option<Recomputed>), Failure> {
    let (verified, files) = verified_files(opened(bundle)?, options);
    let recomputed = match files {
        Ok(files) => Some(recompute(&files)),
        Err(Unfit::Unsound(_)) => None,
        Err(Unfit::Unpacked(error)) => Some(match error {
            PackError::Metrics => Recomputed::Unverifiable(error.to_string()),
            PackError::Io(_) => Recomputed::NoRoom(no_room(&error)),
        }),
    };
    Ok((verified, recomputed))
}

/// As [`verify_and_recompute`], for who decides something by it: that there is no room decides nothing.
pub(super) fn verify_and_judge(
    bundle: &Path,
    options: &VerifyOptions<'_>,
) -> Result<(Verification, Option<Recomputed>), Failure> {
    match verify_and_recompute(bundle, options)? {
        (_, Some(Recomputed::NoRoom(why))) => {
            Err(Failure::new(why, "nothing was decided or signed"))
        }
        judged => Ok(judged),
    }
}

fn recompute(files: &Files) -> Recomputed {
    let stored = files.bytes(layout::GATES).and_then(|stored| {
        serde_json::from_slice(&stored.unwrap_or_default()).map_err(|e| e.to_string())
    });
    let stored: GatesResult = match stored {
        Ok(stored) => stored,
        Err(why) => return Recomputed::Unverifiable(format!("{}: {why}", layout::GATES)),
    };
    let again = evaluate(&read(files));
    let mut differences = compare(&stored, &again);
    differences.extend(other_table(files));
    match differences.is_empty() {
        true => Recomputed::Match,
        false => Recomputed::Mismatch(differences),
    }
}

/// A table of the network that does not follow from the samples: gates do not read it, people do.
fn other_table(files: &Files) -> Option<String> {
    let stored = files.bytes(paths::MATRIX).ok().flatten();
    // Samples that are not there or no samples are what gates say of themselves.
    let measurement = read_samples(files).ok()??.evaluate(&Default::default());
    let again = serde_json::to_string_pretty(&measurement).ok()? + "\n";
    (stored.as_deref() != Some(again.as_bytes()))
        .then(|| format!("{} does not follow from {}", paths::MATRIX, paths::SAMPLES))
}

fn compare(stored: &GatesResult, again: &GatesResult) -> Vec<String> {
    let mut differences = Vec::new();
    if stored.verdict != again.verdict {
        differences.push(format!(
            "overall: the bundle says {}, the raw files say {}",
            stored.verdict, again.verdict
        ));
    }
    for gate in &again.gates {
        match stored.gate(&gate.id) {
            Some(other) if other == gate => {}
            Some(other) => differences.push(format!(
                "{}: the bundle says {} ({}), the raw files say {} ({})",
                gate.id, other.verdict, other.value, gate.verdict, gate.value
            )),
            None => differences.push(format!("{}: the bundle does not have it", gate.id)),
        }
    }
    for gate in stored.gates.iter().filter(|gate| again.gate(&gate.id).is_none()) {
        differences.push(format!("{}: no such gate", gate.id));
    }
    differences
}
