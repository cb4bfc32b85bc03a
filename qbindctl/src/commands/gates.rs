//! `qbindctl gates`: what a run is judged by, and the judgement from its raw evidence.

use super::evidence_dir::{EvidenceDir, files};
use crate::exit::{DONE, USAGE};
use clap::{Args, Subcommand, ValueEnum};
use qbind_gates::{
    Binding, CATALOGUE, Controls, Entry, Evidence, Gate, GatesResult, Outcome, Vantage, controls,
    lint, read, severity,
};
use qbind_plan::{AddedGate, Plan};
use serde_json::json;
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};
use tabled::{builder::Builder, settings::Style};

/// Gates: what a run is judged by
#[derive(Debug, Subcommand)]
pub enum GatesCommand {
    /// Name all gates
    List(GatesListArgs),
    /// Say how one gate decides, from what, and where the requirement comes from
    Explain(GatesExplainArgs),
    /// See that every series a gate reads is there and moves, in the first and last scrape of each node; also
    /// while a rehearsal is under way
    Lint(GatesEvaluateArgs),
    /// Judge a run again from the raw files of its bundle or evidence directory
    Evaluate(GatesEvaluateArgs),
    /// Plant a violation for each gate in a run's evidence and see that gate, and no other, turn red
    Controls(GatesEvaluateArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GatesOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `gates list`.
#[derive(Debug, Args)]
pub struct GatesListArgs {
    /// Also the gates that this plan adds
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: GatesOutput,
}

/// Arguments of `gates explain`.
#[derive(Debug, Args)]
pub struct GatesExplainArgs {
    /// Such as G5
    #[arg(value_name = "GATE")]
    pub gate: String,
    /// The plan that adds the gate, of X1 to X99
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: GatesOutput,
}

/// Arguments of `gates evaluate`.
#[derive(Debug, Args)]
pub struct GatesEvaluateArgs {
    /// A bundle, or the output directory of a rehearsal
    #[arg(value_name = "BUNDLE|DIR")]
    pub evidence: PathBuf,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: GatesOutput,
}

/// Runs the command; returns the exit code.
pub fn run(command: GatesCommand) -> u8 {
    match command {
        GatesCommand::List(args) => list(&args),
        GatesCommand::Explain(args) => explain(&args),
        GatesCommand::Lint(args) => bind(&args),
        GatesCommand::Evaluate(args) => evaluate(&args),
        GatesCommand::Controls(args) => plant(&args),
    }
}

fn described(entry: &Entry) -> serde_json::Value {
    json!({
        "id": entry.id, "title": entry.title, "severity": entry.severity,
        "vantage": entry.vantage, "query": entry.query, "source": entry.source,
        "explanation": entry.explanation,
    })
}

fn described_added(gate: &AddedGate) -> serde_json::Value {
    json!({
        "id": gate.id, "title": gate.title, "severity": severity(gate),
        "vantage": Vantage::SelfReported, "query": gate.query(), "source": "the plan",
        "explanation": gate.explanation(),
    })
}

/// The gates that a plan adds.
fn added(plan: Option<&Path>) -> Result<Vec<AddedGate>, u8> {
    let plan = plan.map(Plan::load).transpose().map_err(|why| {
        eprintln!("qbindctl: {why}");
        USAGE
    })?;
    Ok(plan.map(|plan| plan.added_gates).unwrap_or_default())
}

fn list(args: &GatesListArgs) -> u8 {
    let added = match added(args.plan.as_deref()) {
        Ok(added) => added,
        Err(code) => return code,
    };
    match args.output {
        GatesOutput::Text => {
            for entry in &CATALOGUE {
                println!("{:3}  {:13}  {}", entry.id, entry.severity.to_string(), entry.title);
            }
            for gate in &added {
                println!("{:3}  {:13}  {}", gate.id, severity(gate).to_string(), gate.title);
            }
        }
        GatesOutput::Json => {
            let known = CATALOGUE.iter().map(described);
            let gates: Vec<_> = known.chain(added.iter().map(described_added)).collect();
            println!("{:#}", json!({"schema": "qbindctl.gates-list/v1", "gates": gates}));
        }
    }
    DONE
}

fn explain(args: &GatesExplainArgs) -> u8 {
    let added = match added(args.plan.as_deref()) {
        Ok(added) => added,
        Err(code) => return code,
    };
    let own = added.iter().find(|gate| gate.id.eq_ignore_ascii_case(&args.gate));
    let gate = match (qbind_gates::entry(&args.gate), own) {
        (Some(entry), _) => described(entry),
        (None, Some(gate)) => described_added(gate),
        (None, None) => {
            eprintln!("qbindctl: there is no gate {:?}", args.gate);
            eprintln!(
                "hint: `qbindctl gates list` names all, G1 to G13; those a plan adds need `--plan FILE`"
            );
            return USAGE;
        }
    };
    match args.output {
        GatesOutput::Text => {
            let of = |key: &str| gate[key].as_str().unwrap_or_default();
            println!("{} {} ({})\n", of("id"), of("title"), of("severity"));
            println!("{}\n", of("explanation"));
            println!("looks at: {}\nrequired by: {}", of("query"), of("source"));
        }
        GatesOutput::Json => {
            let answer = json!({"schema": "qbindctl.gates-explain/v1", "gate": gate});
            println!("{answer:#}");
        }
    }
    DONE
}

fn evidence(args: &GatesEvaluateArgs) -> Result<Evidence, u8> {
    files(&args.evidence).map(|files| read(&files)).map_err(|why| {
        eprintln!("qbindctl: {why}");
        USAGE
    })
}

fn open(args: &GatesEvaluateArgs) -> Result<EvidenceDir, u8> {
    EvidenceDir::open(&args.evidence).map_err(|why| {
        eprintln!("qbindctl: {why}");
        USAGE
    })
}

/// The first and the last scrape of each node that has two.
fn first_and_last(dir: &Path) -> std::io::Result<Vec<(String, String, String)>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(dir.join("scrapes"))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let mut files: Vec<PathBuf> = fs::read_dir(entry.path())?
            .map(|file| Ok(file?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        files.retain(|file| file.extension().is_some_and(|kind| kind == "txt"));
        files.sort();
        if let [first, .., last] = files.as_slice() {
            let name = entry.file_name().to_string_lossy().into_owned();
            nodes.push((name, fs::read_to_string(first)?, fs::read_to_string(last)?));
        }
    }
    nodes.sort();
    Ok(nodes)
}

/// Exit code 0 where all can be read, 1 where one cannot, 2 where there is nothing to read yet.
fn bind(args: &GatesEvaluateArgs) -> u8 {
    let evidence = match open(args) {
        Ok(evidence) => evidence,
        Err(code) => return code,
    };
    let nodes = first_and_last(evidence.path()).unwrap_or_default();
    // Without a readable plan there are no gates of its own to bind, and every gate is UNKNOWN anyway.
    let plan = Plan::load(&evidence.path().join("plan.yaml")).ok();
    let bound = |name: &str, first: &str, last: &str| {
        let planned = plan.iter().flat_map(|plan| plan.node(name).map(|node| (plan, node)));
        let added: Vec<_> = planned
            .flat_map(|(plan, node)| plan.added_gates.iter().filter(|gate| gate.means(node)))
            .collect();
        lint(first, last, added)
    };
    let all: Vec<(&str, Vec<Binding>)> =
        nodes.iter().map(|(node, first, last)| (node.as_str(), bound(node, first, last))).collect();
    let wrong = all.iter().flat_map(|(node, bindings)| bindings.iter().map(move |b| (node, b)));
    let wrong: Vec<_> = wrong.filter(|(_, binding)| binding.problem.is_some()).collect();
    match args.output {
        GatesOutput::Json => {
            let nodes: Vec<_> =
                all.iter().map(|(node, series)| json!({"node": node, "series": series})).collect();
            println!("{:#}", json!({"schema": "qbindctl.gates-lint/v1", "nodes": nodes}));
        }
        GatesOutput::Text => {
            for (node, binding) in &wrong {
                let problem = binding.problem.as_deref().unwrap_or_default();
                let gates = binding.gates.join(", ");
                println!("{node}: {} {problem} ({gates})", binding.series);
            }
            let series: usize = all.iter().map(|(_, bindings)| bindings.len()).sum();
            println!("{} nodes, {series} series, {} problems", all.len(), wrong.len());
        }
    }
    match (all.is_empty(), wrong.is_empty()) {
        (true, _) => 2,
        (false, true) => DONE,
        (false, false) => 1,
    }
}

/// Exit code 0 where every gate that is green could have been red, else 1.
fn plant(args: &GatesEvaluateArgs) -> u8 {
    let found = match evidence(args) {
        Ok(evidence) => controls(&evidence),
        Err(code) => return code,
    };
    match args.output {
        GatesOutput::Text => print!("{}", controls_text(&found)),
        GatesOutput::Json => print!("{}", found.to_json()),
    }
    u8::from(found.missed().next().is_some())
}

/// A line for each control, and how many were caught.
pub(super) fn controls_text(controls: &Controls) -> String {
    let mut out = String::new();
    for control in &controls.controls {
        let (word, more) = match (control.caught, control.skipped.as_str()) {
            (true, _) => ("caught", String::new()),
            (false, "") if control.turned_red.is_empty() => ("MISSED", " (nothing)".to_owned()),
            (false, "") => ("MISSED", format!(" ({})", control.turned_red.join(", "))),
            (false, why) => ("skipped", format!(" ({why})")),
        };
        writeln!(out, "{:<4} {word:<8} {}{more}", control.gate, control.injected)
            .expect("writing to memory cannot fail");
    }
    let (caught, all) = (controls.caught(), controls.controls.len());
    writeln!(out, "controls: {caught} of {all} shown to fail")
        .expect("writing to memory cannot fail");
    out
}

fn evaluate(args: &GatesEvaluateArgs) -> u8 {
    let result = match evidence(args) {
        Ok(evidence) => qbind_gates::evaluate(&evidence),
        Err(code) => return code,
    };
    match args.output {
        GatesOutput::Text => print!("{}", text(&result)),
        GatesOutput::Json => print!("{}", result.to_json()),
    }
    result.verdict.exit_code()
}

/// A table of all gates, then why each that did not pass did not.
fn text(result: &GatesResult) -> String {
    let mut rows = Builder::default();
    rows.push_record(["gate", "verdict", "severity", "value", "bound"]);
    for gate in &result.gates {
        let title = format!("{} {}", gate.id, gate.title);
        let (verdict, severity) = (gate.verdict.to_string(), gate.severity.to_string());
        rows.push_record([title, verdict, severity, gate.value.clone(), gate.bound.clone()]);
    }
    let mut out = rows.build().with(Style::blank()).to_string();
    out.push('\n');
    let put = |out: &mut String, gate: &Gate| {
        writeln!(out, "\n{} {}: {}", gate.id, gate.verdict, gate.note)
            .expect("writing to memory cannot fail");
    };
    for gate in result.gates.iter().filter(|g| g.verdict != Outcome::Pass) {
        put(&mut out, gate);
    }
    writeln!(out, "\nverdict: {}", result.verdict).expect("writing to memory cannot fail");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_inconclusive_and_none_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let run = |dir: &Path| {
            let (evidence, output) = (dir.to_owned(), GatesOutput::Json);
            evaluate(&GatesEvaluateArgs { evidence, output })
        };
        assert_eq!(run(dir.path()), 2);
        assert_eq!(run(&dir.path().join("none")), USAGE);
    }

    #[test]
    fn what_gates_cannot_read_is_told_before_they_judge() {
        let dir = tempfile::tempdir().unwrap();
        let args =
            || GatesEvaluateArgs { evidence: dir.path().to_owned(), output: GatesOutput::Text };
        assert_eq!(bind(&args()), 2, "nothing was scraped yet");
        let node = dir.path().join("scrapes/eu-v1");
        fs::create_dir_all(&node).unwrap();
        for n in 0..3 {
            fs::write(node.join(format!("00000{n}.txt")), "up 1\n").unwrap();
        }
        assert_eq!(bind(&args()), 1);
    }

    #[test]
    fn the_table_names_what_did_not_pass() {
        let dir = tempfile::tempdir().unwrap();
        let text = text(&qbind_gates::evaluate_dir(dir.path()).unwrap());
        assert!(text.contains("G1 UNKNOWN: plan.yaml is missing"), "{text}");
        assert!(text.ends_with("verdict: INCONCLUSIVE\n"), "{text}");
    }

    #[test]
    fn gates_are_found_in_any_case() {
        let args = |gate: &str| GatesExplainArgs {
            gate: gate.into(),
            plan: None,
            output: GatesOutput::Text,
        };
        assert_eq!((explain(&args("g5")), explain(&args("G99"))), (DONE, USAGE));
        assert_eq!(explain(&args("X1")), USAGE, "no plan adds it");
    }
}
