//! Whether the verdict can be trusted: faults planted in live rehearsals, each of which must be caught with
//! the right verdict and gate, and clean quick rehearsals, none of which may raise an alarm.
//!
//! `verdict_power OUT [CLEAN]`: results stand in OUT, one directory a run, and runs that are there are not
//! run again; delete one to repeat it. CLEAN is the number of clean runs, 20 if not said.

mod cases;
mod proxy;
mod saboteur;

use cases::{CASES, Case};
use qbind_evidence::{VerifyOptions, verify};
use qbind_gates::Outcome;
use qbind_plan::{Manifest, topology::Topology};
use qbind_rehearsal::{Purpose, Request, rehearse};
use saboteur::Saboteur;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

const OUTCOME: &str = "outcome.json";
/// A rehearsal as short as gates can decide on; its bounds on sample sizes are what it is short of.
const SHORT: &str = "
schema: qbind.manifest/v1
name: verdict-power
form: quick
gate_type: mainnet_launch
seed: 42
measure: { probes_per_pair: 1000, rate_per_second: 100, warmup_probes: 50, payload_bytes: 64 }
steps: { form: short }
load: { rate_per_second: 10, accounts: 100, drain_s: 15, resubmit_after_s: 8 }
live: { window_s: 60, warmup_s: 10, scrape_interval_ms: 5000, commit_poll_ms: 500 }
gates: { latency_samples_min: 300, tps_seconds_min: 20 }
faults: []
";

/// How a run ended.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    /// The verdict; `none` if no verdict was reached, `refused` if the bundle was not valid.
    verdict: String,
    /// Gates that did not pass.
    red: Vec<String>,
    /// Why, where there is no verdict.
    why: String,
    /// Seconds.
    took_s: u64,
}

impl Ended {
    /// Whether it passed, and nothing is said to be wrong: a soft gate that cannot decide yet says so and is no
    /// alarm.
    fn is_quiet(&self) -> bool {
        self.verdict == "PASS" && self.red.iter().all(|red| red.ends_with(" UNKNOWN"))
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verdict_power: {error}");
            ExitCode::from(64)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let first = args.next().ok_or("usage: verdict_power OUT [CLEAN]")?;
    if first == "--one" {
        let (out, name) = (args.next().ok_or("no OUT")?, args.next().ok_or("no name")?);
        one(Path::new(&out), &name)?;
        return Ok(true);
    }
    let out = PathBuf::from(first);
    let clean: usize = args.next().map_or(Ok(20), |text| text.parse())?;
    fs::create_dir_all(&out)?;
    let out = fs::canonicalize(out)?;
    let mut caught = 0;
    for case in CASES {
        let ended = ended(&out, case.name)?;
        let is_caught = case.is_caught_by(&ended);
        caught += usize::from(is_caught);
        row(if is_caught { "caught" } else { "MISSED" }, case.name, &ended);
    }
    let (mut quiet, mut undecided) = (0, 0);
    for n in 1..=clean {
        let name = format!("clean-{n:02}");
        let ended = ended(&out, &name)?;
        let is_quiet = ended.is_quiet();
        quiet += usize::from(is_quiet);
        undecided += usize::from(is_quiet && !ended.red.is_empty());
        row(if is_quiet { "quiet" } else { "ALARM" }, &name, &ended);
    }
    share("sensitivity", caught, CASES.len(), "planted faults caught");
    share("specificity", quiet, clean, "clean runs without an alarm");
    println!("{undecided} of them with a soft gate that asks for a longer window");
    Ok(caught == CASES.len() && quiet == clean)
}

fn row(word: &str, name: &str, ended: &Ended) {
    let Ended { verdict, red, why, took_s } = ended;
    // What else went wrong stands in the outcome.
    let why = why.lines().next().unwrap_or_default();
    println!("{word:<7} {name:<48} {verdict:<13} {} {why} ({took_s} s)", red.join(", "));
}

fn share(name: &str, there: usize, of: usize, what: &str) {
    let missed = (of - there) as u64;
    let at_95 = match qbind_links::clopper_pearson(of as u64, missed) {
        Some(interval) => {
            let percent = |ppm: u64| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10);
            let (low, high) = (1_000_000 - interval.high_ppm, 1_000_000 - interval.low_ppm);
            format!("{} to {} at 95 %", percent(low), percent(high))
        }
        None => "nothing was run".to_owned(),
    };
    println!("{name}: {there} of {of} {what} ({at_95})");
}

/// How the run of this name ended; runs it in a process of its own if it has not.
fn ended(out: &Path, name: &str) -> Result<Ended, Box<dyn Error>> {
    let dir = out.join(name);
    let file = dir.join(OUTCOME);
    if !file.exists() {
        if dir.exists() {
            // Broken off: half a run says nothing.
            fs::remove_dir_all(&dir)?;
        }
        eprintln!("{name}");
        let status =
            Command::new(std::env::current_exe()?).arg("--one").arg(out).arg(name).status()?;
        if !status.success() {
            return Err(format!("the run of {name} broke: {status}").into());
        }
    }
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn one(out: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    qbind_lab::acquire()?;
    let case: Option<&'static Case> = CASES.iter().find(|case| case.name == name);
    let dir = out.join(name);
    fs::create_dir_all(&dir)?;
    // A copy, for some faults are in the program.
    let node_binary = dir.join("qbind-node");
    let own = std::env::current_exe()?;
    let built = own.ancestors().nth(2).ok_or("not run from a build")?.join("qbind-node");
    fs::copy(&built, &node_binary).map_err(|e| format!("{}: {e}", built.display()))?;
    let saboteur = Arc::new(Saboteur::new(dir.join("run"), node_binary.clone()));
    let manifest = match case {
        Some(_) => Manifest::parse("short", SHORT)?,
        None => Manifest::quick(),
    };
    let request = Request {
        manifest,
        topology: Topology::load("standard-tri-region")?,
        out: saboteur.out.clone(),
        node_binary,
        operator: "verdict-power".to_owned(),
        resume: false,
        purpose: Purpose::default(),
        controls: false,
    };
    let begun = Instant::now();
    let finished = rehearse(&request, None, &|stage| {
        eprintln!("{:>4} s  {stage}", begun.elapsed().as_secs());
        if stage.starts_with(cases::LIVE) {
            saboteur.live();
        }
        if let Some(case) = case {
            (case.plant)(&saboteur, stage);
        }
    });
    saboteur.end();
    let took_s = begun.elapsed().as_secs();
    let ended = match finished {
        Err(error) => {
            let mut why = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                why += &format!(": {inner}");
                cause = inner.source();
            }
            Ended { verdict: "none".to_owned(), red: Vec::new(), why, took_s }
        }
        Ok(finished) => {
            let trust = qbind_evidence::Trust::load(&finished.trust)?;
            let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
            let found =
                verify(std::io::BufReader::new(fs::File::open(&finished.bundle)?), &options);
            let red = finished.gates.gates.iter().filter(|g| g.verdict != Outcome::Pass);
            let red = red.map(|gate| format!("{} {}", gate.id, gate.verdict)).collect();
            let why = found.findings.first().map(ToString::to_string).unwrap_or_default();
            let verdict = match found.valid {
                true => finished.gates.verdict.to_string(),
                false => "refused".to_owned(),
            };
            Ended { verdict, red, why, took_s }
        }
    };
    // The gates and the journal tell the rest; raw evidence of dozens of runs would fill the disk.
    for name in ["gates.json", "journal.jsonl", "plan.yaml"] {
        drop(fs::copy(saboteur.out.join(name), dir.join(name)));
    }
    fs::remove_dir_all(&saboteur.out)?;
    fs::write(dir.join(OUTCOME), serde_json::to_string_pretty(&ended)?)?;
    Ok(())
}
