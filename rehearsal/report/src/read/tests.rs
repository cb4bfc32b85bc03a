use crate::{ReportInput, render_html};
use qbind_gates::records::{
    Fate, FeedLine, LOAD_SCHEMA, LatencyUs, LoadSummary, LoadTransaction, paths,
};
use qbind_plan::{
    BinaryRef, Cluster, ExecutedFault, GenesisRef, LiveRecord, Manifest, PlannedNode,
    PlannedRegion, Role, TopologyRef,
};
use qbind_types::{BlockId, GenesisHash, Network, StateRoot, SystemRoot, TxId};
use serde_json::json;
use std::{fs, path::Path};

const START: u64 = 1_770_724_800_000;

fn cluster() -> Cluster {
    let mut nodes = Vec::new();
    for (region, validators) in [("eu", 3), ("us", 2), ("ap", 2)] {
        for k in 1..=validators + 1 {
            let is_validator = k <= validators;
            nodes.push(PlannedNode {
                name: format!("{region}-{}{k}", if is_validator { "v" } else { "rpc" }),
                region: region.to_owned(),
                role: if is_validator { Role::Validator } else { Role::Rpc },
                validator_id: is_validator.then_some(nodes.len() as u64 + 1),
                power: is_validator.then_some(100),
                http: format!("10.{}.0.1:9090", nodes.len()),
            });
        }
    }
    let region = |id: &str| PlannedRegion { id: id.to_owned(), continent: format!("{id}-land") };
    Cluster {
        target: "lab".to_owned(),
        topology: TopologyRef { name: "tri".to_owned(), sha3: "0xaa".to_owned() },
        genesis: GenesisRef {
            sha3: GenesisHash([7; 32]),
            network: Network::Mainnet,
            chain_id: "qbind-mainnet-v0".to_owned(),
        },
        binaries: vec![BinaryRef { name: "qbind-node".to_owned(), sha3: "0xbb".to_owned() }],
        regions: ["eu", "us", "ap"].map(region).to_vec(),
        nodes,
        links: Vec::new(),
        load_accounts: 200,
    }
}

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn lines<T: serde::Serialize>(dir: &Path, name: &str, lines: impl IntoIterator<Item = T>) {
    let text: String =
        lines.into_iter().map(|line| serde_json::to_string(&line).unwrap() + "\n").collect();
    write(dir, name, text);
}

fn commit(height: u64, second: u64) -> FeedLine {
    FeedLine::Commit {
        height,
        view: height + 5,
        block_id: BlockId([1; 32]),
        state_root: StateRoot([2; 32]),
        system_root: SystemRoot([3; 32]),
        committed_unix_ms: 0,
        transactions: 10,
        seen_unix_ms: START + 1000 * second,
    }
}

/// Ten seconds in which `ap-v1` hears nothing from second 4 to 7.
fn evidence() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let plan = Manifest::quick().resolve(&cluster()).unwrap();
    plan.store(&at.join("plan.yaml")).unwrap();
    for node in &plan.nodes {
        let quiet = |second: &u64| node.name != "ap-v1" || !(4..8).contains(second);
        let feed = (0..10).filter(quiet).map(|second| commit(100 + 8 * second, second));
        lines(at, &paths::commits(&node.name), feed);
    }
    let mut live = LiveRecord::new(START, START + 10_000);
    live.faults.push(ExecutedFault {
        id: plan.faults[0].id.clone(),
        nodes: vec!["ap-v1".to_owned()],
        from_unix_ms: START + 4000,
        healed_unix_ms: START + 8000,
        done: true,
        note: String::new(),
    });
    write(at, paths::LIVE, serde_json::to_vec(&live).unwrap());
    let transaction = |n: u64, node: &str, second: u64, took_ms: u64| LoadTransaction {
        n,
        id: TxId([n as u8; 32]),
        account: 0,
        nonce: n,
        node: node.to_owned(),
        scheduled_us: second * 1_000_000,
        sent_us: Some(second * 1_000_000),
        accepted_us: Some(second * 1_000_000),
        committed_us: (took_ms > 0).then_some(second * 1_000_000 + took_ms * 1000),
        height: None,
        submissions: 1,
        fate: if took_ms > 0 { Fate::Committed } else { Fate::Lost },
        code: None,
    };
    lines(
        at,
        paths::TRANSACTIONS,
        [
            transaction(0, "eu-v1", 1, 300),
            transaction(1, "eu-v2", 1, 500),
            transaction(2, "eu-v1", 1, 400),
            transaction(3, "us-v1", 2, 0),
            transaction(4, "us-v1", 3, 1200),
        ],
    );
    let summary = LoadSummary {
        schema: LOAD_SCHEMA.to_owned(),
        started_unix_ms: START,
        window_ms: 10_000,
        ended_unix_ms: START + 10_000,
        rate_per_second: 300,
        targets: vec![],
        followed: vec![],
        offered: 5,
        submitted: 5,
        accepted: 5,
        rejected: 0,
        codes: Default::default(),
        committed: 4,
        lost: 1,
        duplicated: 0,
        resubmitted: 0,
        late_sends: 0,
        tps_milli: 400,
        latency_us: LatencyUs { p50: 400_000, p90: 1, p99: 1_200_000, max: 1 },
        series: vec![],
    };
    write(at, paths::LOAD_SUMMARY, serde_json::to_vec(&summary).unwrap());
    let pair = json!({"from": "eu", "to": "us", "p50_us": 70_000, "jitter_us": 5_000, "sent": 1000, "lost": 2});
    write(at, paths::MATRIX, json!([pair]).to_string());
    let step = json!({"schema": "qbind.step/v1", "id": "T222", "title": "x", "verdict": "FAIL",
        "seed": 1, "duration_ms": 5, "replay": "again", "scenarios": [{"name": "cut",
        "verdict": "FAIL", "facts": {}, "checks": [
            {"name": "agree", "expected": "1", "got": "2", "ok": false},
            {"name": "end", "expected": "1", "got": "1", "ok": true}]}]});
    write(at, "steps/t222/result.json", step.to_string());
    dir
}

fn values<'a>(input: &'a ReportInput, plot: &str, region: &str) -> &'a [Option<u64>] {
    let plot = input.plots.iter().find(|p| p.title == plot).unwrap();
    assert_eq!((plot.start_unix_ms, plot.step_ms), (START, 1000));
    &plot.series.iter().find(|s| s.name == region).unwrap().values
}

#[test]
fn an_evidence_directory_becomes_a_report() {
    let dir = evidence();
    let input = ReportInput::from_dir(dir.path()).unwrap();
    let height = |s: u64| Some(100 + 8 * s);
    let eu: Vec<_> = (0..10).map(height).chain([None]).collect();
    assert_eq!(values(&input, "Height", "eu"), eu);
    // The slowest node stands for its region, and a node that hears nothing stands still.
    let ap: Vec<_> = [0, 1, 2, 3, 3, 3, 3, 3, 8, 9].map(height).into_iter().chain([None]).collect();
    assert_eq!(values(&input, "Height", "ap"), ap);
    assert_eq!(values(&input, "View", "ap")[7], Some(129));
    assert_eq!(values(&input, "Throughput", "eu")[1], Some(3000));
    assert_eq!(values(&input, "Throughput", "us")[2..5], [Some(0), Some(0), Some(1000)]);
    assert_eq!(values(&input, "Latency", "eu")[1], Some(400));
    assert_eq!(values(&input, "Latency", "us")[2..4], [None, Some(1200)]);

    assert_eq!(input.run.regions[0].validators, 3);
    assert_eq!(input.pairs[0].lost, 2);
    assert_eq!(input.faults[0].nodes, ["ap-v1"]);
    assert!(input.faults[0].done && !input.faults[1].done);
    assert_eq!(input.steps[1].failures, ["cut: agree: expected 1, got 2"]);
    assert_eq!((input.steps[1].checks, input.steps[0].verdict.as_ref()), (2, None));
    assert_eq!(input.figures.as_ref().unwrap().lost, 1);
    let plan_digest = qbind_plan::digest_of(&fs::read(dir.path().join("plan.yaml")).unwrap());
    assert_eq!(input.run.artifacts[0].sha3, plan_digest);
    for file in ["gates.json", "map.json", "steps/t185/result.json", "scrapes/index.jsonl"] {
        assert!(input.missing.contains(&format!("{file}: not there")), "{:?}", input.missing);
    }
    assert!(!input.missing.iter().any(|m| m.contains("measure/")), "the matrix is enough");
    assert!(render_html(&input).contains("There are no gate results"));
}

#[test]
fn broken_files_are_named_and_the_rest_is_shown() {
    let dir = evidence();
    fs::write(dir.path().join("commits/eu-v1.jsonl"), "{}\n").unwrap();
    fs::write(dir.path().join("load/summary.json"), "[").unwrap();
    let input = ReportInput::from_dir(dir.path()).unwrap();
    let missing = input.missing.join("\n");
    assert!(missing.contains("commits/eu-v1.jsonl: line 1:"), "{missing}");
    assert!(missing.contains("load/summary.json: "), "{missing}");
    assert_eq!(values(&input, "Height", "eu")[0], Some(100));
    assert!(input.figures.is_none());
}
