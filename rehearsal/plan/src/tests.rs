//! Manifests in, plans or complaints out.

use super::*;
use qbind_types::{GenesisHash, Network};

fn cluster(layout: &[(&str, usize, usize)]) -> Cluster {
    let (mut nodes, mut id) = (Vec::new(), 0);
    for (region, validators, rpc) in layout {
        for k in 1..=*validators {
            id += 1;
            nodes.push(PlannedNode {
                name: format!("{region}-v{k}"),
                region: (*region).into(),
                role: Role::Validator,
                validator_id: Some(id),
                power: Some(100),
                http: format!("10.{id}.0.1:9090"),
            });
        }
        for k in 1..=*rpc {
            nodes.push(PlannedNode {
                name: format!("{region}-rpc{k}"),
                region: (*region).into(),
                role: Role::Rpc,
                validator_id: None,
                power: None,
                http: format!("10.1{k}.0.1:9090"),
            });
        }
    }
    let region = |(i, (id, ..)): (usize, &(&str, usize, usize))| PlannedRegion {
        id: (*id).into(),
        continent: if i == 0 { "europe" } else { "elsewhere" }.into(),
    };
    Cluster {
        target: "lab".into(),
        topology: TopologyRef { name: "test".into(), sha3: "0xaa".into() },
        genesis: GenesisRef {
            sha3: GenesisHash([7; 32]),
            network: Network::Mainnet,
            chain_id: "qbind-mainnet-v0".into(),
        },
        binaries: vec![BinaryRef { name: "qbind-node".into(), sha3: "0xbb".into() }],
        regions: layout.iter().enumerate().map(region).collect(),
        nodes,
        links: Vec::new(),
        load_accounts: 200,
    }
}

fn tri() -> Cluster {
    cluster(&[("eu", 3, 1), ("us", 2, 1), ("ap", 2, 1)])
}

/// The quick manifest with one line replaced.
fn changed(from: &str, to: &str) -> Result<Manifest, PlanError> {
    let text = include_str!("../presets/quick.yaml");
    assert!(text.contains(from), "the preset has no {from:?}");
    Manifest::parse("m.yaml", &text.replacen(from, to, 1))
}

fn complaint(result: Result<impl std::fmt::Debug, PlanError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn built_in_manifests_make_plans_that_survive_a_round_trip() {
    for manifest in [Manifest::quick(), Manifest::full()] {
        let plan = manifest.resolve(&tri()).expect("the shipped layout can run it");
        let again = Plan::parse("plan.yaml", &plan.to_yaml()).expect("a plan reads itself");
        assert_eq!(again, plan);
        assert_eq!(again.digest(), plan.digest());
        assert_eq!(plan.digest().len(), 66);
    }
}

#[test]
fn any_change_changes_the_digest() {
    let plan = Manifest::quick().resolve(&tri()).unwrap();
    let mut other = plan.clone();
    other.faults[0].at_ms += 1;
    assert_ne!(plan.digest(), other.digest());
    assert!(other.expect_digest(&plan.digest()).is_err());
    assert!(plan.expect_digest(&plan.digest()).is_ok());
}

#[test]
fn cutting_the_region_with_three_of_seven_halts_and_the_plan_says_so() {
    let halts = |place: &str| {
        let plan = changed("region: \"@3\"", &format!("region: {place}"))
            .unwrap()
            .resolve(&tri())
            .unwrap();
        let fault = plan.faults.iter().find(|f| f.kind == FaultKind::CutRegion).unwrap().clone();
        (fault.expectation, fault.affected.len(), fault.note)
    };
    let (expectation, affected, note) = halts("eu");
    assert_eq!((expectation, affected), (Expectation::HaltsUntilHealed, 10));
    assert!(note.contains("400 of 700, quorum 467: the chain HALTS"), "{note}");
    assert_eq!((halts("us").0, halts("us").1), (Expectation::Continues, 3));
    assert_eq!(halts("\"@3\"").0, Expectation::Continues);
}

#[test]
fn faults_that_together_take_the_quorum_are_announced() {
    let manifest = changed("at_s: 82", "at_s: 45").unwrap();
    let plan = manifest.resolve(&tri()).unwrap();
    let note = plan.notes.iter().find(|n| n.contains("overlap")).expect("announced");
    assert!(note.contains("kill-leader and cut-third-region"), "{note}");
    let quiet = Manifest::quick().resolve(&tri()).unwrap();
    assert!(!quiet.notes.iter().any(|n| n.contains("overlap")), "{:?}", quiet.notes);
    assert!(quiet.faults.iter().all(|f| f.expectation == Expectation::Continues));
}

#[test]
fn too_few_links_for_outbound_peers_is_said_beforehand() {
    let text =
        complaint(Manifest::quick().resolve(&cluster(&[("eu", 3, 0), ("us", 2, 0), ("ap", 2, 0)])));
    assert!(text.contains("7 nodes share 21 links"), "{text}");
    assert!(text.contains("at least 9 nodes"), "{text}");
}

#[test]
fn unreachable_requirements_are_refused_with_line_and_key() {
    for (from, to, expected) in [
        ("form: quick", "form: quick\nspeed: 3", "m.yaml:5"),
        ("accounts: 100", "accounts: 500", "load.accounts: is 500"),
        ("at_s: 82", "at_s: 115", "faults[2].at_s"),
        ("region: \"@3\"", "region: mars", "faults[2].region: \"mars\" is no region"),
        ("region: \"@3\"", "region: \"@4\"", "@1 to @3"),
        ("probes_per_pair: 1000", "probes_per_pair: 100", "measure.probes_per_pair: is 100"),
        ("window_s: 120", "window_s: 10", "live.window_s"),
        ("loss_bps: 500", "loss_bps: 9000", "faults[1].loss_bps"),
        ("id: loss-burst", "id: kill-leader", "names another fault too"),
        ("id: loss-burst", "id: Loss Burst", "[a-z0-9-]"),
        ("rate_per_second: 50", "rate_per_second: fast", "m.yaml:10:20: invalid u32"),
        ("seed: 42", "seed: 42\nexpect: { genesis_sha3: \"0xcc\" }", "expect.genesis_sha3"),
        ("schema: qbind.manifest/v1", "schema: qbind.manifest/v2", "m.yaml:2: schema"),
        ("seed: 42", "seed: 42\ngates: { align_ms: 0 }", "gates.align_ms: is 0"),
    ] {
        let text = complaint(changed(from, to).and_then(|m| m.resolve(&tri())));
        assert!(text.contains(expected), "{to:?} gave {text:?}, expected {expected:?}");
    }
}

#[test]
fn two_validators_are_refused() {
    let text = complaint(Manifest::quick().resolve(&cluster(&[("a", 1, 4), ("b", 1, 4)])));
    assert!(text.contains("2 validators; n >= 3f+1"), "{text}");
}

#[test]
fn numbers_that_no_judge_could_work_with_are_refused_in_a_plan_and_before_it_is_made() {
    let text = Manifest::quick().resolve(&tri()).unwrap().to_yaml();
    for (from, to, key) in [
        ("bootstrap_resamples: 400", "bootstrap_resamples: 4294967295", "bootstrap_resamples: is"),
        ("bootstrap_block_s: 5", "bootstrap_block_s: 0", "bootstrap_block_s: is 0"),
        ("align_ms: 1000", "align_ms: 1", "align_ms: is 1"),
        ("commit_p99_max_ms: 10000", "commit_p99_max_ms: 0", "commit_p99_max_ms: is 0"),
        ("window_s: 120", "window_s: 4294967295", "live.window_s"),
        ("target: lab", "target: moon", "target: is \"moon\""),
        ("at_ms: 25000", "at_ms: 18446744073709551615", "faults.at_ms"),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        let said = complaint(Plan::parse("plan.yaml", &text.replacen(from, to, 1)));
        assert!(said.contains(key), "{to}: {said}");
    }
    let manifest = changed("seed: 42", "seed: 42\ngates: { bootstrap_resamples: 5000 }").unwrap();
    assert!(complaint(manifest.resolve(&tri())).contains("bootstrap_resamples"));
}

/// The quick manifest with these gates beside the guide's.
fn adding(gates: &str) -> String {
    format!("{}\nadded_gates:\n{gates}\n", include_str!("../presets/quick.yaml"))
}

const ADDED: &str = "  - id: X1
    title: blocks reach the disk in time
    severity: soft
    fact: p99
    metric: qbind_storage_write_seconds
    at_most: 0.25
  - id: X20
    title: queues stay short
    severity: informational
    fact: instant
    metric: qbind_mempool_transactions
    labels: { lane: paid }
    whose: validators
    at_least: -0.50
    at_most: \"5000\"
    policy: { for_s: 15, breaches: 2, no_series: fail, several: largest }";

#[test]
fn added_gates_reach_the_plan_and_change_its_digest() {
    let plan = Manifest::parse("m.yaml", &adding(ADDED)).unwrap().resolve(&tri()).unwrap();
    let said: Vec<_> = plan.added_gates.iter().map(|g| (g.query(), g.bound())).collect();
    assert_eq!(
        said,
        [
            ("p99 of qbind_storage_write_seconds".to_owned(), "<= 0.25".to_owned()),
            (
                "instant of qbind_mempool_transactions{lane=\"paid\"}".to_owned(),
                ">= -0.5, <= 5000".to_owned()
            ),
        ]
    );
    let again = Plan::parse("plan.yaml", &plan.to_yaml()).expect("a plan reads itself");
    assert_eq!(again, plan);
    let mut other = plan.clone();
    other.added_gates[0].at_most = Some(Millionths(250_001));
    assert_ne!(other.digest(), plan.digest());
    assert_eq!(plan.to_yaml().matches("added_gates").count(), 1);
    assert!(!Manifest::quick().resolve(&tri()).unwrap().to_yaml().contains("added_gates"));
}

#[test]
fn added_gates_that_judge_nothing_are_refused_with_line_and_key() {
    for (from, to, said) in [
        ("id: X20", "id: X1", "added_gates[1].id: X1 is another gate's too"),
        ("id: X1\n", "id: G1\n", "added_gates[0].id: is \"G1\", expected X1 to X99"),
        ("id: X1\n", "id: X100\n", "expected X1 to X99"),
        ("id: X1\n", "id: X01\n", "expected X1 to X99"),
        ("title: queues stay short", "title: ''", "title: is empty"),
        ("metric: qbind_storage_write_seconds", "metric: 'a b'", "which is no name of a metric"),
        ("lane: paid", "'': paid", "labels: are more than 8, or no labels"),
        ("    at_most: 0.25\n", "", "at_most: and at_least are both absent"),
        ("at_least: -0.50", "at_least: 5000.1", "at_least: is 5000.1, above at_most, 5000"),
        ("at_most: 0.25", "at_most: 1e3", "expected a decimal number"),
        ("at_most: 0.25", "at_most: 0.1234567", "six digits"),
        ("at_most: 0.25", "at_most: 9007199255", "is too large"),
        ("at_most: 0.25", "at_most: 0.25\n    policy: { breaches: 1 }", "about single scrapes"),
        ("for_s: 15", "for_s: 86401", "beyond every window"),
        ("fact: p99", "fact: p98", "p98"),
        ("fact: p99", "fact: without_progress\n    at_least: 0.1", "cannot break"),
        ("fact: p99", "fact: spread\n    policy: { reset: fail }", "does not look at falls"),
        ("at_most: 0.25", "at_most: 1\n    policy: { several: largest }", "that p99 has not"),
        (
            "fact: p99",
            "fact: without_progress\n    policy: { several: sum }",
            "that without_progress has not",
        ),
        (
            "fact: p99\n    metric: qbind_storage_write_seconds\n    at_most: 0.25",
            "fact: delta\n    metric: m\n    at_least: 0",
            "is a bound that delta cannot break",
        ),
        ("title: queues stay short", "title: \"a\\u202eb\"", "signs that cannot be shown"),
        ("at_most: 0.25", "at_most: 00000000000.25", "decimal number"),
        ("severity: soft", "severity: none", "none"),
        ("lane: paid }", "lane: paid }\n    who: all", "who"),
    ] {
        let text = adding(ADDED);
        assert!(text.contains(from), "{from}");
        let complaint = complaint(Manifest::parse("m.yaml", &text.replacen(from, to, 1)));
        assert!(complaint.contains(said) && complaint.contains("m.yaml:"), "{to}: {complaint}");
    }
    let many: Vec<String> = (1..=33)
        .map(|n| {
            ADDED.lines().take(6).collect::<Vec<_>>().join("\n").replace("X1", &format!("X{n}"))
        })
        .collect();
    let said = complaint(Manifest::parse("m.yaml", &adding(&many.join("\n"))));
    assert!(said.contains("at most 32 gates can be added"), "{said}");
    // What is about no node of the network, or compares one with itself.
    let alone = cluster(&[("a", 4, 1), ("b", 2, 0), ("c", 2, 0)]);
    for (to, said) in [
        (
            "fact: spread\n    whose: rpc",
            "added_gates[0].whose: X1 is about 1 nodes of this network",
        ),
        ("fact: instant\n    whose: rpc", ""),
    ] {
        let manifest =
            Manifest::parse("m.yaml", &adding(ADDED).replacen("fact: p99", to, 1)).unwrap();
        let made = manifest.resolve(&alone);
        match said {
            "" => drop(made.unwrap()),
            _ => assert!(complaint(made).contains(said)),
        }
    }
    // A stranger's plan is held to the same.
    let plan = Manifest::parse("m.yaml", &adding(ADDED)).unwrap().resolve(&tri()).unwrap();
    let said = complaint(Plan::parse("plan.yaml", &plan.to_yaml().replacen("X20", "X1", 1)));
    assert!(said.contains("added_gates[1].id: X1 is another gate's too"), "{said}");
}

#[test]
fn the_schema_accepts_what_the_program_accepts() {
    let schema = serde_json::from_str(&manifest_schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        schema.is_valid(&value)
    };
    for text in [include_str!("../presets/quick.yaml"), include_str!("../presets/full.yaml")] {
        assert!(valid(text));
        assert!(valid(&(text.to_owned() + "\ngates: { commit_p99_max_ms: 9000 }\n")));
        assert!(!valid(&text.replace("qbind.manifest/v1", "qbind.manifest/v2")));
        assert!(!valid(&(text.to_owned() + "\nunknown: 1\n")));
        assert!(!valid(&(text.to_owned() + "\ngates: { unknown: 1 }\n")));
    }
    assert!(valid(&adding(ADDED)));
    for (from, to) in [
        ("id: X1\n", "id: G1\n"),
        ("fact: p99", "fact: p98"),
        ("severity: soft", "severity: none"),
        ("at_most: \"5000\"", "at_most: \"many\""),
        ("    title: queues stay short\n", ""),
        ("for_s: 15", "for_s: -1"),
        ("lane: paid }", "lane: paid }\n    who: all"),
    ] {
        assert!(!valid(&adding(ADDED).replacen(from, to, 1)), "{to}");
    }
}

#[test]
fn loosened_bounds_are_shown() {
    let plan = changed("seed: 42", "seed: 42\ngates: { commit_p99_max_ms: 60000 }")
        .unwrap()
        .resolve(&tri())
        .unwrap();
    assert!(plan.notes.iter().any(|n| n.contains("commit_p99_max_ms is 60000, looser")));
    let guide = Bounds::default();
    assert_eq!(guide.looser_than_the_guide(), []);
    for looser in [
        Bounds { bootstrap_block_s: 600, ..guide.clone() },
        Bounds { bootstrap_block_s: 1, ..guide.clone() },
        Bounds { bootstrap_resamples: 40, ..guide.clone() },
        Bounds { link_delay_tolerance_us: 1_001, ..guide.clone() },
        Bounds { view_changes_per_fault: 21, ..guide.clone() },
        Bounds { outbound_peers_min: 3, ..guide },
    ] {
        assert_eq!(looser.looser_than_the_guide().len(), 1, "{looser:?}");
    }
}

#[test]
fn the_guides_three_topologies_can_run_both_built_in_manifests() {
    for name in ["standard-tri-region", "us-centric", "global-spread"] {
        let file = topology::Topology::load(name).expect("shipped");
        let genesis = tri().genesis;
        let cluster =
            Cluster::from_topology(&file, digest_of(b"file"), genesis, Vec::new(), 200, 9090);
        for manifest in [Manifest::quick(), Manifest::full()] {
            if let Err(e) = manifest.resolve(&cluster) {
                panic!("{name}: {e}");
            }
        }
    }
}
