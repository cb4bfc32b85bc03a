//! Evidence directory -> [`ReportInput`]. Whatever is not there is listed as missing.

mod over_time;

use crate::input::{Artifact, Fault, Figures, Mapping, Pair, Region, ReportInput, Run, Step};
use over_time::plots;
use qbind_gates::{
    Controls, GatesResult, Verdict,
    records::{LoadSummary, ScrapeLine, paths},
};
use qbind_plan::{
    Expectation, FaultKind, Form, GateType, LiveRecord, Plan, PlannedFault, Role, digest_of,
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

/// The seven steps of the guide, in its order.
pub(crate) const STEPS: [(&str, &str); 7] = [
    ("T185", "Basic health and invariants"),
    ("T222", "Consensus chaos"),
    ("T221", "DAG–consensus coupling"),
    ("T223", "Stage B soak"),
    ("T234", "PQC performance"),
    ("T236", "Fee adversarial"),
    ("T238", "Multi-region invariants"),
];

/// The evidence directory itself cannot be read.
#[derive(Debug)]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the evidence directory {}", self.path.display())
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl ReportInput {
    /// Reads what an evidence directory holds.
    ///
    /// # Errors
    /// Only if `dir` is no directory; a missing or broken file becomes an entry of `missing`.
    pub fn from_dir(dir: &Path) -> Result<Self, ReadError> {
        fs::read_dir(dir).map_err(|source| ReadError { path: dir.to_owned(), source })?;
        let mut reader = Reader { dir, missing: Vec::new() };
        let (plan, plan_digest) = reader.plan().unzip();
        let facts = reader.facts();
        let gates: Option<GatesResult> = reader.json("gates.json");
        let live: Option<LiveRecord> = reader.json(paths::LIVE);
        let load: Option<LoadSummary> = reader.json(paths::LOAD_SUMMARY);
        let pairs = reader.pairs();
        let mapping = reader.mapping();
        let steps = STEPS.iter().map(|(id, title)| reader.step(id, title)).collect();
        let plots = plots(&mut reader, plan.as_ref(), live.as_ref(), load.as_ref());
        let scraped_nodes = reader.scraped();
        // Where there are none, the report says so by itself.
        let controls = match dir.join(CONTROLS).exists() {
            true => reader.json(CONTROLS).map(|all: Controls| all.controls).unwrap_or_default(),
            false => Vec::new(),
        };
        let more: Vec<String> =
            reader.interruptions().into_iter().chain(reader.baseline()).collect();
        Ok(Self {
            run: run(plan.as_ref(), plan_digest, facts),
            verdict: gates.as_ref().map_or(Verdict::Inconclusive, |gates| gates.verdict),
            gates: gates.map(|gates| gates.gates).unwrap_or_default(),
            pairs,
            mapping,
            steps,
            faults: plan.as_ref().map(|plan| faults(plan, live.as_ref())).unwrap_or_default(),
            figures: load.as_ref().map(figures),
            plots,
            controls,
            notes: plan.map(|plan| plan.notes).into_iter().flatten().chain(more).collect(),
            not_tested: Vec::new(),
            missing: reader.missing,
            scraped_nodes,
            sign_offs: None,
        })
    }
}

/// What changed against a run before.
const BASELINE: &str = "baseline.json";
/// What a planted violation did to each gate.
const CONTROLS: &str = "controls.json";

pub(crate) struct Reader<'a> {
    dir: &'a Path,
    missing: Vec<String>,
}

impl Reader<'_> {
    fn note(&mut self, file: &str, why: impl fmt::Display) {
        self.missing.push(format!("{file}: {why}"));
    }

    /// Whether the live window was begun more than once.
    fn interruptions(&mut self) -> Option<String> {
        let text = fs::read_to_string(self.dir.join("journal.jsonl")).ok()?;
        let kinds = text.lines().filter_map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(record["kind"] == "live.begun")
        });
        let begun = kinds.filter(|is_it| *is_it).count();
        (begun > 1).then(|| {
            format!("the run was interrupted and resumed: its live window was begun {begun} times")
        })
    }

    /// What changed against the run before, if one was named.
    fn baseline(&mut self) -> Vec<String> {
        if !self.dir.join(BASELINE).exists() {
            return Vec::new();
        }
        let Some(kept) = self.json::<serde_json::Value>(BASELINE) else { return Vec::new() };
        let percent = |n: &serde_json::Value| {
            let n = n.as_i64().unwrap_or_default();
            let sign = if n < 0 { "-" } else { "+" };
            format!("{sign}{}.{} %", n.unsigned_abs() / 10, n.unsigned_abs() % 10)
        };
        let figures = kept["comparison"]["figures"].as_array().cloned().unwrap_or_default();
        let said = figures.iter().map(|figure| {
            let [low, point, high] = [0, 1, 2].map(|at| percent(&figure["change_permille"][at]));
            let text = |key: &str| figure[key].as_str().unwrap_or("?").replace('_', " ");
            let (name, change) = (text("name"), text("change"));
            format!("against the run before, {name}: {point} ({low} to {high} at 95 %), {change}")
        });
        said.collect()
    }

    fn bytes(&mut self, file: &str) -> Option<Vec<u8>> {
        match fs::read(self.dir.join(file)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note(file, "not there");
                None
            }
            Err(error) => {
                self.note(file, error);
                None
            }
        }
    }

    fn json<T: DeserializeOwned>(&mut self, file: &str) -> Option<T> {
        let bytes = self.bytes(file)?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                self.note(file, error);
                None
            }
        }
    }

    /// Calls `each` with every line that can be read; a broken one is noted once per file.
    pub(crate) fn lines<T: DeserializeOwned>(&mut self, file: &str, mut each: impl FnMut(T)) {
        let open = match File::open(self.dir.join(file)) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.note(file, "not there");
            }
            Err(error) => return self.note(file, error),
        };
        for (index, line) in BufReader::new(open).lines().enumerate() {
            let parsed = match line {
                Ok(line) => serde_json::from_str(&line).map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match parsed {
                Ok(value) => each(value),
                Err(why) => return self.note(file, format!("line {}: {why}", index + 1)),
            }
        }
    }

    /// The plan and the digest of its bytes.
    fn plan(&mut self) -> Option<(Plan, String)> {
        let bytes = self.bytes(paths::PLAN)?;
        let text = String::from_utf8_lossy(&bytes);
        match Plan::parse(paths::PLAN, &text) {
            Ok(plan) => Some((plan, digest_of(&bytes))),
            Err(error) => {
                self.note(paths::PLAN, error);
                None
            }
        }
    }

    /// The table with all percentiles, else the plain matrix.
    fn pairs(&mut self) -> Vec<Pair> {
        let noted = self.missing.len();
        for file in ["measure/table.json", paths::MATRIX] {
            if let Some(document) = self.json::<Measured>(file) {
                self.missing.truncate(noted);
                let rows = match document {
                    Measured::Table { pairs } | Measured::List(pairs) => pairs,
                };
                return rows.into_iter().filter(|row| row.from != row.to).map(Pair::from).collect();
            }
        }
        Vec::new()
    }

    /// Sealing may write the facts after the report, so their absence is no gap in the evidence.
    fn facts(&mut self) -> Option<StoredFacts> {
        let bytes = fs::read(self.dir.join("facts.json")).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(facts) => Some(facts),
            Err(error) => {
                self.note("facts.json", error);
                None
            }
        }
    }

    fn mapping(&mut self) -> Option<Mapping> {
        let stored: StoredMapping = self.json("map.json")?;
        Some(Mapping {
            class: stored.class,
            flags: stored.flags,
            reasons: stored.reasons,
            height_bound: stored.height_bound.map(|bound| bound.blocks),
            not_expressed: stored.coverage.map(|c| c.not_expressed).unwrap_or_default(),
        })
    }

    fn step(&mut self, id: &str, title: &str) -> Step {
        let stored: Option<StoredStep> = self.json(&paths::step(&id.to_lowercase()));
        let Some(stored) = stored else {
            return Step { id: id.to_owned(), title: title.to_owned(), ..Step::default() };
        };
        let checks = || stored.scenarios.iter().flat_map(|s| s.checks.iter().map(move |c| (s, c)));
        let failures = checks().filter(|(_, check)| !check.ok).map(|(scenario, check)| {
            let StoredCheck { name, expected, got, .. } = check;
            format!("{}: {name}: expected {expected}, got {got}", scenario.name)
        });
        Step {
            id: id.to_owned(),
            title: title.to_owned(),
            checks: checks().count() as u64,
            failures: failures.collect(),
            scenarios: stored.scenarios.len() as u64,
            verdict: Some(stored.verdict),
            duration_ms: stored.duration_ms,
            replay: stored.replay,
        }
    }

    fn scraped(&mut self) -> Vec<String> {
        let mut nodes = BTreeSet::new();
        self.lines(paths::SCRAPE_INDEX, |line: ScrapeLine| {
            if line.file.is_some() {
                nodes.insert(line.node);
            }
        });
        nodes.into_iter().collect()
    }
}

/// Either form the measurement is stored in; keys the report does not show are passed over.
#[derive(Deserialize)]
#[serde(untagged)]
enum Measured {
    Table { pairs: Vec<StoredPair> },
    List(Vec<StoredPair>),
}

#[derive(Deserialize)]
struct StoredPair {
    from: String,
    to: String,
    sent: u64,
    lost: u64,
    p50_us: u64,
    p99_us: Option<u64>,
    jitter_us: u64,
    loss_high_ppm: Option<u64>,
}

impl From<StoredPair> for Pair {
    fn from(row: StoredPair) -> Self {
        let StoredPair { from, to, sent, lost, p50_us, p99_us, jitter_us, loss_high_ppm } = row;
        Self { from, to, sent, lost, p50_us, p99_us, jitter_us, loss_high_ppm }
    }
}

/// What `facts.json` says that the plan could not know yet.
#[derive(Deserialize)]
struct StoredFacts {
    run_id: String,
    started_unix_ms: u64,
    finished_unix_ms: u64,
}

impl StoredFacts {
    fn bundle_name(&self) -> String {
        let date = crate::text::time(self.finished_unix_ms);
        format!("rehearsal-{}-{}.qbundle", &date[..10], self.run_id)
    }
}

#[derive(Deserialize)]
struct StoredMapping {
    class: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    reasons: Vec<String>,
    height_bound: Option<StoredBound>,
    coverage: Option<StoredCoverage>,
}

#[derive(Deserialize)]
struct StoredBound {
    blocks: u64,
}

#[derive(Deserialize)]
struct StoredCoverage {
    #[serde(default)]
    not_expressed: Vec<String>,
}

#[derive(Deserialize)]
struct StoredStep {
    verdict: String,
    duration_ms: u64,
    scenarios: Vec<StoredScenario>,
    #[serde(default)]
    replay: String,
}

#[derive(Deserialize)]
struct StoredScenario {
    name: String,
    checks: Vec<StoredCheck>,
}

#[derive(Deserialize)]
struct StoredCheck {
    name: String,
    expected: String,
    got: String,
    ok: bool,
}

fn run(plan: Option<&Plan>, plan_digest: Option<String>, facts: Option<StoredFacts>) -> Run {
    let known = match facts {
        Some(facts) => Run {
            bundle: Some(facts.bundle_name()),
            id: facts.run_id,
            started_unix_ms: Some(facts.started_unix_ms),
            finished_unix_ms: Some(facts.finished_unix_ms),
            ..Run::default()
        },
        None => Run::default(),
    };
    let Some(plan) = plan else { return known };
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for node in &plan.nodes {
        let count = counts.entry(&node.region).or_default();
        match node.role {
            Role::Validator => count.0 += 1,
            Role::Rpc | Role::Sentry => count.1 += 1,
        }
    }
    let region = |region: &qbind_plan::PlannedRegion| {
        let (validators, others) = counts.get(region.id.as_str()).copied().unwrap_or_default();
        let (id, continent) = (region.id.clone(), region.continent.clone());
        Region { id, continent, validators, others }
    };
    let artifact = |name: &str, sha3: String| Artifact { name: name.to_owned(), sha3 };
    let mut artifacts = vec![
        artifact("plan.yaml", plan_digest.unwrap_or_default()),
        artifact("genesis.json", plan.genesis.sha3.to_string()),
        artifact("topology", plan.topology.sha3.clone()),
    ];
    artifacts.extend(plan.binaries.iter().map(|b| artifact(&b.name, b.sha3.clone())));
    Run {
        name: plan.name.clone(),
        target: plan.target.clone(),
        form: match plan.form {
            Form::Quick => "quick",
            Form::Full => "full",
        }
        .to_owned(),
        gate_type: match plan.gate_type {
            GateType::MainnetLaunch => "MainNet launch",
            GateType::ClassCUpgrade => "Class C upgrade",
            GateType::PostIncident => "post-incident",
        }
        .to_owned(),
        regions: plan.regions.iter().map(region).collect(),
        nodes: plan.nodes.iter().map(|node| node.name.clone()).collect(),
        topology: plan.topology.name.clone(),
        chain_id: plan.genesis.chain_id.clone(),
        artifacts,
        seed: Some(plan.seed),
        ..known
    }
}

fn faults(plan: &Plan, live: Option<&LiveRecord>) -> Vec<Fault> {
    plan.faults
        .iter()
        .map(|planned| {
            let done = live.and_then(|live| live.faults.iter().find(|f| f.id == planned.id));
            let mut note = planned.note.clone();
            if let Some(more) = done.map(|done| &done.note).filter(|note| !note.is_empty()) {
                note = format!("{note} {more}");
            }
            Fault {
                id: planned.id.clone(),
                what: what(planned),
                nodes: done.map_or_else(|| planned.affected.clone(), |done| done.nodes.clone()),
                from_unix_ms: done.map(|done| done.from_unix_ms),
                healed_unix_ms: done.map(|done| done.healed_unix_ms),
                recovery_ms: planned.recovery_ms,
                expectation: match planned.expectation {
                    Expectation::Continues => "the chain goes on",
                    Expectation::HaltsUntilHealed => "the chain halts until it is undone",
                }
                .to_owned(),
                done: done.is_some_and(|done| done.done),
                note,
            }
        })
        .collect()
}

fn what(fault: &PlannedFault) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "?".to_owned());
    match fault.kind {
        FaultKind::KillLeader => "kill -9 of the leader".to_owned(),
        FaultKind::CutRegion => format!("cut of region {}", name(&fault.region)),
        FaultKind::LossBurst => {
            let bps = fault.loss_bps.unwrap_or_default();
            let (from, to) = (name(&fault.from), name(&fault.to));
            format!("loss burst of {}.{:02} % between {from} and {to}", bps / 100, bps % 100)
        }
    }
}

fn figures(load: &LoadSummary) -> Figures {
    Figures {
        rate_per_second: load.rate_per_second,
        window_ms: load.window_ms,
        offered: load.offered,
        accepted: load.accepted,
        committed: load.committed,
        lost: load.lost,
        duplicated: load.duplicated,
        tps_milli: load.tps_milli,
        latency_p50_us: load.latency_us.p50,
        latency_p99_us: load.latency_us.p99,
    }
}

#[cfg(test)]
mod tests;
