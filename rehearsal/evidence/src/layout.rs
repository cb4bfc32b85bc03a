//! What may lie in an evidence directory, and how it may be called.

use thiserror::Error;

/// Path, size and digest of every other file.
pub const MANIFEST: &str = "manifest.json";
/// The signed rehearsal statement.
pub const ATTESTATION: &str = "attestation.dsse.json";
/// The signed test-result statement.
pub const TEST_RESULT: &str = "test-result.dsse.json";
/// What the statement says that no other file does.
pub const FACTS: &str = "facts.json";
/// Every gate with its verdict.
pub const GATES: &str = "gates.json";
/// What was done when.
pub const JOURNAL: &str = "journal.jsonl";
/// The plan, fixed before the run.
pub const PLAN: &str = "plan.yaml";
/// The plan, signed before the run.
pub const PLAN_SIGNED: &str = "plan.dsse.json";
/// The genesis file, where it is part of the evidence.
pub const GENESIS: &str = "genesis.json";

/// Written by sealing and not listed in the manifest: they speak about it.
pub const ENVELOPE: &[&str] = &[ATTESTATION, MANIFEST, TEST_RESULT];
/// Folder of what others decided about the bundle; not listed in the manifest either.
pub const SIGN_OFFS: &str = "sign-offs";
/// Without these there is nothing to attest.
pub const REQUIRED: &[&str] = &[FACTS, GATES, JOURNAL, PLAN];

/// Files known at the top of an evidence directory.
pub const FILES: &[&str] = &[
    ATTESTATION,
    "baseline.json",
    "checklist.md",
    "controls.json",
    "environment.json",
    FACTS,
    GATES,
    GENESIS,
    JOURNAL,
    "junit.xml",
    MANIFEST,
    "map.json",
    "metrics.om",
    PLAN_SIGNED,
    PLAN,
    "report.html",
    "report.json",
    "report.md",
    "summary.json",
    TEST_RESULT,
    "topology.yaml",
    "upgrade-checklist.md",
    "upgrade-envelope.json",
    "validators.json",
    "waivers.json",
];

/// Folders known at the top of an evidence directory.
pub const FOLDERS: &[&str] = &[
    "batches",
    "blocks",
    "commits",
    "config",
    "controls",
    "faults",
    "links",
    "load",
    "logs",
    "map",
    "measure",
    "peers",
    "scrapes",
    "series",
    SIGN_OFFS,
    "status",
    "steps",
    "transactions",
    "validators",
];

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameFault {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Starts at the root of a file system.
    #[error("is absolute")]
    Absolute,
    /// Has a `.` or `..`, or a doubled or trailing slash.
    #[error("has an empty, `.` or `..` component")]
    Component,
    /// Has a character outside `[a-z0-9._/-]`.
    #[error("has a character outside a-z 0-9 . _ / -")]
    Character,
    /// Does not fit a ustar header.
    #[error("is too long for a ustar header")]
    Long,
    /// Is not a known part of an evidence directory.
    #[error("is not a known part of an evidence directory")]
    Unknown,
}

/// Checks that `name` may stand in a bundle.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.starts_with('/') {
        return Err(NameFault::Absolute);
    }
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-');
    if !name.bytes().all(allowed) {
        return Err(NameFault::Character);
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(NameFault::Component);
    }
    if crate::ustar::split_name(name).is_none() {
        return Err(NameFault::Long);
    }
    if !is_known(name) {
        return Err(NameFault::Unknown);
    }
    Ok(())
}

/// Whether a file speaks about the evidence rather than being part of it.
pub fn is_envelope(name: &str) -> bool {
    ENVELOPE.contains(&name) || name.split_once('/').is_some_and(|(folder, _)| folder == SIGN_OFFS)
}

/// Whether the first component is one this format knows.
pub fn is_known(name: &str) -> bool {
    match name.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => FILES.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attestation_comes_first_and_the_manifest_before_what_is_parsed() {
        let top = FILES.iter().chain(FOLDERS).filter(|name| **name != ATTESTATION);
        assert!(top.clone().all(|name| ATTESTATION < *name), "{:?}", top.min());
        assert!(MANIFEST < PLAN && MANIFEST < "scrapes/");
    }

    #[test]
    fn accepts_evidence_and_names_each_fault() {
        for (name, expected) in [
            ("plan.yaml", Ok(())),
            ("steps/t222/result.json", Ok(())),
            ("", Err(NameFault::Empty)),
            ("/etc/passwd", Err(NameFault::Absolute)),
            ("steps/../../etc/passwd", Err(NameFault::Component)),
            ("steps//x", Err(NameFault::Component)),
            ("steps/./x", Err(NameFault::Component)),
            ("steps/", Err(NameFault::Component)),
            ("steps\\x", Err(NameFault::Character)),
            ("steps/T222", Err(NameFault::Character)),
            ("steps/a b", Err(NameFault::Character)),
            ("steps/ä", Err(NameFault::Character)),
            ("steps/a\n", Err(NameFault::Character)),
            ("keystore/consensus.key", Err(NameFault::Unknown)),
            ("passphrase", Err(NameFault::Unknown)),
        ] {
            assert_eq!(check_name(name), expected, "{name:?}");
        }
        assert_eq!(check_name(&format!("steps/{}", "a".repeat(101))), Err(NameFault::Long));
    }
}
