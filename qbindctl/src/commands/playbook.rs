//! `qbindctl playbook`: incident playbooks, listed, shown and run.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use qbind_playbooks::{
    Answer, Consent, Event, HttpClient, Journal, Outcome, Playbook, Run, Values, Verdict, builtin,
    builtins, parse, plan,
};
use serde::Serialize;
use serde_json::{Value, json};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 64;

/// Incident playbooks: listed, shown, run.
#[derive(Debug, Subcommand)]
pub(crate) enum PlaybookCommand {
    /// Name the playbooks that come with this program
    List(PlaybookListArgs),
    /// Show what a playbook does and which variables it has
    Show(PlaybookShowArgs),
    /// Run a playbook: observe, refuse or act, wait until it is so
    Run(PlaybookRunArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum PlaybookOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `playbook list`.
#[derive(Debug, Args)]
pub(crate) struct PlaybookListArgs {
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: PlaybookOutput,
}

/// Arguments of `playbook show`.
#[derive(Debug, Args)]
pub(crate) struct PlaybookShowArgs {
    /// The name of a playbook, or a YAML file
    #[arg(value_name = "NAME|FILE")]
    pub(crate) playbook: String,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: PlaybookOutput,
}

/// Arguments of `playbook run`.
#[derive(Debug, Args)]
pub(crate) struct PlaybookRunArgs {
    /// The name of a playbook, or a YAML file
    #[arg(value_name = "NAME|FILE")]
    pub(crate) playbook: String,
    /// The value of a variable; give it once for each
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Agree to every destructive step
    #[arg(long)]
    pub(crate) yes: bool,
    /// Where to write the hash-chained journal; must not exist [default: playbook-NAME-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: PlaybookOutput,
}

/// What went wrong, and the exit code that says so.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn of(error: &dyn Error, code: u8) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self { message, code }
    }
}

/// Runs the command and returns its exit code.
pub(crate) fn run(command: PlaybookCommand) -> u8 {
    let outcome = match command {
        PlaybookCommand::List(args) => {
            list(args.output);
            Ok(DONE)
        }
        PlaybookCommand::Show(args) => show(&args).map(|()| DONE),
        PlaybookCommand::Run(args) => run_playbook(&args),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("qbindctl: {}", failure.message);
        failure.code
    })
}

fn list(output: PlaybookOutput) {
    let playbooks = builtins();
    match output {
        PlaybookOutput::Text => {
            for playbook in playbooks {
                println!("{}  {}", playbook.id, playbook.title);
            }
        }
        PlaybookOutput::Json => {
            let playbooks: Vec<_> = playbooks
                .iter()
                .map(|playbook| {
                    json!({"id": playbook.id, "title": playbook.title,
                        "severity": playbook.severity, "digest": playbook.digest})
                })
                .collect();
            print_json("qbindctl.playbooks/v1", json!({"playbooks": playbooks}));
        }
    }
}

fn show(args: &PlaybookShowArgs) -> Result<(), Failure> {
    let playbook = load(&args.playbook)?;
    if args.output == PlaybookOutput::Json {
        print_json("qbindctl.playbook/v1", describe(&playbook));
        return Ok(());
    }
    println!(
        "{}: {}\n{}\nsource: {}\n",
        playbook.id, playbook.title, playbook.about, playbook.source
    );
    println!("variables (--set NAME=VALUE):");
    for (name, variable) in &playbook.variables {
        let default = match &variable.default {
            Some(default) => format!(" [default: {default}]"),
            None if variable.optional => " [optional]".to_owned(),
            None => String::new(),
        };
        println!("  {name}: {}{default}", variable.about);
    }
    let part = |name: &str| println!("{name}:");
    part("observes");
    playbook.diagnose.iter().for_each(|step| println!("  {}: {}", step.id, step.title));
    part("refuses to act because");
    playbook.interlocks.iter().for_each(|lock| println!("  {}: {}", lock.id, lock.because));
    part("acts");
    for step in &playbook.act {
        let mark = if step.is_destructive { " (destructive)" } else { "" };
        println!("  {}: {}{mark}", step.id, step.title);
    }
    println!("ends when:\n  {}: {}", playbook.done.id, playbook.done.title);
    Ok(())
}

fn describe(playbook: &Playbook) -> serde_json::Value {
    let steps = |steps: &[qbind_playbooks::Step]| -> Vec<serde_json::Value> {
        let step = |step: &qbind_playbooks::Step| {
            json!({"id": step.id, "title": step.title, "destructive": step.is_destructive,
                "when": step.when})
        };
        steps.iter().map(step).collect()
    };
    let variables: serde_json::Map<_, _> = playbook
        .variables
        .iter()
        .map(|(name, variable)| {
            let about = json!({"about": variable.about, "kind": variable.kind,
                "default": variable.default, "choices": variable.choices,
                "optional": variable.optional});
            (name.clone(), about)
        })
        .collect();
    let interlocks: Vec<_> = playbook
        .interlocks
        .iter()
        .map(|interlock| json!({"id": interlock.id, "because": interlock.because}))
        .collect();
    json!({
        "id": playbook.id,
        "title": playbook.title,
        "severity": playbook.severity,
        "source": playbook.source,
        "about": playbook.about,
        "digest": playbook.digest,
        "variables": variables,
        "diagnose": steps(&playbook.diagnose),
        "interlocks": interlocks,
        "act": steps(&playbook.act),
        "done": {"id": playbook.done.id, "title": playbook.done.title},
    })
}

fn load(name: &str) -> Result<Playbook, Failure> {
    let file = Path::new(name);
    let is_file = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
    if !is_file {
        return builtin(name).map_err(|error| Failure::of(&error, USAGE));
    }
    let text = std::fs::read_to_string(file).map_err(|error| Failure {
        message: format!("cannot read {name}: {error}"),
        code: USAGE,
    })?;
    parse(name, &text).map_err(|error| Failure::of(&error, USAGE))
}

fn run_playbook(args: &PlaybookRunArgs) -> Result<u8, Failure> {
    let playbook = load(&args.playbook)?;
    let own = std::env::current_exe().map_err(|error| Failure {
        message: format!("cannot find this program's own file: {error}"),
        code: FAILED,
    })?;
    let values = Values::new(&playbook, &args.settings, &own.to_string_lossy())
        .map_err(|error| Failure::of(&error, USAGE))?;
    if args.dry_run {
        show_plan(&playbook, &values, args.output);
        return Ok(DONE);
    }
    let file = args.journal.clone().unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        PathBuf::from(format!("playbook-{}-{}.jsonl", playbook.id, since.as_millis()))
    });
    let journal = Journal::create(&file).map_err(|error| Failure::of(&error, USAGE))?;
    let http = HttpClient::new().map_err(|error| Failure::of(&error, FAILED))?;
    let mut steps = Vec::new();
    let run = Run {
        playbook: &playbook,
        values: &values,
        http: &http,
        consent: &mut Operator { agrees: args.yes },
        journal: &journal,
        tell: &mut |event| match event {
            Event::Began { part: "interlock", id, .. } => eprintln!("interlock: {id}"),
            Event::Began { part, title, .. } => eprintln!("{part}: {title}"),
            Event::Ended { part, id, answer } => {
                eprintln!("  {}: {}", outcome_word(part, answer), shortened(&answer.seen));
                steps.push(json!({"id": id, "outcome": answer.outcome, "seen": answer.seen}));
            }
        },
    };
    let verdict = run.execute().map_err(|error| Failure::of(&error, FAILED))?;
    let (word, detail) = words(&verdict);
    match args.output {
        PlaybookOutput::Text => {
            println!("{word}{}{detail}", if detail.is_empty() { "" } else { ": " });
            println!("journal: {}", file.display());
        }
        PlaybookOutput::Json => {
            let answer = json!({"id": playbook.id, "verdict": word, "detail": detail,
                "steps": steps, "journal": file.display().to_string()});
            print_json("qbindctl.playbook-run/v1", answer);
        }
    }
    Ok(verdict.exit_code())
}

/// What an outcome means to people: an interlock passes or refuses.
fn outcome_word(part: &str, answer: &Answer) -> &'static str {
    match (part, answer.outcome) {
        ("interlock", Outcome::No) => "REFUSES",
        ("interlock", _) => "passes",
        (_, Outcome::Yes) => "yes",
        (_, Outcome::No) => "NO",
        (_, Outcome::Unknown) => "UNKNOWN",
    }
}

/// The journal and JSON hold all of it.
fn shortened(seen: &str) -> String {
    const MOST: usize = 2_000;
    let text = seen.replace('\n', "\n    ");
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain("… (all of it in the journal)".chars()).collect()
}

fn show_plan(playbook: &Playbook, values: &Values, output: PlaybookOutput) {
    let lines = plan(playbook, values);
    match output {
        PlaybookOutput::Text => lines.iter().for_each(|line| println!("{line}")),
        PlaybookOutput::Json => {
            let answer = json!({"id": playbook.id, "digest": playbook.digest, "plan": lines});
            print_json("qbindctl.playbook-plan/v1", answer);
        }
    }
}

fn words(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Done => ("DONE", String::new()),
        Verdict::NotDone { step, seen } => ("NOT DONE", format!("{step}: {seen}")),
        Verdict::Unknown { step, seen } => ("UNKNOWN", format!("{step}: {seen}")),
        Verdict::Refused { by, why } => ("REFUSED", format!("{by}: {why}")),
        Verdict::Stopped { step } => ("STOPPED", format!("at {step}, without consent")),
    }
}

/// Prints an object, its schema first.
fn print_json(schema: &'static str, rest: Value) {
    #[derive(Serialize)]
    struct Answer {
        schema: &'static str,
        #[serde(flatten)]
        rest: Value,
    }
    let text = serde_json::to_string_pretty(&Answer { schema, rest });
    println!("{}", text.expect("plain data serialises"));
}

/// Asks on a terminal; elsewhere only `--yes` agrees.
struct Operator {
    agrees: bool,
}

impl Consent for Operator {
    fn ask(&mut self, what: &str) -> bool {
        if self.agrees {
            return true;
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            eprintln!("  needs consent: {what}\n  hint: give --yes");
            return false;
        }
        eprint!("  {what}\n  go on? [y/N] ");
        let mut answer = String::new();
        let is_asked = io::stderr().flush().and_then(|()| io::stdin().read_line(&mut answer));
        is_asked.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(settings: &[&str], dry_run: bool) -> PlaybookRunArgs {
        PlaybookRunArgs {
            playbook: "validator-down-or-lagging".into(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            dry_run,
            yes: false,
            journal: None,
            output: PlaybookOutput::Json,
        }
    }

    const FINE: [&str; 2] = ["node_url=http://127.0.0.1:1", "other_validators=http://127.0.0.1:2"];

    #[test]
    fn bad_arguments_are_usage_errors_and_leave_no_journal() {
        let code = |args: PlaybookRunArgs| run(PlaybookCommand::Run(args));
        assert_eq!(code(args(&FINE, true)), DONE);
        assert_eq!(code(args(&[], false)), USAGE);
        assert_eq!(code(args(&["node_url=x"], false)), USAGE);
        let unknown = PlaybookRunArgs { playbook: "nothing".into(), ..args(&FINE, false) };
        assert_eq!(code(unknown), USAGE);
        let missing = PlaybookRunArgs { playbook: "/nowhere/x.yaml".into(), ..args(&FINE, false) };
        assert_eq!(code(missing), USAGE);
        let dir = tempfile::tempdir().expect("a directory");
        let taken = dir.path().join("journal");
        std::fs::write(&taken, "evidence").expect("a new file");
        let taken = PlaybookRunArgs { journal: Some(taken), ..args(&FINE, false) };
        assert_eq!(code(taken), USAGE, "a journal is not written over");
    }

    #[test]
    fn every_builtin_can_be_described() {
        for playbook in builtins() {
            let json = describe(&playbook);
            assert_eq!(json["id"], *playbook.id);
            assert!(json["act"].as_array().is_some_and(|steps| !steps.is_empty()));
        }
    }
}
