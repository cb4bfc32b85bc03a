//! `qbindctl compare`: two runs side by side.

use super::evidence_dir::files;
use crate::exit::{DONE, USAGE};
use clap::{Args, ValueEnum};
use qbind_gates::{Change, Comparison, Figure, compare};
use serde_json::json;
use std::path::{Path, PathBuf};
use tabled::{builder::Builder, settings::Style};

/// The second run lost something.
const WORSE: u8 = 1;
/// Nothing is known to be worse, and not all is known.
const INCOMPLETE: u8 = 2;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CompareOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Two runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing got worse by more than chance, 1 something did, 2 not all \
                  could be compared, 64 usage."
)]
pub(crate) struct CompareArgs {
    /// Bundle or evidence directory of the run before
    #[arg(value_name = "RUN_A")]
    first: PathBuf,
    /// Bundle or evidence directory of the run after
    #[arg(value_name = "RUN_B")]
    second: PathBuf,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    output: CompareOutput,
}

/// Runs the command; returns the exit code.
pub(crate) fn run(args: &CompareArgs) -> u8 {
    let read = |path: &Path| files(path).map(|files| qbind_gates::read(&files));
    let both = read(&args.first).and_then(|first| Ok((first, read(&args.second)?)));
    let (first, second) = match both {
        Ok(both) => both,
        Err(why) => {
            eprintln!("qbindctl: {why}");
            return USAGE;
        }
    };
    let compared = compare(&first, &second);
    match args.output {
        CompareOutput::Text => print!("{}", text(&compared)),
        CompareOutput::Json => {
            let worse = compared.is_worse();
            let answer =
                json!({"schema": "qbindctl.compare/v1", "worse": worse, "comparison": compared});
            println!("{answer:#}");
        }
    }
    match (compared.is_worse(), compared.is_incomplete()) {
        (true, _) => WORSE,
        (false, true) => INCOMPLETE,
        (false, false) => DONE,
    }
}

fn percent(permille: i64) -> String {
    let sign = if permille < 0 { "-" } else { "+" };
    format!("{sign}{}.{} %", permille.unsigned_abs() / 10, permille.unsigned_abs() % 10)
}

fn value(figure: &Figure, value: u64) -> String {
    let unit = if figure.unit == "us" { "ms" } else { "TPS" };
    format!("{}.{:03} {unit}", value / 1000, value % 1000)
}

/// The comparison for people.
pub(crate) fn text(compared: &Comparison) -> String {
    let mut rows = Builder::default();
    rows.push_record(["figure", "first", "second", "change (95 %)", "", "detectable"]);
    for figure in &compared.figures {
        let (low, point, high) = figure.change_permille;
        let word = match figure.change {
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::NotShown => "no difference shown",
        };
        rows.push_record([
            figure.name.to_owned(),
            value(figure, figure.first),
            value(figure, figure.second),
            format!("{} ({} to {})", percent(point), percent(low), percent(high)),
            word.to_owned(),
            format!("{} or more", percent(figure.detectable_permille.cast_signed())),
        ]);
    }
    let mut out = String::new();
    for why in &compared.unlike {
        out += &format!("unlike  {why}\n");
    }
    if !compared.figures.is_empty() {
        out += &format!("{}\n", rows.build().with(Style::blank()));
    }
    for why in &compared.missing {
        out += &format!("missing {why}\n");
    }
    let word = |verdict: &Option<qbind_gates::Outcome>| {
        verdict.map_or_else(|| "-".to_owned(), |verdict| verdict.to_string())
    };
    for gate in compared.gates.iter().filter(|gate| gate.first != gate.second) {
        let mark = if gate.is_worse() { "WORSE" } else { "changed" };
        let (first, second) = (word(&gate.first), word(&gate.second));
        out += &format!("{mark:<7} {} {}: {first}, then {second}\n", gate.id, gate.title);
    }
    let same = compared.gates.iter().filter(|gate| gate.first == gate.second).count();
    out + &format!("{same} of {} gates say the same in both runs\n", compared.gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_runs_say_nothing_and_no_run_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let args = |second: PathBuf| CompareArgs {
            first: dir.path().to_owned(),
            second,
            output: CompareOutput::Json,
        };
        assert_eq!(run(&args(dir.path().to_owned())), INCOMPLETE);
        assert_eq!(run(&args(dir.path().join("none"))), USAGE);
    }

    #[test]
    fn percentages_keep_their_sign() {
        assert_eq!((percent(-5), percent(123)), ("-0.5 %".to_owned(), "+12.3 %".to_owned()));
    }
}
