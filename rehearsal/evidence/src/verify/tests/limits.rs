//! Reading ends where it would take too much. Hostile bundles themselves: see the crate `specimen`.

use super::*;

fn doubled() -> Vec<u8> {
    let all = files(&bundle());
    let entries = all.iter().map(|(name, content)| (name.as_str(), &content[..]));
    pack(&tar(entries.flat_map(|entry| [entry, entry])))
}

#[test]
fn limits_end_the_reading() {
    let with = |limits: Limits| {
        let options = VerifyOptions { limits, ..VerifyOptions::default() };
        codes(&verify(&bundle()[..], &options))
    };
    let limits = Limits::default();
    assert_eq!(with(limits), []);
    assert!(with(Limits { files: 3, ..limits }).contains(&Code::TooLarge));
    assert!(with(Limits { file_bytes: 300, ..limits }).contains(&Code::TooLarge));
    assert!(with(Limits { total_bytes: 9_000, ..limits }).contains(&Code::TooLarge));
    assert!(with(Limits { name_bytes: 100, ..limits }).contains(&Code::TooLarge));
    let options =
        VerifyOptions { limits: Limits { findings: 5, ..limits }, ..VerifyOptions::default() };
    let answer = verify(&doubled()[..], &options);
    assert!(answer.findings.len() < 12, "{}", answer.findings.len());
}

#[test]
fn a_finding_does_not_repeat_what_a_stranger_wrote_at_length() {
    let mut files = files(&bundle());
    let manifest = files.get_mut(layout::MANIFEST).unwrap();
    let text = String::from_utf8(manifest.clone()).unwrap();
    let long = "é".repeat(1 << 20);
    *manifest = text.replacen("qbind.manifest/v1", &long, 1).into_bytes();
    let answer = check(&bundle_of(&files));
    let longest = answer.findings.iter().map(|finding| finding.to_string().len()).max();
    assert!(longest.is_some_and(|bytes| (1_000..2_100).contains(&bytes)), "{longest:?}");
}

#[test]
fn of_a_thousand_faults_a_hundred_are_named() {
    let mut files = files(&bundle());
    for n in 0..1_000 {
        files.insert(format!("commits/{n:04}.jsonl"), Vec::new());
    }
    let answer = check(&bundle_of(&files));
    let messages: Vec<String> = answer.findings.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 101, "{:?}", messages.last());
    assert!(messages[100].contains("900 more"), "{}", messages[100]);
}
