//! The same verdict from the files as from memory, and none from damaged ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use qbind_evidence::Journal;
use qbind_gates::{
    Evidence, Files, Outcome, Packer, Verdict, controls, evaluate, evaluate_dir, read, read_dir,
    records::*,
};
use qbind_specimen::{sound, sound_with_added_gates, store};
use serde_json::json;
use std::{fs, path::Path};

/// Every file below `dir`, packed in the order of a bundle.
fn packed(dir: &Path) -> Files {
    fn below(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, out) } else { out.push(path) }
        }
    }
    let mut paths = Vec::new();
    below(dir, &mut paths);
    paths.sort();
    let packer = Packer::new(tempfile::tempfile().unwrap());
    for path in paths {
        let (name, bytes) = (path.strip_prefix(dir).unwrap(), fs::read(&path).unwrap());
        packer.take(name.to_str().unwrap(), bytes.len() as u64, &bytes);
    }
    packer.finish().unwrap()
}

/// The files of `evidence`, and a journal of its steps.
fn stored(evidence: &Evidence, dir: &Path) {
    store(evidence, dir).expect("a disk");
    let journal = Journal::create(&dir.join(paths::JOURNAL)).expect("a disk");
    for (id, sha3) in evidence.noted_steps.iter().flatten() {
        journal
            .append("step.done", json!({ "id": id, "verdict": "PASS", "result_sha3": sha3 }))
            .expect("a disk");
    }
}

#[test]
fn files_and_memory_give_the_same_result() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = sound_with_added_gates();
    stored(&evidence, dir.path());
    let (files, memory) = (evaluate_dir(dir.path()).unwrap(), evaluate(&evidence));
    assert!(files == memory, "{}\n{}", files.to_json(), memory.to_json());
    assert_eq!(evaluate_dir(dir.path()).unwrap().to_json(), files.to_json());
    let packed = evaluate(&read(&packed(dir.path())));
    assert!(packed == memory, "{}\n{}", packed.to_json(), memory.to_json());
    // What is planted in evidence that lies in files turns the same gates.
    let found = controls(&read_dir(dir.path()).unwrap());
    assert_eq!(found, controls(&evidence));
}

#[test]
fn a_file_in_pieces_is_packed_whole_whatever_comes_between() {
    let packer = Packer::new(tempfile::tempfile().unwrap());
    let large: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
    for (n, piece) in large.chunks(3_001).enumerate() {
        packer.take("commits/large.jsonl", large.len() as u64, piece);
        packer.take(&format!("blocks/{n}.bin"), 2, b"ab");
    }
    packer.take("blocks/empty.bin", 0, b"");
    packer.take("commits/next.jsonl", 3, b"abc");
    let files = packer.finish().unwrap();
    let bytes = |path: &str| files.bytes(path).unwrap();
    assert!(bytes("commits/large.jsonl") == Some(large));
    assert_eq!(bytes("blocks/empty.bin"), Some(vec![]));
    assert_eq!(bytes("blocks/7.bin").as_deref(), Some(&b"ab"[..]));
    assert_eq!(bytes("commits/next.jsonl").as_deref(), Some(&b"abc"[..]));
    assert_eq!(bytes("blocks/100.bin"), None);
}

#[test]
fn a_full_disk_is_no_evidence() {
    let full = fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let packer = Packer::new(full);
    packer.take("blocks/1.bin", 2, b"ab");
    packer.take("scrapes/eu-v1/0001.txt", 1, b"\n");
    assert!(packer.finish().is_err());
}

#[test]
fn metrics_larger_than_any_node_exports_are_none() {
    let dir = tempfile::tempdir().unwrap();
    stored(&sound(), dir.path());
    let body = dir.path().join(paths::scrape("us-v1", 3));
    let mut text = fs::read_to_string(&body).unwrap();
    for (bytes, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        text.extend(std::iter::repeat_n('\n', bytes - text.len()));
        fs::write(&body, &text).unwrap();
        for files in [Files::Dir(dir.path().to_owned()), packed(dir.path())] {
            let evidence = read(&files);
            assert_eq!(evidence.scrapes["us-v1"][3].samples.is_some(), is_read, "{bytes}");
        }
    }
}

#[test]
fn an_index_that_names_a_scrape_twice_is_none() {
    let dir = tempfile::tempdir().unwrap();
    stored(&sound(), dir.path());
    let index = dir.path().join(paths::SCRAPE_INDEX);
    let text = fs::read_to_string(&index).unwrap();
    let first = text.lines().next().unwrap();
    fs::write(&index, format!("{text}{first}\n")).unwrap();
    let result = evaluate_dir(dir.path()).unwrap();
    for id in ["G2", "G6"] {
        let gate = result.gate(id).unwrap();
        assert_eq!(gate.verdict, Outcome::Unknown, "{id}: {}", gate.note);
    }
    assert!(read_dir(dir.path()).unwrap().scrapes.is_empty());
}

#[test]
fn damaged_files_never_pass() {
    let dir = tempfile::tempdir().unwrap();
    stored(&sound(), dir.path());
    let node = "us-v1";
    for (path, gate) in [
        (paths::PLAN.to_owned(), "G1"),
        (paths::GENESIS.to_owned(), "G1"),
        (paths::LIVE.to_owned(), "G5"),
        (paths::commits(node), "G1"),
        (paths::transactions(node), "G3"),
        (paths::SCRAPE_INDEX.to_owned(), "G2"),
        (paths::peers(node), "G6"),
        (paths::status(node), "G12"),
        (paths::config(node), "G12"),
        (paths::TRANSACTIONS.to_owned(), "G8"),
        (paths::LOAD_SUMMARY.to_owned(), "G8"),
        (paths::SAMPLES.to_owned(), "G10"),
        (paths::JOURNAL.to_owned(), "G11"),
        (paths::step("t223"), "G11"),
        (paths::LINK_SNAPSHOTS[3].to_owned(), "G13"),
    ] {
        let full = dir.path().join(&path);
        let good = fs::read(&full).unwrap();
        fs::write(&full, b"{\"schema\": \xff").unwrap();
        let result = evaluate_dir(dir.path()).unwrap();
        let verdict = result.gate(gate).unwrap().verdict;
        assert_eq!(verdict, Outcome::Unknown, "{path} damaged, {gate}");
        assert_ne!(result.verdict, Verdict::Pass, "{path} damaged");
        assert!(
            result.gate(gate).unwrap().note.contains("cannot be read")
                || gate == "G2"
                || gate == "G1",
            "{path}: {}",
            result.gate(gate).unwrap().note
        );
        fs::write(&full, good).unwrap();
    }
    assert_eq!(evaluate_dir(dir.path()).unwrap().verdict, Verdict::Pass);
}

#[test]
fn hostile_names_do_not_lead_out() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("evidence");
    store(&sound(), &inside).unwrap();
    let body = inside.join(paths::scrape("us-v1", 0));
    fs::copy(body, dir.path().join("000000.txt")).unwrap();
    let line = ScrapeLine {
        node: "../../evidence/..".into(),
        seq: 0,
        at_unix_ms: 1_800_000_000_000,
        duration_ms: 1,
        status: Some(200),
        bytes: 1,
        file: Some("scrapes/../../evidence/../000000.txt".into()),
        error: None,
    };
    fs::write(inside.join(paths::SCRAPE_INDEX), serde_json::to_string(&line).unwrap()).unwrap();
    let evidence = read_dir(&inside).unwrap();
    assert!(evidence.scrapes.values().flatten().all(|s| s.samples.is_none()));
}

#[test]
fn no_directory_is_the_callers_fault() {
    let error = evaluate_dir(Path::new("/nonexistent/x")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/x is no readable directory"), "{error}");
}
