//! The same verdict from the files as from memory, and none from damaged ones.

use super::cluster::*;
use crate::{Evidence, Outcome, Verdict, evaluate, evaluate_dir, records::*};
use serde::Serialize;
use std::{fs, path::Path};

fn put(dir: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let full = dir.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, bytes).unwrap();
}

fn lines<T: Serialize>(items: &[T]) -> String {
    items.iter().map(|i| serde_json::to_string(i).unwrap() + "\n").collect()
}

fn store(dir: &Path, e: &Evidence) {
    put(dir, paths::PLAN, e.plan.as_ref().unwrap().to_yaml());
    put(dir, paths::GENESIS, e.genesis.as_ref().unwrap());
    put(dir, paths::LIVE, serde_json::to_string(&e.live).unwrap());
    put(dir, paths::LOAD_SUMMARY, serde_json::to_string(&e.load).unwrap());
    put(dir, paths::TRANSACTIONS, lines(&e.transactions));
    put(dir, paths::MATRIX, serde_json::to_string(&e.matrix).unwrap());
    for (height, raw) in &e.blocks {
        put(dir, &paths::block(*height), raw);
    }
    for (name, raw) in &e.batches {
        put(dir, &paths::batch(name), raw);
    }
    for (id, step) in &e.steps {
        put(dir, &paths::step(id), step.result.to_string());
    }
    for (path, snapshot) in &e.links {
        put(dir, path, serde_json::to_string(snapshot).unwrap());
    }
    let mut index = Vec::new();
    for node in e.plan.as_ref().unwrap().nodes.iter().map(|n| &n.name) {
        put(dir, &paths::commits(node), lines(&e.feeds[node]));
        put(dir, &paths::transactions(node), lines(&e.claims[node]));
        put(dir, &paths::peers(node), lines(&e.peers[node]));
        put(dir, &paths::status(node), lines(&e.statuses[node]));
        put(dir, &paths::config(node), e.configs[node].to_string());
        for (seq, scrape) in (0u64..).zip(&e.scrapes[node]) {
            let file = paths::scrape(node, seq);
            let is_there = scrape.samples.is_some();
            if is_there {
                put(dir, &file, metrics(4, 6 + seq * 5, "0"));
            }
            index.push(ScrapeLine {
                node: node.clone(),
                seq,
                at_unix_ms: scrape.at_unix_ms,
                duration_ms: 2,
                status: is_there.then_some(200),
                bytes: 1,
                file: is_there.then_some(file),
                error: (!is_there).then(|| "connection refused".to_owned()),
            });
        }
    }
    put(dir, paths::SCRAPE_INDEX, lines(&index));
}

#[test]
fn files_and_memory_give_the_same_result() {
    let dir = tempfile::tempdir().unwrap();
    let evidence = green();
    store(dir.path(), &evidence);
    let (files, mut memory) = (evaluate_dir(dir.path()).unwrap(), evaluate(&evidence));
    // Only the digests of step files differ: memory has none.
    for (a, b) in files.gates.iter().zip(&mut memory.gates) {
        if a.id == "G11" {
            b.note = a.note.clone();
        }
    }
    assert_eq!(files, memory);
    assert_eq!(evaluate_dir(dir.path()).unwrap().to_json(), files.to_json());
}

#[test]
fn damaged_files_never_pass() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path(), &green());
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
        (paths::MATRIX.to_owned(), "G10"),
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
    store(&inside, &green());
    put(dir.path(), "000000.txt", metrics(4, 6, "0"));
    let line = ScrapeLine {
        node: "../../evidence/..".into(),
        seq: 0,
        at_unix_ms: START,
        duration_ms: 1,
        status: Some(200),
        bytes: 1,
        file: Some("scrapes/../../evidence/../000000.txt".into()),
        error: None,
    };
    put(&inside, paths::SCRAPE_INDEX, lines(&[line]));
    let evidence = crate::read_dir(&inside).unwrap();
    assert!(evidence.scrapes.values().flatten().all(|s| s.samples.is_none()));
}

#[test]
fn no_directory_is_the_callers_fault() {
    let error = evaluate_dir(Path::new("/nonexistent/x")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/x is no readable directory"), "{error}");
}
