//! Realistic inputs for tests and for looking at.

use crate::input::{
    Artifact, Fault, Figures, Mapping, Pair, Plot, Region, ReportInput, Run, Series, SignOffs,
    SignedDecision, Step, Waived,
};
use qbind_gates::{CATALOGUE, Control, CutWindow, Gate, Outcome, Verdict, Window};

const START: u64 = 1_770_724_800_000;
const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-tokyo"];

fn gate(id: &str, value: &str, bound: &str, margin: Option<i64>, samples: u64, note: &str) -> Gate {
    let entry = CATALOGUE.iter().find(|entry| entry.id == id).unwrap();
    let cut = CutWindow {
        node: "eu-west-v2".to_owned(),
        fault: "kill-leader".to_owned(),
        from_unix_ms: START + 20_000,
        to_unix_ms: START + 60_000,
    };
    Gate {
        id: id.to_owned(),
        title: entry.title.to_owned(),
        severity: entry.severity,
        verdict: Outcome::Pass,
        vantage: entry.vantage,
        query: entry.query.to_owned(),
        value: value.to_owned(),
        bound: bound.to_owned(),
        margin_permille: margin,
        samples,
        window: Some(Window {
            from_unix_ms: START,
            to_unix_ms: START + 120_000,
            cut: if id == "G5" { vec![cut] } else { vec![] },
        }),
        evidence: vec!["commits/eu-west-v1.jsonl".to_owned(), "blocks/".to_owned()],
        note: note.to_owned(),
    }
}

fn gates() -> Vec<Gate> {
    vec![
        gate(
            "G1",
            "812 heights agree on 10 nodes, 812 certificates verified",
            "one block id per height, every certificate valid",
            None,
            8120,
            "No violation in 8,120 comparisons: below 0.037 % at 95 %",
        ),
        gate("G2", "0 mismatches, 4,871 references verified", "0 on every node", None, 4871, ""),
        gate("G3", "35,914 nonces used once each", "no nonce twice", None, 35_914, ""),
        gate(
            "G4",
            "supply 1,000,000,000,000 = balances 999,999,964,086 + burned 35,914",
            "supply kept, no balance below zero, state roots equal",
            None,
            812,
            "",
        ),
        gate(
            "G5",
            "3 blocks at most",
            "<= 5 blocks (asymmetric links) at every instant, converging",
            Some(400),
            2390,
            "The bound of 5 holds",
        ),
        gate(
            "G6",
            "least: outbound 4, connected 9, ASNs 3",
            "outbound >= 4, ASNs >= 2, connected >= min(8, 9)",
            Some(0),
            480,
            "",
        ),
        gate(
            "G7",
            "299.3 per second, p50 401.220 ms; baseline 300.0 per second, p50 388.100 ms with the floor",
            "TPS >= 0.5 x, p50 <= 2 x the T234 baseline",
            Some(483),
            35_914,
            "The interval lies inside as a whole",
        ),
        gate(
            "G8",
            "p99 1,204.331 ms",
            "p99 < 10000.000 ms, nothing accepted is lost",
            Some(879),
            35_914,
            "",
        ),
        gate(
            "G9",
            "at most 6 changes, in 1,604 views",
            "<= 2 % of views and 3 per fault",
            Some(610),
            9,
            "3 faults in the window",
        ),
        gate(
            "G10",
            "p50 401.220 ms, floor 241.500 ms",
            "p50 <= 2.000 x floor",
            Some(169),
            35_914,
            "",
        ),
        gate("G11", "7 of 7 passed", "all seven pass", None, 7, ""),
        gate(
            "G12",
            "10 nodes as planned",
            "configuration, layout, genesis and binary as planned",
            None,
            214,
            "",
        ),
        gate(
            "G13",
            "worst median 310 us off, 6 links",
            "delay within 1 ms, jitter within 10 %, loss inside its interval",
            Some(690),
            6,
            "",
        ),
    ]
}

fn pairs() -> Vec<Pair> {
    let pair = |from, to, p50_us, jitter_us, lost| Pair {
        from: String::from(from),
        to: String::from(to),
        sent: 1000,
        lost,
        p50_us,
        p99_us: Some(p50_us + 2 * jitter_us),
        jitter_us,
        loss_high_ppm: Some(4_730 + 1_000 * lost),
    };
    vec![
        pair("eu-west", "us-east", 70_412, 4_890, 0),
        pair("eu-west", "ap-tokyo", 201_877, 9_120, 1),
        pair("us-east", "eu-west", 70_398, 5_010, 0),
        pair("us-east", "ap-tokyo", 150_240, 7_730, 0),
        pair("ap-tokyo", "eu-west", 202_004, 9_404, 1),
        pair("ap-tokyo", "us-east", 150_310, 7_512, 0),
    ]
}

fn steps() -> Vec<Step> {
    crate::read::STEPS
        .iter()
        .enumerate()
        .map(|(n, (id, title))| Step {
            id: (*id).to_owned(),
            title: (*title).to_owned(),
            verdict: Some("PASS".to_owned()),
            duration_ms: 3_400 + 7_000 * n as u64,
            scenarios: 4 + n as u64,
            checks: 20 + 11 * n as u64,
            failures: vec![],
            replay: format!("qbindctl steps run {id} --seed 7"),
        })
        .collect()
}

fn faults() -> Vec<Fault> {
    let fault =
        |id: &str, what: &str, at: u64, lasts: u64, recovery_ms, nodes: &[&str], note: &str| {
            Fault {
                id: id.to_owned(),
                what: what.to_owned(),
                nodes: nodes.iter().map(|n| (*n).to_owned()).collect(),
                from_unix_ms: Some(START + at),
                healed_unix_ms: Some(START + at + lasts),
                recovery_ms,
                expectation: "the chain goes on".to_owned(),
                done: true,
                note: note.to_owned(),
            }
        };
    vec![
        fault(
            "kill-leader",
            "kill -9 of the leader",
            20_000,
            10_000,
            30_000,
            &["eu-west-v2"],
            "6 of 7 validators stay, 5 are a quorum.",
        ),
        fault(
            "cut-tokyo",
            "cut of region ap-tokyo",
            65_000,
            15_000,
            10_000,
            &["ap-tokyo-v1", "ap-tokyo-v2", "ap-tokyo-rpc1"],
            "5 of 7 validators stay connected, 5 are a quorum.",
        ),
        fault(
            "loss",
            "loss burst of 5.00 % between eu-west and us-east",
            95_000,
            10_000,
            10_000,
            &[],
            "",
        ),
    ]
}

/// A figure over 120 seconds; `value` is given region and second.
fn plot(
    title: &str,
    unit: &str,
    scale: u64,
    from_zero: bool,
    value: impl Fn(usize, u64) -> Option<u64>,
) -> Plot {
    Plot {
        title: title.to_owned(),
        caption: if from_zero {
            "Transfers accepted in the region, when their commit was seen.".to_owned()
        } else {
            "Of the region's slowest node, as its commit feed showed it.".to_owned()
        },
        unit: unit.to_owned(),
        scale,
        from_zero,
        start_unix_ms: START,
        step_ms: 1000,
        series: REGIONS
            .iter()
            .enumerate()
            .map(|(r, name)| Series {
                name: (*name).to_owned(),
                values: (0..120).map(|s| value(r, s)).collect(),
            })
            .collect(),
    }
}

/// Something that looks like noise and is the same every time.
fn wobble(r: usize, s: u64) -> u64 {
    (s * 7919 + r as u64 * 104_729 + s * s * 31) % 17
}

fn plots() -> Vec<Plot> {
    let killed = |r, s| r == 0 && (20..32).contains(&s);
    let cut = |r, s| r == 2 && (65..80).contains(&s);
    let height = move |r: usize, s: u64| {
        let s = if killed(r, s) {
            20
        } else if cut(r, s) {
            65
        } else {
            s
        };
        Some(1200 + s * 27 / 4)
    };
    vec![
        plot("Height", "blocks", 1, false, height),
        plot("View", "views", 1, false, move |r, s| height(r, s).map(|h| h + 9 + s / 20)),
        plot("Throughput", "transfers per second", 1000, true, move |r, s| {
            Some(if cut(r, s) { 0 } else { (92 + wobble(r, s)) * 1000 })
        }),
        plot("Latency", "ms", 1, true, move |r, s| {
            (!cut(r, s)).then(|| {
                let shock = if (20..24).contains(&s) { 900 } else { 0 };
                330 + 45 * r as u64 + 4 * wobble(r, s) + shock
            })
        }),
    ]
}

fn run() -> Run {
    let region = |id: &str, continent: &str, validators| Region {
        id: id.to_owned(),
        continent: continent.to_owned(),
        validators,
        others: 1,
    };
    let artifact = |name: &str, byte: &str| Artifact {
        name: name.to_owned(),
        sha3: format!("0x{}", byte.repeat(32)),
    };
    let nodes = |region: &str, validators: u64| {
        let mut names: Vec<String> = (1..=validators).map(|n| format!("{region}-v{n}")).collect();
        names.push(format!("{region}-rpc1"));
        names
    };
    Run {
        id: "7f3a".to_owned(),
        name: "quick".to_owned(),
        target: "lab".to_owned(),
        form: "quick".to_owned(),
        gate_type: "MainNet launch".to_owned(),
        operator: Some("Ada Lovelace".to_owned()),
        started_unix_ms: Some(START - 140_000),
        finished_unix_ms: Some(START + 190_500),
        regions: vec![
            region("eu-west", "Europe", 3),
            region("us-east", "North America", 2),
            region("ap-tokyo", "Asia", 2),
        ],
        nodes: [nodes("eu-west", 3), nodes("us-east", 2), nodes("ap-tokyo", 2)].concat(),
        topology: "standard-tri-region".to_owned(),
        chain_id: "qbind-mainnet-v0".to_owned(),
        artifacts: vec![
            artifact("plan.yaml", "5c"),
            artifact("genesis.json", "a1"),
            artifact("topology", "77"),
            artifact("qbind-node", "0e"),
        ],
        seed: Some(7),
        bundle: Some("rehearsal-2026-02-10-7f3a.qbundle".to_owned()),
    }
}

/// A run that passed.
pub(crate) fn pass() -> ReportInput {
    let run = run();
    ReportInput {
        verdict: Verdict::Pass,
        gates: gates(),
        pairs: pairs(),
        mapping: Some(Mapping {
            class: "Asymmetric".to_owned(),
            flags: vec!["A".to_owned()],
            reasons: vec![
                "A: round trips spread over 131.592 ms, at least 50.000 ms sets the flag; ap-tokyo stands out".to_owned(),
                "F: not set; the largest round trip without ap-tokyo is 70.412 ms".to_owned(),
                "J: not set; the largest jitter is 9.404 ms, more than 30.000 ms would set it".to_owned(),
                "L: not set; below 0.5 % is proved on every pair".to_owned(),
            ],
            height_bound: Some(5),
            not_expressed: vec!["bursts of loss".to_owned()],
        }),
        steps: steps(),
        faults: faults(),
        figures: Some(Figures {
            rate_per_second: 300,
            window_ms: 120_000,
            offered: 36_000,
            accepted: 35_914,
            committed: 35_914,
            lost: 0,
            duplicated: 0,
            tps_milli: 299_283,
            latency_p50_us: 401_220,
            latency_p99_us: 1_204_331,
        }),
        plots: plots(),
        controls: vec![],
        notes: vec!["Losing eu-west (3 of 7 validators) halts the chain until it is back; losing one of the other two does not.".to_owned()],
        not_tested: vec![],
        missing: vec![],
        scraped_nodes: run.nodes.clone(),
        sign_offs: None,
        run,
    }
}

/// Two nodes hold different blocks, and latency is outside its soft bound.
pub(crate) fn fail() -> ReportInput {
    let mut input = pass();
    input.verdict = Verdict::Fail;
    let mut set = |id: &str, verdict, value: &str, margin, note: &str| {
        let gate = input.gates.iter_mut().find(|gate| gate.id == id).unwrap();
        gate.verdict = verdict;
        value.clone_into(&mut gate.value);
        gate.margin_permille = margin;
        note.clone_into(&mut gate.note);
    };
    set(
        "G1",
        Outcome::Fail,
        "2 block ids at height 1,388",
        None,
        "height 1388 has 0x8c41… on eu-west-v1, eu-west-v2, us-east-v1 and 0x09fe… on ap-tokyo-v2",
    );
    set(
        "G10",
        Outcome::Fail,
        "p50 611.040 ms, floor 241.500 ms",
        Some(-265),
        "p50 is 611.040 ms, at most 483.000 ms allowed",
    );
    set("G11", Outcome::Fail, "6 of 7 passed", None, "T222 failed");
    let step = input.steps.iter_mut().find(|step| step.id == "T222").unwrap();
    step.verdict = Some("FAIL".to_owned());
    step.failures = vec![
        "partition: no divergence: expected one block id per height, got 2 at height 41".to_owned(),
    ];
    input.controls = vec![
        Control {
            gate: "G1".to_owned(),
            injected: "one node reports another block id".to_owned(),
            turned_red: vec!["G1".to_owned()],
            caught: true,
            skipped: String::new(),
        },
        Control {
            gate: "G6".to_owned(),
            injected: "all peers from one ASN".to_owned(),
            turned_red: vec![],
            caught: false,
            skipped: String::new(),
        },
    ];
    input
}

/// A run that passed, under a policy of two: one agrees, one does not, a stranger has a word too.
pub(crate) fn signed() -> ReportInput {
    let decision = |who: &str, approves, reason: &str, objection: Option<&str>| SignedDecision {
        who: who.to_owned(),
        role: "council".to_owned(),
        approves,
        reason: reason.to_owned(),
        decided_at: "2027-01-16T10:00:00Z".to_owned(),
        objection: objection.map(str::to_owned),
    };
    let mut input = pass();
    input.sign_offs = Some(SignOffs {
        policy: "MainNet <launch>".to_owned(),
        standing: "PENDING".to_owned(),
        asked_at: "2027-01-17T00:00:00Z".to_owned(),
        approvals: 1,
        threshold: 2,
        reasons: vec!["1 of 2 approvals".to_owned()],
        decisions: vec![
            decision("Ada 1 (Ada L., Org)", true, "", None),
            decision("Bob 1 (Bob M., Other)", false, "G10 is too near", None),
            decision("key 0xabc", true, "", Some("the policy does not know this key")),
        ],
        waived: vec![Waived {
            gate: "G10".to_owned(),
            by: vec!["Ada 1".to_owned()],
            reasons: vec!["the link was repaired".to_owned()],
        }],
    });
    input
}

/// Metrics of all nodes were unreachable, one step did not run, no table of percentiles.
pub(crate) fn inconclusive() -> ReportInput {
    let mut input = pass();
    input.verdict = Verdict::Inconclusive;
    for id in ["G2", "G6"] {
        let gate = input.gates.iter_mut().find(|gate| gate.id == id).unwrap();
        gate.verdict = Outcome::Unknown;
        gate.value = "none".to_owned();
        gate.margin_permille = None;
        gate.note = "no scrape of eu-west-v1 counts. no scrape of eu-west-v2 counts".to_owned();
    }
    input.scraped_nodes.clear();
    input.missing =
        vec!["scrapes/index.jsonl: not there".to_owned(), "map.json: not there".to_owned()];
    input.mapping = None;
    input.figures = None;
    input.plots.truncate(2);
    input.pairs.iter_mut().for_each(|pair| (pair.p99_us, pair.loss_high_ppm) = (None, None));
    let step = input.steps.iter_mut().find(|step| step.id == "T234").unwrap();
    *step = Step { id: step.id.clone(), title: step.title.clone(), ..Step::default() };
    input
}
