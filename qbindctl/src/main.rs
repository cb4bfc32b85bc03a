//! The operator binary.

use std::process::ExitCode;

#[allow(unreachable_pub, reason = "a noun's arguments are documented as a library's would be")]
mod commands;
mod exit;
mod reference;

use clap::Parser;
use commands::Command;

/// The simulated steps make and drop messages by the million.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rehearses a launch, judges it, and attests what was seen
#[derive(Debug, Parser)]
#[command(
    name = "qbindctl",
    version,
    after_help = "Answers go to standard output, everything else to standard error.\n\
                  Exit codes: 0 yes/PASS, 1 no/FAIL, 2 INCONCLUSIVE, 3 INVALID, \
                  4 refused by an interlock, 64 usage, 70 our bug."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    exit::install_panic_hook();
    let code = match Cli::try_parse() {
        Ok(cli) => exit::of(move || commands::run(cli.command)),
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            // Nowhere is left to report that printing failed.
            error.print().unwrap_or_default();
            code
        }
    };
    ExitCode::from(code)
}
