//! Hostile bundles are refused for their own reason, in little memory, and nothing leaves the directory
//! they were to be extracted to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use peak_alloc::PeakAlloc;
use qbind_crypto::SecretKey;
use qbind_evidence::{VerifyOptions, extract, verify};
use qbind_specimen::{Operator, hostile, sealed, sound};
use std::{fs, path::Path};

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// What a reader may hold at once: the window of 16 MiB, the names of 100,000 files, buffers.
const MEMORY: usize = 64 << 20;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_is_refused_for_its_own_reason_in_bounded_memory_and_writes_nothing_outside() {
    let room = tempfile::tempdir().unwrap();
    let bundle = room.path().join("sound.qbundle");
    let operator =
        Operator { key: SecretKey::from_seed(&[1; 32]), finished_unix_ms: 1_800_000_200_000 };
    sealed(&sound(), &operator, &room.path().join("out"), &bundle).unwrap();
    let trust = operator.trust();
    let corpus = hostile(&fs::read(&bundle).unwrap());
    assert!(corpus.len() >= 40, "{}", corpus.len());
    for bad in &corpus {
        let name = bad.name;
        PEAK.reset_peak_usage();
        let before = PEAK.current_usage();
        let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
        let answer = verify(&bad.bytes[..], &options);
        let held = PEAK.peak_usage() - before;
        assert!(held < MEMORY, "{name} made its reader hold {held} bytes");
        assert!(!answer.valid, "{name}");
        let codes: Vec<_> = answer.findings.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&bad.expected), "{name}: {:?}", answer.findings);
        let printable = |text: &str| text.chars().all(|c| !c.is_control());
        assert!(answer.findings.iter().all(|f| printable(&f.to_string())), "{name}");

        let cell = room.path().join(name);
        fs::create_dir(&cell).unwrap();
        fs::write(cell.join("bad"), &bad.bytes).unwrap();
        assert!(extract(&cell.join("bad"), &cell.join("target")).is_err(), "{name}");
        assert!(names(&cell).iter().all(|file| ["bad", "target"].contains(&&**file)), "{name}");
        let left = fs::read_dir(cell.join("target")).map_or(0, |files| files.count());
        assert_eq!(left, 0, "{name} left files behind");
        fs::remove_dir_all(cell).unwrap();
    }
}
