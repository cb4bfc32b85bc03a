//! Whatever is changed in a sound bundle is noticed, and the file is named.

use super::*;
use crate::{Envelope, GatesSummary, Manifest, ManifestFile};

#[test]
fn no_bundle_with_a_changed_byte_is_valid() {
    let good = bundle();
    assert!(good.len() > 500);
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        assert!(!check(&bad).valid, "byte {position} of {}", good.len());
    }
}

#[test]
fn no_archive_with_a_changed_byte_is_valid_and_changed_content_names_its_file() {
    let good = unpack(&bundle());
    let mut at = 0;
    let mut owner = Vec::new();
    for (name, content) in files(&bundle()) {
        let end = at + BLOCK + content.len().next_multiple_of(BLOCK);
        owner.push((at + BLOCK..at + BLOCK + content.len(), name));
        at = end;
    }
    // Every position is too slow with a signature check each; a stride that is prime to the block
    // size visits all fields of headers and all files.
    for position in (0..good.len()).step_by(23) {
        let mut bad = good.clone();
        bad[position] ^= 0x04;
        let answer = check(&pack(&bad));
        assert!(!answer.valid, "byte {position}");
        if let Some((_, name)) = owner.iter().find(|(range, _)| range.contains(&position)) {
            let named = answer.findings.iter().any(|f| f.file.as_deref() == Some(name));
            assert!(named, "byte {position} of {name}: {:?}", answer.findings);
        }
    }
}

#[test]
fn one_changed_byte_of_each_file_names_that_file() {
    let good = files(&bundle());
    for name in good.keys() {
        let mut bad = good.clone();
        let content = bad.get_mut(name).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        let answer = check(&bundle_of(&bad));
        let first = answer.findings.first().and_then(|finding| finding.file.clone());
        assert_eq!(first.as_ref(), Some(name), "{:?}", answer.findings);
    }
}

#[test]
fn repacking_with_another_tool_still_names_the_changed_file() {
    let mut changed = files(&bundle());
    changed.insert("measure/table.json".to_owned(), b"[]".to_vec());
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in &changed {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        archive.append_data(&mut header, name, &content[..]).unwrap();
    }
    let frame = zstd::encode_all(&archive.into_inner().unwrap()[..], 3).unwrap();
    let answer = check(&frame);
    let changed: Vec<_> =
        answer.findings.iter().filter(|f| f.code == FindingCode::Changed).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].file.as_deref(), Some("measure/table.json"));
    assert!(codes(&answer).contains(&FindingCode::Header));
    assert!(codes(&answer).contains(&FindingCode::Container));
}

/// The attacker's next steps after changing a file: fit the manifest, then the statements.
fn rewritten(change: impl Fn(&mut BTreeMap<String, Vec<u8>>), sign_with: Option<u8>) -> Vec<u8> {
    let mut all = files(&bundle());
    change(&mut all);
    let list = all.iter().filter(|(name, _)| !layout::ENVELOPE.contains(&name.as_str())).map(
        |(name, content)| ManifestFile {
            path: name.clone(),
            size: content.len() as u64,
            sha3_256: Digest::of(&[content]),
        },
    );
    let manifest = Manifest::new(list.collect());
    if let Some(n) = sign_with {
        let statements = Statements::derive(
            &all[layout::FACTS],
            &all[layout::GATES],
            &all[layout::PLAN],
            &manifest,
        )
        .unwrap();
        for (name, payload) in [
            (layout::ATTESTATION, statements.rehearsal.to_bytes()),
            (layout::TEST_RESULT, statements.test_result.to_bytes()),
        ] {
            let mut envelope = Envelope::new(&payload);
            envelope.sign(&key(n));
            all.insert(name.to_owned(), envelope.to_bytes());
        }
    }
    all.insert(layout::MANIFEST.to_owned(), manifest.to_bytes());
    bundle_of(&all)
}

fn edit(name: &'static str) -> impl Fn(&mut BTreeMap<String, Vec<u8>>) {
    move |files| files.get_mut(name).unwrap().extend(b"\n")
}

#[test]
fn a_file_changed_together_with_the_manifest_no_longer_fits_what_was_signed() {
    let answer = check(&rewritten(edit("steps/t222/result.json"), None));
    assert_eq!(codes(&answer), [FindingCode::Statement]);
    let message = &answer.findings[0].message;
    assert!(message.contains("predicate.evidence.merkleRoot says"), "{message}");
}

#[test]
fn statements_signed_by_a_stranger_are_not_trusted() {
    let answer = check(&rewritten(edit("steps/t222/result.json"), Some(9)));
    assert_eq!(codes(&answer), [FindingCode::Untrusted]);
    assert_eq!(answer.signers[0].status, SignerStatus::Unknown);
    // The same by the trusted key is a new, valid attestation: the key decides.
    assert!(check(&rewritten(edit("steps/t222/result.json"), Some(1))).valid);
}

#[test]
fn a_plan_that_the_journal_does_not_know_is_refused() {
    let answer = check(&rewritten(edit("plan.yaml"), Some(1)));
    assert_eq!(codes(&answer), [FindingCode::Journal]);
    assert!(answer.findings[0].message.contains("speaks of a plan"), "{:?}", answer.findings);
}

#[test]
fn a_journal_rewritten_without_its_chain_is_refused() {
    let answer = check(&rewritten(
        |files| {
            let journal = files.get_mut("journal.jsonl").unwrap();
            let text = String::from_utf8(journal.clone()).unwrap().replace("measure", "MEASURE");
            *journal = text.into_bytes();
        },
        Some(1),
    ));
    assert_eq!(codes(&answer), [FindingCode::Journal]);
    assert!(answer.findings[0].message.starts_with("line 2 "), "{:?}", answer.findings);
}

#[test]
fn an_overall_verdict_better_than_its_gates_is_refused_even_if_signed() {
    let gates = |verdict: &str, hard: &str| {
        format!(
            r#"{{"schema":"qbind.gates/v1","verdict":"{verdict}","gates":[{{"id":"G1","severity":"hard","verdict":"{hard}"}}]}}"#
        )
        .into_bytes()
    };
    assert!(GatesSummary::parse(&gates("PASS", "FAIL")).is_err());
    // Derivation refuses such gates, so the statement of a clean run is signed over them.
    let mut all = files(&rewritten(
        |files| drop(files.insert("gates.json".to_owned(), gates("PASS", "PASS"))),
        Some(1),
    ));
    all.insert("gates.json".to_owned(), gates("PASS", "FAIL"));
    let list = all.iter().filter(|(name, _)| !layout::ENVELOPE.contains(&name.as_str())).map(
        |(name, content)| ManifestFile {
            path: name.clone(),
            size: content.len() as u64,
            sha3_256: Digest::of(&[content]),
        },
    );
    all.insert(layout::MANIFEST.to_owned(), Manifest::new(list.collect()).to_bytes());
    let answer = check(&bundle_of(&all));
    assert_eq!(codes(&answer), [FindingCode::Facts]);
}

#[test]
fn another_genesis_than_the_subject_is_refused() {
    let answer = check(&rewritten(edit("genesis.json"), Some(1)));
    assert_eq!(codes(&answer), [FindingCode::Subject]);
}

#[test]
fn a_signature_on_one_statement_only_does_not_count() {
    let mut all = files(&bundle());
    let test_result = all.get_mut(layout::TEST_RESULT).unwrap();
    let mut envelope = Envelope::parse(test_result).unwrap();
    envelope.signatures.clear();
    *test_result = envelope.to_bytes();
    let answer = check(&bundle_of(&all));
    assert_eq!(codes(&answer), [FindingCode::Signature, FindingCode::Untrusted]);
}

#[test]
fn a_wrong_signature_of_a_trusted_key_is_not_outweighed_by_a_right_one() {
    let dir = evidence();
    let out = dir.path().join("a.qbundle");
    let options = crate::SealOptions { facts: Some(&facts()), signers: &[key(1), key(2)] };
    crate::seal(dir.path(), &out, &options).unwrap();
    let mut all = files(&std::fs::read(out).unwrap());
    let attestation = all.get_mut(layout::ATTESTATION).unwrap();
    let mut envelope = Envelope::parse(attestation).unwrap();
    let other = envelope.signatures[0].sig.clone();
    let one =
        envelope.signatures.iter().position(|s| s.keyid == crate::key_id(&key(1).public_key()));
    let two = 1 - one.unwrap();
    envelope.signatures[two].sig =
        if two == 0 { envelope.signatures[1].sig.clone() } else { other };
    *attestation = envelope.to_bytes();
    let mut trust = trust();
    trust.keys.push(TrustedKey {
        name: "second".to_owned(),
        public_key: key(2).public_key(),
        ..trust.keys[0].clone()
    });
    let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
    assert_eq!(codes(&verify(&bundle_of(&all)[..], &options)), [FindingCode::Signature]);
}

#[test]
fn another_predicate_type_is_named() {
    let mut all = files(&bundle());
    let attestation = all.get_mut(layout::ATTESTATION).unwrap();
    let payload = String::from_utf8(Envelope::parse(attestation).unwrap().payload()).unwrap();
    let mut envelope = Envelope::new(payload.replace("rehearsal/v1", "rehearsal/v2").as_bytes());
    envelope.sign(&key(1));
    *attestation = envelope.to_bytes();
    let answer = check(&bundle_of(&all));
    assert_eq!(codes(&answer), [FindingCode::Statement, FindingCode::Statement]);
    assert!(answer.findings[1].message.contains("rehearsal/v2"), "{:?}", answer.findings);
}
