//! The reference of all commands as Markdown, made from the parser itself.

use clap::{Arg, Command};
use std::fmt::Write;

/// Every command that is shown in help, depth first.
pub(crate) fn markdown(mut command: Command) -> String {
    // Help options and the texts of usage lines exist only after this.
    command.build();
    let mut text = String::from(
        "# qbindctl\n\n<!-- Made by `make docs` from the program; a test compares both. -->\n\n",
    );
    section(&mut text, &command, command.get_name(), 1);
    text
}

fn section(text: &mut String, command: &Command, path: &str, depth: usize) {
    if depth > 1 {
        put(text, format_args!("{} {path}\n\n", "#".repeat(depth.min(6))));
    }
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        put(text, format_args!("{about}\n\n"));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    put(text, format_args!("```text\n{usage}\n```\n\n"));

    let shown = |a: &&Arg| !a.is_hide_set() && !["help", "version"].contains(&a.get_id().as_str());
    let arguments: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    for argument in &arguments {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        put(text, format_args!("- `{}`: {help}{}\n", name(argument), extras(argument)));
    }
    if !arguments.is_empty() {
        text.push('\n');
    }
    if let Some(after) = command.get_after_help() {
        put(text, format_args!("{after}\n\n"));
    }
    let subcommands = command.get_subcommands().filter(|c| !c.is_hide_set());
    for sub in subcommands.filter(|c| c.get_name() != "help") {
        section(text, sub, &format!("{path} {}", sub.get_name()), depth + 1);
    }
}

fn name(argument: &Arg) -> String {
    let takes_value = argument.get_action().takes_values();
    let values: Vec<String> = argument
        .get_value_names()
        .map(|names| names.iter().map(|n| format!("<{n}>")).collect())
        .unwrap_or_default();
    let values = if takes_value { values.join(" ") } else { String::new() };
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    format!("{} {values}", flags.join(", ")).trim().to_owned()
}

fn extras(argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let mut text = String::new();
    let values = argument.get_possible_values();
    let values: Vec<&str> =
        values.iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name()).collect();
    if !values.is_empty() {
        put(&mut text, format_args!(" [values: {}]", values.join(", ")));
    }
    let defaults = argument.get_default_values();
    if !defaults.is_empty() && !argument.is_hide_default_value_set() {
        let defaults: Vec<_> = defaults.iter().map(|d| d.to_string_lossy()).collect();
        put(&mut text, format_args!(" [default: {}]", defaults.join(", ")));
    }
    text
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, value_parser};

    #[test]
    fn commands_arguments_values_and_defaults_are_shown_and_hidden_ones_are_not() {
        let show = Command::new("show")
            .about("Show it")
            .arg(Arg::new("file").value_name("FILE").required(true).help("Which one"))
            .arg(
                Arg::new("count")
                    .long("count")
                    .value_name("N")
                    .value_parser(value_parser!(u8))
                    .default_value("3")
                    .help("How many"),
            )
            .arg(Arg::new("all").short('a').long("all").action(ArgAction::SetTrue).help("All"));
        let root = Command::new("tool")
            .about("A tool")
            .subcommand(show)
            .subcommand(Command::new("secret").hide(true));
        assert_eq!(
            markdown(root),
            "# tool\n\n\
             <!-- Made by `make docs` from the program; a test compares both. -->\n\n\
             A tool\n\n```text\ntool [COMMAND]\n```\n\n\
             ## tool show\n\nShow it\n\n```text\ntool show [OPTIONS] <FILE>\n```\n\n\
             - `<FILE>`: Which one\n\
             - `--count <N>`: How many [default: 3]\n\
             - `-a, --all`: All\n\n"
                .replace("# tool\n\n<!", "# qbindctl\n\n<!")
        );
    }
}
