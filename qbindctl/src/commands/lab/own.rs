//! Starting a lab, and owning it.

use super::{Answer, DONE, FAILED, Failure, INTERRUPTED, LabUpArgs, REFUSED, USAGE, tagged};
use qbind_lab::{
    LabConfig, LabError,
    network::{CreateOptions, NetworkDir, Reach, open_or_create},
    supervisor::{
        Announcement, LaunchError, ServeError, ServeOptions, StateError, announce, launch, log_to,
        serve as own,
    },
};
use serde_json::json;
use std::{
    error::Error,
    io::{IsTerminal, Write},
    path::PathBuf,
    process::Command,
    time::Duration,
};

/// `lab up`: starts a supervisor, or is one with `--foreground`.
pub(super) fn up(args: &LabUpArgs) -> Result<Answer, Failure> {
    // What the caller got wrong is said before a process is started.
    args.target.load()?;
    let binary = node_binary(args)?;
    let dir = args.target.dir()?;
    if args.foreground {
        let network = own_it(args, &mut progress(), &|| {
            eprintln!("\rthe lab is up; Ctrl-C takes it down");
        })?;
        let json = tagged("qbindctl.lab-down/v1", &json!({ "dir": network.dir() }));
        return Ok(Answer { text: "the lab is down".to_owned(), json });
    }
    let program = std::env::current_exe().map_err(|error| Failure::of(&error, FAILED))?;
    let mut command = Command::new(program);
    command.args(["lab", "serve", "--topology", &args.target.topology]);
    command.arg("--dir").arg(&dir).arg("--node-binary").arg(&binary);
    command.args(["--profile", args.profile.as_str()]);
    command.args(["--load-accounts", &args.load_accounts.to_string()]);
    command.args(["--epoch-blocks", &args.epoch_blocks.to_string()]);
    command.args(["--ready-timeout", &args.ready_timeout.to_string()]);
    let mut progress = progress();
    launch(command, |ready, of| {
        progress(ready, of);
    })
    .map_err(failed_launch)?;
    let network = NetworkDir::open(&dir).map_err(|error| Failure::of(&error, FAILED))?;
    let nodes = network.nodes();
    let text = format!("the lab is up: {} nodes in {}", nodes.len(), network.dir().display());
    let json = json!({
        "dir": network.dir(),
        "topology": network.topology().name,
        "genesis_hash": network.genesis_hash(),
        "nodes": nodes,
    });
    Ok(Answer { text, json: tagged("qbindctl.lab-up/v1", &json) })
}

/// `lab serve`: owns a lab until told to end, and tells who started it how that goes.
pub(super) fn serve(args: &LabUpArgs) -> u8 {
    let mut tell = |ready, of| announce(&Announcement::Progress { ready, of });
    let is_up = || {
        announce(&Announcement::Up);
    };
    match own_it(args, &mut tell, &is_up) {
        Ok(_) => DONE,
        Err(Failure { message, code }) => {
            // The log has it as well, for who was not listening.
            eprintln!("error: {message}");
            announce(&Announcement::Failed { error: message, exit: code });
            code
        }
    }
}

fn own_it(
    args: &LabUpArgs,
    progress: &mut dyn FnMut(usize, usize) -> bool,
    is_up: &dyn Fn(),
) -> Result<NetworkDir, Failure> {
    let topology = args.target.load()?;
    let privilege = qbind_lab::acquire().map_err(|error| Failure::of(&error, USAGE))?;
    let options = CreateOptions {
        topology,
        out: args.target.dir()?,
        profile: args.profile,
        load_accounts: args.load_accounts,
        epoch_blocks: args.epoch_blocks,
        reach: Reach::Lab,
    };
    let network = open_or_create(&options).map_err(|error| Failure::of(&error, USAGE))?;
    if !args.foreground {
        log_to(network.dir()).map_err(|error| Failure::of(&error, FAILED))?;
    }
    let dir = network.dir().to_owned();
    let lab = LabConfig { dir, node_binary: node_binary(args)?, env: Vec::new() };
    let ready_timeout = Duration::from_secs(args.ready_timeout);
    let options = ServeOptions { lab, ready_timeout, privilege };
    own(&options, progress, is_up).map_err(|error| {
        let code = exit_code(&error);
        Failure::of(&error, code)
    })?;
    Ok(network)
}

/// The node program: as given, or beside this one.
fn node_binary(args: &LabUpArgs) -> Result<PathBuf, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("qbind-node"));
    let binary = args.node_binary.clone().or_else(beside).unwrap_or("qbind-node".into());
    if binary.is_file() {
        return Ok(binary);
    }
    Err(Failure::of(&LabError::NoBinary { binary }, USAGE))
}

fn exit_code(error: &ServeError) -> u8 {
    match error {
        ServeError::State(StateError::InUse { .. }) => REFUSED,
        ServeError::Interrupted => INTERRUPTED,
        ServeError::Lab(
            LabError::Privilege(_)
            | LabError::Network(_)
            | LabError::Loopback { .. }
            | LabError::NoBinary { .. },
        ) => USAGE,
        _ => FAILED,
    }
}

fn failed_launch(error: LaunchError) -> Failure {
    let code = match &error {
        LaunchError::Failed { exit, .. } => *exit,
        LaunchError::Interrupted => INTERRUPTED,
        LaunchError::Start { .. } | LaunchError::Silent => FAILED,
    };
    Failure::of(&error as &dyn Error, code)
}

/// Tells people on a terminal how many nodes are ready; always wants to go on.
fn progress() -> impl FnMut(usize, usize) -> bool {
    let shows = std::io::stderr().is_terminal();
    move |ready, of| {
        if shows {
            let mut err = std::io::stderr().lock();
            let end = if ready == of { "\n" } else { "" };
            // A terminal that is gone needs no progress.
            write!(err, "\r{ready} of {of} nodes ready{end}").and_then(|()| err.flush()).ok();
        }
        true
    }
}
