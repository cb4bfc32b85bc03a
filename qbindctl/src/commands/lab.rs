//! `qbindctl lab`: a network of real nodes on this machine, with a WAN between its regions.

mod own;
mod render;

use clap::{Args, Subcommand, ValueEnum};
use qbind_lab::{
    Degradation,
    network::{EPOCH_BLOCKS, NetworkProfile},
    supervisor::{Client, ControlError, Reply, Request, exec},
};
use qbind_plan::topology::Topology;
use serde_json::json;
use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const REFUSED: u8 = 4;
const USAGE: u8 = 64;
/// As shells report a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// The lab: real nodes in network namespaces, joined by an emulated WAN.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Start a lab and return when every node is ready
    Up(LabUpArgs),
    /// Show every node, and the links that are cut or degraded
    Status(LabTarget),
    /// Show what each directed link has carried and lost
    Counters(LabTarget),
    /// Print the emulator's counters as Prometheus text
    Metrics(LabTarget),
    /// Run a command inside a region, next to a node, or in ops
    Exec(LabExecArgs),
    /// Make links slower, more jittery or more lossy than the topology asks
    Degrade(LabDegradeArgs),
    /// Cut links: nothing is delivered
    Partition(LabLinksArgs),
    /// Join cut links and end degradations
    Heal(LabLinksArgs),
    /// Kill a node with SIGKILL, as a crash would
    Kill(LabNodeArgs),
    /// Stop a node with SIGTERM
    Stop(LabNodeArgs),
    /// Stop a node if it runs, and start it
    Restart(LabNodeArgs),
    /// Stop every node and remove the network
    Down(LabTarget),
    /// Own a lab; `up` starts this in the background
    #[command(hide = true)]
    Serve(LabUpArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LabOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub struct LabTarget {
    /// A topology file, or the name of a built-in one
    #[arg(long, value_name = "FILE|NAME", default_value = "standard-tri-region")]
    pub topology: String,
    /// The lab's directory [default: lab-NAME, after the topology]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub output: LabOutput,
}

/// Arguments of `lab up`.
#[derive(Debug, Args)]
pub struct LabUpArgs {
    /// Which lab.
    #[command(flatten)]
    pub target: LabTarget,
    /// The settings all nodes start from: mainnet, testnet-beta or devnet
    #[arg(long, value_name = "PROFILE", default_value = "mainnet")]
    pub profile: NetworkProfile,
    /// Funded accounts whose keys the load generator gets
    #[arg(long, value_name = "K", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub load_accounts: u32,
    /// An election of the next epoch's validators every so many blocks
    #[arg(long, value_name = "BLOCKS", default_value_t = EPOCH_BLOCKS)]
    #[arg(value_parser = clap::value_parser!(u64).range(8..=1_000_000))]
    pub epoch_blocks: u64,
    /// The node program [default: qbind-node beside this program]
    #[arg(long, value_name = "FILE", env = "QBIND_NODE_BINARY")]
    pub node_binary: Option<PathBuf>,
    /// How long nodes may take to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub ready_timeout: u64,
    /// Stay, and take the lab down on Ctrl-C
    #[arg(long)]
    pub foreground: bool,
}

/// Arguments of `lab exec`.
#[derive(Debug, Args)]
pub struct LabExecArgs {
    /// Which lab.
    #[command(flatten)]
    pub target: LabTarget,
    /// A node, a region, or ops
    #[arg(value_name = "NODE|REGION|ops")]
    pub place: String,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `lab degrade`.
#[derive(Debug, Args)]
pub struct LabDegradeArgs {
    /// Which lab.
    #[command(flatten)]
    pub target: LabTarget,
    /// Links: all, a region (eu), a direction (eu:us), or groups (eu,us/jp)
    pub links: String,
    /// Additional one-way delay, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub delay_ms: u64,
    /// Additional jitter (half width), in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub jitter_ms: u64,
    /// Additional loss, in units of 0.01 %
    #[arg(long, value_name = "BPS", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub loss_bps: u32,
}

/// Arguments of `lab partition` and `lab heal`.
#[derive(Debug, Args)]
pub struct LabLinksArgs {
    /// Which lab.
    #[command(flatten)]
    pub target: LabTarget,
    /// Links: all, a region (eu), a direction (eu:us), or groups (eu,us/jp)
    #[arg(default_value = "all")]
    pub links: String,
}

/// Arguments of `lab kill`, `lab stop` and `lab restart`.
#[derive(Debug, Args)]
pub struct LabNodeArgs {
    /// Which lab.
    #[command(flatten)]
    pub target: LabTarget,
    /// The node's name
    pub node: String,
}

/// What went wrong, and the exit code that says so.
struct Failure {
    message: String,
    code: u8,
}

/// The answer for people and the one for programs.
struct Answer {
    text: String,
    json: String,
}

/// Runs the command and returns its exit code.
///
/// Call it before other threads are started: a lab of an ordinary user lives in a user namespace,
/// which a process with several threads cannot enter.
pub fn run(command: LabCommand) -> u8 {
    let (output, outcome) = match command {
        LabCommand::Serve(args) => return own::serve(&args),
        LabCommand::Up(args) => (args.target.output, own::up(&args)),
        LabCommand::Status(target) => (target.output, status(&target)),
        LabCommand::Counters(target) => (target.output, counters(&target)),
        LabCommand::Metrics(target) => (LabOutput::Text, metrics(&target)),
        LabCommand::Exec(args) => (LabOutput::Text, run_inside(&args)),
        LabCommand::Degrade(args) => (args.target.output, degrade(args)),
        LabCommand::Partition(LabLinksArgs { target, links }) => {
            (target.output, on_links(&target, &Request::Partition { links }, "cut"))
        }
        LabCommand::Heal(LabLinksArgs { target, links }) => {
            (target.output, on_links(&target, &Request::Heal { links }, "healed"))
        }
        LabCommand::Kill(LabNodeArgs { target, node }) => {
            (target.output, on_node(&target, &Request::Kill { node: node.clone() }, &node))
        }
        LabCommand::Stop(LabNodeArgs { target, node }) => {
            (target.output, on_node(&target, &Request::Stop { node: node.clone() }, &node))
        }
        LabCommand::Restart(LabNodeArgs { target, node }) => {
            (target.output, on_node(&target, &Request::Restart { node: node.clone() }, &node))
        }
        LabCommand::Down(target) => (target.output, down(&target)),
    };
    match outcome {
        Ok(answer) => print(&answer, output),
        Err(Failure { message, code }) => {
            eprintln!("error: {message}");
            code
        }
    }
}

fn print(answer: &Answer, output: LabOutput) -> u8 {
    let text = match output {
        LabOutput::Text => answer.text.clone(),
        LabOutput::Json => answer.json.clone(),
    };
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        // Whoever reads the answer has gone; the exit code still tells.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: cannot write the answer: {error}");
            FAILED
        }
        _ => DONE,
    }
}

impl LabTarget {
    /// The lab's directory.
    fn dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        Ok(PathBuf::from(format!("lab-{}", self.load()?.name)))
    }

    fn load(&self) -> Result<Topology, Failure> {
        Topology::load(&self.topology).map_err(|error| Failure::of(&error, USAGE))
    }

    fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.dir()?)?)
    }
}

fn status(target: &LabTarget) -> Result<Answer, Failure> {
    let status = target.connect()?.status()?;
    let text = render::status(&status);
    Ok(Answer { text, json: tagged("qbindctl.lab-status/v1", &status) })
}

fn counters(target: &LabTarget) -> Result<Answer, Failure> {
    match target.connect()?.ask(&Request::Counters)? {
        Reply::Counters(snapshot) => {
            let text = render::counters(&snapshot);
            Ok(Answer { text, json: tagged("qbindctl.lab-counters/v1", &*snapshot) })
        }
        other => Err(Failure::unexpected(&other)),
    }
}

fn metrics(target: &LabTarget) -> Result<Answer, Failure> {
    match target.connect()?.ask(&Request::Metrics)? {
        Reply::Metrics { text } => Ok(Answer { text, json: String::new() }),
        other => Err(Failure::unexpected(&other)),
    }
}

fn run_inside(args: &LabExecArgs) -> Result<Answer, Failure> {
    let place = args.target.connect()?.place(&args.place)?;
    let (program, arguments) = args.command.split_first().expect("clap demands one");
    // Returns only when the command cannot be run.
    Err(exec(&place, program, arguments).into())
}

fn degrade(args: LabDegradeArgs) -> Result<Answer, Failure> {
    let degradation = Degradation {
        delay_us: args.delay_ms * 1_000,
        jitter_us: args.jitter_ms * 1_000,
        loss_bps: args.loss_bps,
    };
    if degradation == Degradation::default() {
        let message = "nothing to do: give --delay-ms, --jitter-ms or --loss-bps".to_owned();
        return Err(Failure { message, code: USAGE });
    }
    on_links(&args.target, &Request::Degrade { links: args.links, degradation }, "degraded")
}

fn on_links(target: &LabTarget, request: &Request, verb: &str) -> Result<Answer, Failure> {
    match target.connect()?.ask(request)? {
        Reply::Links { links } => Ok(Answer {
            text: format!("{verb}: {}", links.join(" ")),
            json: tagged("qbindctl.lab-links/v1", &json!({ "done": verb, "links": links })),
        }),
        other => Err(Failure::unexpected(&other)),
    }
}

fn on_node(target: &LabTarget, request: &Request, node: &str) -> Result<Answer, Failure> {
    match target.connect()?.ask(request)? {
        Reply::Node { state } => Ok(Answer {
            text: format!("{node}: {}", render::state(&state)),
            json: tagged("qbindctl.lab-node/v1", &json!({ "node": node, "process": state })),
        }),
        other => Err(Failure::unexpected(&other)),
    }
}

fn down(target: &LabTarget) -> Result<Answer, Failure> {
    target.connect()?.down()?;
    let json = tagged("qbindctl.lab-down/v1", &json!({ "dir": target.dir()? }));
    Ok(Answer { text: "the lab is down".to_owned(), json })
}

/// The JSON of an object, with its schema first.
fn tagged(schema: &str, value: &impl serde::Serialize) -> String {
    let object = serde_json::to_string(value).expect("plain data serialises");
    let fields = object.strip_prefix('{').expect("an object was given");
    let comma = if fields == "}" { "" } else { "," };
    format!("{{\"schema\":\"{schema}\"{comma}{fields}")
}

impl Failure {
    fn of(error: &(dyn Error + 'static), code: u8) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self { message, code }
    }

    fn unexpected(reply: &Reply) -> Self {
        Self { message: format!("the supervisor answered {reply:?}"), code: FAILED }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let code = match &error {
            ControlError::NotUp { .. }
            | ControlError::Exec { .. }
            | ControlError::Refused { callers_fault: true, .. } => USAGE,
            _ => FAILED,
        };
        Self::of(&error, code)
    }
}
