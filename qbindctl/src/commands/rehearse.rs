//! `qbindctl rehearse`: every stage in one command.

use crate::commands::{
    attest::{PassphraseArgs, signing_key},
    compare,
    evidence_dir::EvidenceDir,
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qbind_gates::{Gate, Outcome, Verdict};
use qbind_plan::{GateType, Manifest, topology::Topology};
use qbind_rehearsal::{Finished, Purpose, Request, rehearse};
use std::{
    error::Error,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const USAGE: u8 = 64;
const INCONCLUSIVE: u8 = 2;

/// Where the network under rehearsal is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RehearseTarget {
    /// Real nodes on this machine, an emulated WAN between their regions.
    Lab,
    /// Existing hosts (UNSUPPORTED in this build).
    Inventory,
}

/// Form of the answer.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum RehearseOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Why a rehearsal is run (guide, section 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateTypeArg {
    /// Before the genesis block of MainNet.
    MainnetLaunch,
    /// Before a hard fork.
    ClassCUpgrade,
    /// After a major network event.
    PostIncident,
}

/// A rehearsal.
#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// Where the network is
    #[arg(long, value_enum, default_value = "lab")]
    target: RehearseTarget,
    /// A shipped topology's name, or a YAML file
    #[arg(long, value_name = "NAME|FILE", default_value = "standard-tri-region")]
    topology: String,
    /// Gates, load and faults, if not the built-in ones
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The short form: 1,000 probes a pair, a short live window, steps in their short form
    #[arg(long)]
    quick: bool,
    /// Why it is run [default: the manifest's, mainnet-launch]
    #[arg(long, value_enum)]
    gate_type: Option<GateTypeArg>,
    /// Class C upgrade: the draft of its envelope, before it has evidence and approvals
    #[arg(long, value_name = "FILE")]
    upgrade_envelope: Option<PathBuf>,
    /// Post-incident: which incident
    #[arg(long, value_name = "TEXT")]
    incident: Option<String>,
    /// A bundle or evidence directory of a run before, to compare with; demanded post-incident
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
    /// Also plant a violation for each gate in the evidence and see that gate, and no other, turn red
    #[arg(long)]
    controls: bool,
    /// New or empty directory for evidence, report and bundle
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Go on with the rehearsal in this directory, which was interrupted
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "topology", "manifest", "quick", "gate_type"])]
    resume: Option<PathBuf>,
    /// The program under rehearsal; beside this one by default
    #[arg(long, value_name = "FILE")]
    node_binary: Option<PathBuf>,
    /// Who runs it, for the report
    #[arg(long, value_name = "NAME", default_value = "unnamed operator")]
    operator: String,
    /// Encrypted key to sign the bundle with (`attest keygen`); without it a key made for this run
    /// ties the evidence together, and who vouches for it signs later with `attest sign`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the key's passphrase comes from
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    output: RehearseOutput,
}

pub(crate) fn run(args: RehearseArgs) -> u8 {
    let key = args.key.as_ref().map(|file| signing_key(file, &args.passphrase)).transpose();
    let before = args.baseline.as_deref().map(EvidenceDir::open).transpose();
    let prepared = key.and_then(|key| {
        let before = before?;
        let request = request(&args, before.as_ref().map(EvidenceDir::path))?;
        Ok((request, key, before))
    });
    // The unpacked run before stays until the end.
    let (request, key, _before) = match prepared {
        Ok(all) => all,
        Err(why) => {
            eprintln!("qbindctl: {why}");
            return USAGE;
        }
    };
    // Before any thread starts: an ordinary user is moved into a namespace of its own.
    if let Err(error) = qbind_lab::acquire() {
        eprintln!("qbindctl: {}", chain(&error));
        return USAGE;
    }
    let progress = Progress::new();
    let ended = rehearse(&request, key, &|stage| progress.tell(stage));
    progress.bar.finish_and_clear();
    match ended {
        Ok(finished) => {
            match args.output {
                RehearseOutput::Text => print_text(&finished),
                RehearseOutput::Json => println!("{}", json(&finished)),
            }
            match finished.controls.as_ref().is_some_and(|all| all.missed().next().is_some()) {
                // A gate that could not have failed says nothing by passing.
                true => Verdict::Invalid.exit_code(),
                false => finished.gates.verdict.exit_code(),
            }
        }
        Err(error) => {
            eprintln!("qbindctl: {}", chain(&error));
            if error.is_usage {
                return USAGE;
            }
            let kept = request.out.display();
            eprintln!("no verdict was reached; what was found so far is in {kept}");
            INCONCLUSIVE
        }
    }
}

fn request(args: &RehearseArgs, before: Option<&Path>) -> Result<Request, String> {
    if matches!(args.target, RehearseTarget::Inventory) {
        return Err("UNSUPPORTED: --target inventory; this build rehearses in the lab".into());
    }
    let topology = Topology::load(&args.topology).map_err(|e| chain(&e))?;
    let mut manifest = match &args.manifest {
        Some(file) => Manifest::load(file).map_err(|e| chain(&e))?,
        None if args.quick => Manifest::quick(),
        None => Manifest::full(),
    };
    match args.gate_type {
        None => {}
        Some(GateTypeArg::MainnetLaunch) => manifest.gate_type = GateType::MainnetLaunch,
        Some(GateTypeArg::ClassCUpgrade) => manifest.gate_type = GateType::ClassCUpgrade,
        Some(GateTypeArg::PostIncident) => manifest.gate_type = GateType::PostIncident,
    }
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.with_file_name("qbind-node"))
    };
    let node_binary = args.node_binary.clone().or_else(beside).unwrap_or_default();
    if !node_binary.is_file() {
        let path = node_binary.display();
        return Err(format!("no node program at {path}; give --node-binary FILE"));
    }
    let operator = args.operator.clone();
    let out = args.out.clone().or_else(|| args.resume.clone()).unwrap_or_default();
    let (controls, resume) = (args.controls, args.resume.is_some());
    let purpose = Purpose {
        envelope: args.upgrade_envelope.clone(),
        incident: args.incident.clone(),
        baseline: before.map(Path::to_owned),
    };
    Ok(Request { manifest, topology, out, node_binary, operator, controls, resume, purpose })
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn print_text(finished: &Finished) {
    for gate in &finished.gates.gates {
        let verdict = gate.verdict.to_string();
        println!("{:<4} {verdict:<8} {:<46} {}", gate.id, gate.title, gate.value);
        if gate.verdict != Outcome::Pass {
            println!("              required: {}", gate.bound);
            println!("              {}", gate.note);
        }
    }
    if let Some(controls) = &finished.controls {
        print!("{}", super::gates::controls_text(controls));
    }
    if let Some(compared) = &finished.compared {
        print!("against the run before:\n{}", compare::text(compared));
    }
    println!("verdict: {}", finished.gates.verdict);
    println!("report:  {}", finished.report.display());
    println!("bundle:  {}", finished.bundle.display());
    println!(
        "verify:  qbindctl attest verify {} --trust {}",
        finished.bundle.display(),
        finished.trust.display()
    );
}

fn json(finished: &Finished) -> String {
    let mut answer = serde_json::Map::new();
    answer.insert("schema".into(), "qbindctl.rehearse/v1".into());
    answer.insert("verdict".into(), finished.gates.verdict.to_string().into());
    let gate = |g: &Gate| {
        serde_json::json!({
            "id": g.id, "title": g.title, "verdict": g.verdict, "severity": g.severity,
            "value": g.value, "bound": g.bound, "note": g.note,
        })
    };
    answer.insert("gates".into(), finished.gates.gates.iter().map(gate).collect());
    if let Some(controls) = &finished.controls {
        answer.insert("controls".into(), serde_json::json!(controls.controls));
    }
    if let Some(compared) = &finished.compared {
        answer.insert("compared".into(), serde_json::json!(compared));
    }
    answer.insert("report".into(), finished.report.display().to_string().into());
    answer.insert("bundle".into(), finished.bundle.display().to_string().into());
    answer.insert("trust".into(), finished.trust.display().to_string().into());
    serde_json::Value::Object(answer).to_string()
}

/// A spinner with the stage under way on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    started: Instant,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")
            .expect("the template is ours");
        let bar = ProgressBar::new_spinner().with_style(style);
        let is_terminal = std::io::stderr().is_terminal();
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, started: Instant::now(), is_terminal }
    }

    fn tell(&self, stage: &str) {
        if self.is_terminal {
            self.bar.println(stage);
            self.bar.set_message(stage.to_owned());
        } else {
            eprintln!("{:>4} s  {stage}", self.started.elapsed().as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qbind_rehearsal::RehearsalError;

    #[test]
    fn a_failure_names_its_causes() {
        let error = RehearsalError {
            doing: "read the plan".to_owned(),
            is_usage: true,
            source: "line 3".into(),
        };
        assert_eq!(chain(&error), "cannot read the plan: line 3");
    }
}
