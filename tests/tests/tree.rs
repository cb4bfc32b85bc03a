//! The shape of the tree: who may depend on whom, and what no file may contain.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The pure core in one list each: a crate and the crates of ours it may use.
const CORE: &[(&str, &[&str])] = &[
    ("qbind-types", &[]),
    ("qbind-crypto", &["qbind-types"]),
    ("qbind-profile", &["qbind-types"]),
    ("qbind-consensus", &["qbind-types", "qbind-crypto"]),
    ("qbind-dag", &["qbind-types", "qbind-crypto"]),
    ("qbind-ledger", &["qbind-types", "qbind-crypto"]),
    // Whom to ask is said in the data layer's words.
    ("qbind-sync", &["qbind-types", "qbind-crypto", "qbind-dag"]),
    (
        "qbind-replica",
        &[
            "qbind-types",
            "qbind-crypto",
            "qbind-consensus",
            "qbind-dag",
            "qbind-ledger",
            "qbind-sync",
        ],
    ),
];

/// The node's shell: these may use the whole core, and the daemon the other three.
const SHELL: &[&str] = &["qbind-storage", "qbind-network", "qbind-signer"];

/// The rehearsal, lowest first: a room may use those before it.
const REHEARSAL: &[&str] = &[
    "qbind-links",
    "qbind-plan",
    // What the network is follows from samples, not from a table.
    "qbind-measure",
    // What is collected is written as the records that gates read.
    "qbind-gates",
    "qbind-scrape",
    "qbind-lab",
    "qbind-sim",
    "qbind-steps",
    "qbind-evidence",
    // Evidence made by the node's own ledger, for tests.
    "qbind-specimen",
    "qbind-attest",
    "qbind-report",
    "qbind-playbooks",
    "qbind-rehearsal",
];

/// The only ones that drive the pure core.
const DRIVERS: &[&str] = &["qbind-sim", "qbind-steps", "qbind-specimen"];

/// Why one crate may not use another; `None` when it may.
fn objection(from: &str, to: &str, is_dev: bool) -> Option<&'static str> {
    let core = |name: &str| CORE.iter().find(|(crate_name, _)| *crate_name == name);
    let rank = |name: &str| REHEARSAL.iter().position(|room| *room == name);
    if let Some((_, allowed)) = core(from) {
        let allowed = allowed.contains(&to);
        return (!allowed).then_some("the core's dependencies point one way");
    }
    if SHELL.contains(&from) {
        return core(to).is_none().then_some("the node's shell uses the core only");
    }
    if from == "qbind-node" {
        let allowed = core(to).is_some()
            || SHELL.contains(&to)
            || (is_dev && ["qbind-steps", "qbind-lab"].contains(&to));
        return (!allowed).then_some("the node knows no rehearsal but in its tests");
    }
    if let Some(own) = rank(from) {
        if let Some(other) = rank(to) {
            return (other >= own).then_some("the rehearsal's rooms depend one way");
        }
        if ["qbind-types", "qbind-crypto"].contains(&to) {
            return None;
        }
        if DRIVERS.contains(&from) && core(to).is_some() {
            return None;
        }
        return Some("the rehearsal sees a node from outside");
    }
    if from == "qbindctl" {
        let allowed = rank(to).is_some() || ["qbind-types", "qbind-crypto"].contains(&to);
        return (!allowed).then_some("qbindctl is arguments and rendering");
    }
    // The tests' own package may look at everything.
    (from != "qbind-tests").then_some("a crate without a place in the tree")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package of the tree").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo's JSON")
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().expect("packages")
}

/// What is wrong with the edges between crates of the tree.
fn objections(metadata: &Value) -> Vec<String> {
    let name = |package: &Value| package["name"].as_str().expect("a name").to_owned();
    let ours: BTreeSet<String> = packages(metadata).iter().map(name).collect();
    let mut found = Vec::new();
    for package in packages(metadata) {
        let from = name(package);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = name(dependency);
            let is_dev = dependency["kind"] == "dev";
            if ours.contains(&to)
                && let Some(reason) = objection(&from, &to, is_dev)
            {
                found.push(format!("{from} -> {to}: {reason}"));
            }
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    assert_eq!(objections(&metadata()), Vec::<String>::new());
}

#[test]
fn an_edge_against_the_rule_is_found() {
    let made_up = [
        ("qbind-types", "qbind-crypto", Value::Null),
        ("qbind-consensus", "qbind-ledger", Value::Null),
        ("qbind-storage", "qbind-network", Value::Null),
        ("qbind-node", "qbind-steps", Value::Null),
        ("qbind-lab", "qbind-dag", Value::Null),
        ("qbind-plan", "qbind-gates", Value::Null),
        ("qbind-gates", "qbind-scrape", Value::Null),
        ("qbind-gates", "qbind-node", Value::from("dev")),
        ("qbindctl", "qbind-replica", Value::Null),
        ("qbind-new-room", "qbind-types", Value::Null),
    ];
    let mut metadata = metadata();
    for (from, to, kind) in made_up {
        let edge = serde_json::json!({"name": to, "kind": kind});
        let packages = metadata["packages"].as_array_mut().expect("packages");
        match packages.iter_mut().find(|p| p["name"] == from) {
            Some(package) => {
                package["dependencies"].as_array_mut().expect("dependencies").push(edge);
            }
            None => packages.push(serde_json::json!({"name": from, "dependencies": [edge]})),
        }
        let found = objections(&metadata);
        let edge = format!("{from} -> {to}: ");
        assert!(found.iter().any(|text| text.starts_with(&edge)), "{edge}{found:?}");
    }
    assert_eq!(objection("qbind-node", "qbind-steps", true), None);
    assert_eq!(objection("qbind-sim", "qbind-replica", false), None);
}

#[test]
fn every_crate_inherits_the_lints_and_the_workspace_metadata() {
    for package in packages(&metadata()) {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let text = fs::read_to_string(manifest).expect("cargo has just read it");
        for line in ["[lints]\nworkspace = true", "edition.workspace = true"] {
            assert!(text.contains(line), "{manifest} lacks {line:?}");
        }
    }
}

/// Text files that git knows, by path below the root.
fn files() -> BTreeMap<String, String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let listing = match output {
        Ok(output) if output.status.success() => output.stdout,
        // An unpacked archive of the sources has no repository and is not looked at.
        _ => return BTreeMap::new(),
    };
    let names = listing.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).ok()?;
        Some((name, text))
    };
    names.filter_map(read).collect()
}

/// Lines that contain what no file of the project may, other than this one.
fn offences(files: &BTreeMap<String, String>) -> Vec<String> {
    let banned = [["/wo", "rk/"].concat(), ["/tmp/", "brief"].concat(), ["todo", "!("].concat()];
    let mut found = Vec::new();
    for (name, text) in files {
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {line}", number + 1));
            }
        }
        // The guide's command for T234 selects ignored tests; any other would never run there.
        let mut ignored = text.lines().filter(|line| line.trim_start().starts_with("#[ignore"));
        if ignored.next().is_some() && !name.starts_with("node/tests/t234_") {
            found.push(format!("{name}: an ignored test"));
        }
    }
    found
}

#[test]
fn no_file_names_a_workplace_or_leaves_work_undone() {
    assert_eq!(offences(&files()), Vec::<String>::new());
}

#[test]
fn a_workplace_path_is_found() {
    let planted = |text: &str| BTreeMap::from([("a.rs".to_owned(), text.to_owned())]);
    for text in [["cd /wo", "rk/x"], ["fn f() { todo", "!() }"], ["#[igno", "re]"]] {
        assert_eq!(offences(&planted(&text.concat())).len(), 1, "{text:?}");
    }
    assert!(offences(&planted("a network /wo in words")).is_empty());
}
