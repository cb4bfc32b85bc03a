//! What is handed over while a bundle is verified.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Mutex;

/// What is handed over of a bundle, piece by piece.
fn handed_over(bundle: &[u8], trust: Option<&Trust>) -> (Verification, BTreeMap<String, Vec<u8>>) {
    let taken = Mutex::new(BTreeMap::<String, (u64, Vec<u8>)>::new());
    let options = VerifyOptions { trust, ..VerifyOptions::default() };
    let answer = verify_taking(bundle, &options, &|name, size, piece| {
        let mut taken = taken.lock().unwrap();
        let (first, content) = taken.entry(name.to_owned()).or_insert((size, Vec::new()));
        assert_eq!(*first, size, "{name}");
        assert!(size > 8 << 20 || piece.len() as u64 == size, "{name} comes whole");
        content.extend_from_slice(piece);
    });
    let taken = taken.into_inner().unwrap().into_iter();
    (answer, taken.map(|(name, (_, content))| (name, content)).collect())
}

fn listed(bundle: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(bundle);
    files.retain(|name, _| !layout::is_envelope(name));
    files
}

#[test]
fn every_file_of_a_valid_bundle_is_handed_over_once() {
    let dir = evidence();
    std::fs::create_dir_all(dir.path().join("commits")).unwrap();
    std::fs::write(dir.path().join("commits/empty.jsonl"), "").unwrap();
    let large: Vec<u8> = (0..9 << 20).map(|n: u32| n.wrapping_mul(0x9e37_79b9) as u8).collect();
    std::fs::write(dir.path().join("commits/large.jsonl"), large).unwrap();
    let out = dir.path().join("a.qbundle");
    let options = crate::SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    crate::seal(dir.path(), &out, &options).unwrap();
    let bundle = std::fs::read(out).unwrap();
    for trust in [None, Some(&trust())] {
        let (answer, taken) = handed_over(&bundle, trust);
        assert!(answer.valid, "{:?}", answer.findings);
        assert!(taken == listed(&bundle), "{:?}", taken.keys());
    }
}

#[test]
fn nothing_of_a_stranger_is_handed_over() {
    let mut of_another = trust();
    of_another.keys[0].public_key = key(2).public_key();
    let (answer, taken) = handed_over(&bundle(), Some(&of_another));
    assert_eq!(codes(&answer), [FindingCode::Untrusted]);
    assert_eq!(taken, BTreeMap::new());
    // What a trusted key signed is nothing to go by once it was changed.
    let mut files = files(&bundle());
    let attestation = files.get_mut(layout::ATTESTATION).unwrap();
    let mut envelope: Value = serde_json::from_slice(attestation).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"]["evidence"]["bytes"] = 1_000_000.into();
    envelope["payload"] = STANDARD.encode(statement.to_string()).into();
    *attestation = envelope.to_string().into_bytes();
    let bundle = bundle_of(&files);
    let (answer, taken) = handed_over(&bundle, Some(&trust()));
    assert!(codes(&answer).contains(&FindingCode::Signature), "{:?}", answer.findings);
    assert_eq!(taken, BTreeMap::new());
    // Who asks for nobody's signature has its word only.
    assert!(!handed_over(&bundle, None).1.is_empty());
}

#[test]
fn after_the_manifest_only_what_it_lists_is_handed_over() {
    let bundle = bundle();
    let body = "scrapes/eu-west-v1/0001.txt";
    let replaced = |name: &str, content: &[u8]| {
        let mut files = files(&bundle);
        files.insert(name.to_owned(), content.to_vec());
        handed_over(&bundle_of(&files), Some(&trust())).1
    };
    assert!(replaced(body, b"qbind_consensus_view_lag 0\n").contains_key(body));
    let without = |taken: BTreeMap<String, Vec<u8>>, name: &str| {
        let mut expected = listed(&bundle);
        expected.remove(name);
        assert_eq!(taken.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
    };
    without(replaced(body, b"qbind_consensus_view_lag 1\n"), body);
    without(replaced("scrapes/eu-west-v1/0002.txt", b""), "scrapes/eu-west-v1/0002.txt");
    without(replaced(layout::PLAN, b"schema: qbind.plan/v2\nname: example\n"), layout::PLAN);
    // Another manifest than the signed one lists nothing.
    let mut manifest = Manifest::parse(&files(&bundle)[layout::MANIFEST]).unwrap();
    manifest.files[0].size += 1;
    let taken = replaced(layout::MANIFEST, &Manifest::new(manifest.files).to_bytes());
    let is_before = |taken: BTreeMap<String, Vec<u8>>| {
        let before = taken.keys().all(|name| &**name < layout::MANIFEST);
        assert!(before && taken.contains_key(layout::FACTS), "{:?}", taken.keys());
    };
    is_before(taken);
    // Without one nothing is known to be listed, nor before one that comes too late.
    let mut files = files(&bundle);
    let manifest = files.remove(layout::MANIFEST).unwrap();
    is_before(handed_over(&bundle_of(&files), Some(&trust())).1);
    files.insert(body.to_owned(), b"qbind_consensus_view_lag 1\n".to_vec());
    let entries = files.iter().map(|(name, content)| (name.as_str(), &content[..]));
    let last = pack(&tar(entries.chain([(layout::MANIFEST, &manifest[..])])));
    let (answer, taken) = handed_over(&last, Some(&trust()));
    assert!(codes(&answer).contains(&FindingCode::Unsorted), "{:?}", answer.findings);
    assert!(!taken.contains_key(body) && !taken.contains_key(layout::PLAN), "{:?}", taken.keys());
}

#[test]
fn a_large_file_after_the_manifest_is_handed_over_only_as_it_is_listed() {
    let dir = evidence();
    let large = "scrapes/eu-west-v1/large.txt";
    std::fs::write(dir.path().join(large), vec![1; 9 << 20]).unwrap();
    let out = dir.path().join("a.qbundle");
    let options = crate::SealOptions { facts: Some(&facts()), signers: &[key(1)] };
    crate::seal(dir.path(), &out, &options).unwrap();
    let bundle = std::fs::read(out).unwrap();
    let instead = |name: &str, bytes: usize| {
        let mut files = files(&bundle);
        files.remove(large).unwrap();
        files.insert(name.to_owned(), vec![1; bytes]);
        handed_over(&bundle_of(&files), Some(&trust())).1.contains_key(name)
    };
    assert!(instead(large, 9 << 20));
    assert!(!instead(large, (9 << 20) - 1));
    assert!(!instead("scrapes/eu-west-v1/other.txt", 9 << 20));
}

#[test]
fn no_more_is_handed_over_than_was_signed_for() {
    let bundle = bundle();
    let signed: usize = listed(&bundle).values().map(Vec::len).sum();
    let mut files = files(&bundle);
    for n in 0..100 {
        files.insert(format!("commits/{n:03}.jsonl"), vec![0; signed / 3]);
    }
    files.insert("commits/large.jsonl".to_owned(), vec![0; 20 << 20]);
    let (answer, taken) = handed_over(&bundle_of(&files), Some(&trust()));
    assert!(codes(&answer).contains(&FindingCode::Unlisted));
    let bytes: usize = taken.values().map(Vec::len).sum();
    assert!((signed / 3..=signed).contains(&bytes), "{bytes} of {signed}");
}
