//! The command line: one flag for each knob, and a few that do something else than start.

use crate::configuration::variable;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, ValueEnum};
use qbind_profile::{KEYS, Key, Setting, Shape, Source};
use std::path::PathBuf;

/// Runs a QBIND node.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "qbind-node",
    version,
    after_help = "Strength: flag, then environment QBIND_<KEY>, then --config file, then profile.\n\
                  Exit codes: 0 done, 1 may be tried again, 20 configuration, \
                  30 safety stop, 64 usage."
)]
pub struct Cli {
    /// TOML file with the flags' names in snake_case; its paths are relative to its folder. Without it
    /// the file that QBIND_CONFIG names is read, or /etc/qbind/node.toml if there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check configuration and genesis file, print the result, do not start.
    #[arg(long, conflicts_with_all = ["print_genesis_hash", "print_config"])]
    pub validate_only: bool,
    /// Print SHA3-256 of the genesis file's bytes, do not start.
    #[arg(long, conflicts_with = "print_config")]
    pub print_genesis_hash: bool,
    /// Print every key with its value and who set it, do not start.
    #[arg(long)]
    pub print_config: bool,
    /// Form of what is printed to standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// What is logged to standard error, such as info or qbind_node=debug,warn.
    #[arg(long, value_name = "FILTER", env = "QBIND_LOG", default_value = "info")]
    pub log: String,
    /// Print the reference of every metric as Markdown, do not start.
    #[arg(long, hide = true)]
    pub metrics_docs: bool,
    /// The knobs.
    #[command(flatten)]
    pub knobs: Knobs,
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Knobs set by flags.
#[derive(Debug, Clone, Default)]
pub struct Knobs {
    /// In the order of the list of keys.
    pub settings: Vec<Setting>,
}

fn flag(key: &str) -> String {
    key.replace('_', "-")
}

fn short(key: &str) -> Option<char> {
    match key {
        "profile" => Some('P'),
        "env" => Some('e'),
        "validator_id" => Some('v'),
        "data_dir" => Some('d'),
        _ => None,
    }
}

/// Earlier names of flags.
fn alias(key: &str) -> Option<&'static str> {
    match key {
        "bootstrap_peers" => Some("p2p-peer"),
        "diversity_mode" => Some("p2p-diversity-mode"),
        _ => None,
    }
}

fn argument(key: &'static Key) -> Arg {
    let help = format!("{} [env: {}]", key.help, variable(key.name));
    let mut arg = Arg::new(key.name)
        .long(flag(key.name))
        .help(help)
        .help_heading("Knobs")
        .value_name(match key.shape {
            Shape::Bool => "BOOL",
            Shape::Integer => "N",
            Shape::Text => "TEXT",
            Shape::List => "ITEM,…",
        })
        .action(ArgAction::Set);
    if let Some(letter) = short(key.name) {
        arg = arg.short(letter);
    }
    if let Some(name) = alias(key.name) {
        arg = arg.alias(name);
    }
    match key.shape {
        // `--enable-p2p` alone means true; the runbook also writes `--enable-p2p true`.
        Shape::Bool => arg.num_args(0..=1).default_missing_value("true"),
        Shape::List => arg.action(ArgAction::Append),
        Shape::Integer | Shape::Text => arg,
    }
}

impl Args for Knobs {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().fold(command, |command, key| command.arg(argument(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Knobs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut knobs = Self::default();
        knobs.update_from_arg_matches(matches)?;
        Ok(knobs)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS {
            let Some(texts) = matches.get_many::<String>(key.name) else { continue };
            let texts: Vec<&str> = texts.map(String::as_str).collect();
            self.settings.push(Setting {
                source: Source::Flag,
                place: format!("--{}", flag(key.name)),
                key: key.name.to_string(),
                text: texts.join(","),
            });
        }
        Ok(())
    }
}
