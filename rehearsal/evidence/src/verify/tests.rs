use super::*;
use crate::{
    TrustedKey,
    container::seal_for,
    findings::FindingCode,
    seal::tests::{bundle, evidence, facts, key},
    ustar::{self, BLOCK},
};
use std::collections::BTreeMap;

mod handover;
mod limits;
mod planned;
mod tamper;

pub(crate) fn trust() -> Trust {
    Trust::new(vec![TrustedKey {
        name: "operator".to_owned(),
        operator: "o".to_owned(),
        organisation: "o".to_owned(),
        public_key: key(1).public_key(),
    }])
}

pub(super) fn check(bytes: &[u8]) -> Verification {
    let trust = trust();
    verify(bytes, &VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() })
}

/// Kinds of everything that is wrong.
pub(super) fn codes(answer: &Verification) -> Vec<FindingCode> {
    answer.findings.iter().map(|finding| finding.code).collect()
}

/// Compresses and seals an archive, as an attacker can.
pub(super) fn pack(tar: &[u8]) -> Vec<u8> {
    let mut frame = zstd::encode_all(tar, 3).unwrap();
    frame.extend(seal_for(&frame));
    frame
}

pub(super) fn unpack(bundle: &[u8]) -> Vec<u8> {
    zstd::decode_all(bundle).unwrap()
}

/// The files of a bundle.
pub(super) fn files(bundle: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let tar = unpack(bundle);
    let mut files = BTreeMap::new();
    let mut at = 0;
    loop {
        let header: &[u8; BLOCK] = tar[at..at + BLOCK].try_into().unwrap();
        if header == &[0; BLOCK] {
            return files;
        }
        let parsed = ustar::parse(header).unwrap();
        let size = parsed.size as usize;
        files.insert(parsed.name, tar[at + BLOCK..at + BLOCK + size].to_vec());
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

/// An archive of these entries in this order.
pub(super) fn tar<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in entries {
        tar.extend(ustar::header(name, content.len() as u64).unwrap());
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

pub(super) fn bundle_of(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    pack(&tar(files.iter().map(|(name, content)| (name.as_str(), &content[..]))))
}

#[test]
fn a_sound_bundle_is_valid_and_says_what_it_says() {
    let answer = check(&bundle());
    assert!(answer.valid, "{:?}", answer.findings);
    assert_eq!(answer.signers[0].status, SignerStatus::Valid);
    assert_eq!(answer.signers[0].name.as_deref(), Some("operator"));
    assert_eq!(answer.journal.unwrap().records, 2);
    let said = answer.statement.unwrap().predicate;
    assert_eq!(said.verdict, crate::Verdict::Pass);
    assert_eq!(said.window.start, "2026-02-10T00:00:00.000Z");
    assert_eq!(said.validity.end, "2026-03-12T00:06:00.500Z");
    // Packing by other means with the same content is as good.
    assert!(check(&bundle_of(&files(&bundle()))).valid);
}

#[test]
fn a_signed_fail_is_a_valid_bundle() {
    let dir = evidence();
    let gates = r#"{"schema":"qbind.gates/v1","verdict":"FAIL","gates":[{"id":"G1","severity":"hard","verdict":"FAIL"}]}"#;
    std::fs::write(dir.path().join("gates.json"), gates).unwrap();
    let out = dir.path().join("a.qbundle");
    let options = crate::SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    crate::seal(dir.path(), &out, &options).unwrap();
    let answer = check(&std::fs::read(out).unwrap());
    assert!(answer.valid);
    assert_eq!(answer.statement.unwrap().predicate.verdict, crate::Verdict::Fail);
}

#[test]
fn validity_is_a_period() {
    let bytes = bundle();
    let at = |now| {
        let options = VerifyOptions { now_unix_ms: Some(now), ..VerifyOptions::default() };
        codes(&verify(&bytes[..], &options))
    };
    let facts = facts();
    assert_eq!(at(facts.finished_unix_ms), []);
    assert_eq!(at(facts.valid_until_unix_ms()), []);
    assert_eq!(at(facts.valid_until_unix_ms() + 1), [FindingCode::Expired]);
    assert_eq!(at(facts.finished_unix_ms - 3_600_000), [FindingCode::Expired]);
}

#[test]
fn a_local_file_must_be_a_subject() {
    let bytes = bundle();
    let about = |content: &[u8]| {
        let subjects = [("target/qbind-node".to_owned(), DigestPair::of(content))];
        let options = VerifyOptions { subjects: &subjects, ..VerifyOptions::default() };
        codes(&verify(&bytes[..], &options))
    };
    assert_eq!(about(b"binary"), []);
    assert_eq!(about(b"another binary"), [FindingCode::Subject]);
}
