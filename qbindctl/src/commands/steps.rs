//! `qbindctl steps`: the seven checks of the guide, without a Rust toolchain.

use crate::exit::{DONE, FAIL, USAGE};
use clap::{Args, Subcommand, ValueEnum};
use qbind_steps::{Options, Selection, StepId, StepResult, StepsResult};
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The seven checks of the dress rehearsal guide
#[derive(Debug, Subcommand)]
pub enum StepsCommand {
    /// Run all seven in the guide's order, or the ones that are named
    Run(StepsRunArgs),
    /// Name them, with the guide's commands
    List(StepsListArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StepsOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `steps run`.
#[derive(Debug, Args)]
pub struct StepsRunArgs {
    /// Such as T222; they run in the order given [default: all seven]
    #[arg(value_name = "STEP")]
    pub steps: Vec<StepId>,
    /// What every random choice comes from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Fewer repetitions and a shorter load
    #[arg(long)]
    pub quick: bool,
    /// Of T221, T222 and T238: so many seeds of every case, from --seed on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Of T222 and T238: only clusters of this size
    #[arg(long, value_name = "N", value_parser = parse_size)]
    pub validators: Option<usize>,
    /// Of T221, T222 and T238: only the case of this name
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// Of T238: commit latency without processing beside the least the network allows
    #[arg(long)]
    pub floor: bool,
    /// The qbind-node that T234 starts [default: QBIND_NODE_BIN, or the one beside qbindctl]
    #[arg(long, value_name = "FILE")]
    pub node: Option<PathBuf>,
    /// Also write STEP/result.json and STEP/log.txt here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: StepsOutput,
}

fn parse_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (4..=100).contains(&n) => Ok(n),
        _ => Err("a cluster has 4 to 100 validators".to_owned()),
    }
}

/// Arguments of `steps list`.
#[derive(Debug, Args)]
pub struct StepsListArgs {
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: StepsOutput,
}

/// Runs the command; returns the exit code.
pub fn run(command: StepsCommand) -> u8 {
    match command {
        StepsCommand::Run(args) => run_steps(&args),
        StepsCommand::List(args) => list(args.output),
    }
}

fn run_steps(args: &StepsRunArgs) -> u8 {
    let steps = if args.steps.is_empty() { StepId::ALL.to_vec() } else { args.steps.clone() };
    let options = Options {
        seed: args.seed,
        quick: args.quick,
        node_binary: args.node.clone(),
        offered_tps: None,
        measured: None,
        selection: Selection {
            seeds: args.seeds,
            validators: args.validators,
            case: args.case.clone(),
            floor: args.floor,
        },
    };
    if let Some(misfit) = steps.iter().find_map(|step| step.misfit(&options.selection)) {
        eprintln!("qbindctl: {misfit}");
        eprintln!("hint: name the step, as in `qbindctl steps run T222 --case twins`");
        return USAGE;
    }
    let mut results = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        eprintln!("[{}/{}] {step} {}", at + 1, steps.len(), step.title());
        let result = qbind_steps::run(*step, &options);
        let text = text_of(&result);
        eprint!("{text}");
        if let Some(out) = &args.out
            && let Err(error) = store(out, &result, &text)
        {
            eprintln!("qbindctl: cannot write below {}: {error}", out.display());
            eprintln!("hint: name a directory that can be written with --out");
            return USAGE;
        }
        results.push(result);
    }
    let all = StepsResult::new(results);
    match args.output {
        StepsOutput::Text => {
            for result in &all.steps {
                println!("{} {:4} {}", result.id, result.verdict, result.title);
            }
            println!("verdict: {}", all.verdict);
        }
        StepsOutput::Json => {
            println!("{}", serde_json::to_string_pretty(&all).expect("plain data serialises"));
        }
    }
    if all.verdict.is_pass() { DONE } else { FAIL }
}

/// One line for the step and each scenario, and what did not hold.
fn text_of(result: &StepResult) -> String {
    let seconds = result.duration_ms as f64 / 1_000.0;
    let mut text = format!("{} {} in {seconds:.1} s\n", result.id, result.verdict);
    for scenario in &result.scenarios {
        let summary = match scenario.summary.as_str() {
            "" => String::new(),
            summary => format!(": {summary}"),
        };
        text += &format!("  {} {}{summary}\n", scenario.verdict, scenario.name);
        for check in scenario.checks.iter().filter(|c| !c.ok) {
            text +=
                &format!("    {}: expected {}, got {}\n", check.name, check.expected, check.got);
        }
    }
    if !result.verdict.is_pass() {
        text += &format!("  replay: {}\n", result.replay);
    }
    text
}

fn store(out: &Path, result: &StepResult, log: &str) -> io::Result<()> {
    let dir = out.join(&result.id);
    fs::create_dir_all(&dir)?;
    let json = serde_json::to_string_pretty(result).expect("plain data serialises");
    fs::write(dir.join("result.json"), format!("{json}\n"))?;
    fs::write(dir.join("log.txt"), log)
}

fn list(output: StepsOutput) -> u8 {
    match output {
        StepsOutput::Text => {
            for step in StepId::ALL {
                println!("{step}  {:28} {}", step.title(), step.guide_command());
            }
        }
        StepsOutput::Json => {
            let steps = StepId::ALL.map(|step| {
                json!({"id": step.as_str(), "title": step.title(),
                    "guide_command": step.guide_command()})
            });
            let answer = json!({"schema": "qbindctl.steps-list/v1", "steps": steps});
            println!("{answer:#}");
        }
    }
    DONE
}
