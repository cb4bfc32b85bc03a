//! Validates, lists, packs, fetches and unpacks snapshots, and asks a node for one.

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use qbind_node::tools::{
    ToolError, end, explain,
    snapshot::{ArchiveError, FetchError, create, fetch, pack, unpack},
    usage,
};
use qbind_storage::{Meta, SnapshotError, SnapshotFolder, Validated};
use qbind_types::{GenesisHash, Network};
use serde_json::json;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Validates, lists, packs, fetches and unpacks snapshots, and asks a node for one
#[derive(Parser)]
#[command(name = "qbind-snapshot", version)]
#[command(after_help = "Exit codes: 0 done, 1 refused or impossible, 64 usage.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Form {
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Check a snapshot from its genesis file on: certificates, state root, every file
    Validate(Validate),
    /// Ask a running node for a snapshot at its next height that is a multiple of 10
    Create(Create),
    /// The snapshots in a folder
    List {
        /// The folder, snapshot_dir
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        form: Form,
    },
    /// Pack a snapshot for a static file server: <height>.tar.gz and latest.json
    Pack {
        /// The snapshot's folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// The server's folder
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Unpack an archive into a folder named by its height; validate it afterwards
    Unpack(Unpack),
    /// Fetch the newest snapshot of a server, unpack and validate it
    Fetch(Fetch),
}

#[derive(Args)]
struct Validate {
    /// The snapshot's folder, <snapshot_dir>/<height>
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Refuse a snapshot of a chain with another genesis file
    #[arg(long, value_name = "0xHASH")]
    expect_genesis_hash: Option<GenesisHash>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
struct Create {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Seconds to wait for it
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
struct Unpack {
    /// The archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the snapshot's folder goes
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Refuse an archive with another digest
    #[arg(long, value_name = "HEX")]
    sha3_256: Option<String>,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
struct Fetch {
    /// The server's folder; http only
    #[arg(value_name = "URL")]
    url: String,
    /// Where the snapshot's folder goes
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Refuse a snapshot of a chain with another genesis file
    #[arg(long, value_name = "0xHASH")]
    expect_genesis_hash: Option<GenesisHash>,
    #[command(flatten)]
    form: Form,
}

const MEMORY: &str = "writing to memory cannot fail";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match &cli.command {
        Command::Validate(args) => validate(&args.dir, args.expect_genesis_hash, args.form.output),
        Command::Create(args) => {
            let asked = create(&args.data_dir, Duration::from_secs(args.wait));
            asked.map(|asked| said(args.form.output, "created", &asked.path))
        }
        Command::List { dir, form } => list(dir, form.output),
        Command::Pack { dir, output } => {
            let packed = pack(dir, output).map_err(|e| of_archive(&e));
            packed.map(|latest| said(Output::Text, "packed", &output.join(&latest.file)))
        }
        Command::Unpack(args) => {
            let bar = bar();
            if let Ok(file) = std::fs::metadata(&args.file) {
                bar.set_length(file.len());
            }
            let unpacked =
                unpack(&args.file, &args.into, args.sha3_256.as_deref(), |bytes| bar.inc(bytes));
            bar.finish_and_clear();
            let unpacked = unpacked.map_err(|e| of_archive(&e));
            unpacked.map(|path| said(args.form.output, "unpacked", &path))
        }
        Command::Fetch(args) => fetched(args),
    };
    end("qbind-snapshot", result)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let form = "{bar:40} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

fn said(output: Output, what: &str, path: &Path) -> String {
    match output {
        Output::Text => format!("{what} {}\n", path.display()),
        Output::Json => {
            let path = path.display().to_string();
            let answer = json!({"schema": "qbind.snapshot-done/v1", "done": what, "path": path});
            format!("{answer:#}\n")
        }
    }
}

fn fetched(args: &Fetch) -> Result<String, ToolError> {
    let bar = bar();
    let dir = fetch(&args.url, &args.into, Some(&bar));
    bar.finish_and_clear();
    let dir = dir.map_err(|error| match error {
        FetchError::Scheme { .. } => ToolError::usage(explain(&error)),
        _ => ToolError::refused(explain(&error)),
    })?;
    validate(&dir, args.expect_genesis_hash, args.form.output)
}

fn of_archive(error: &ArchiveError) -> ToolError {
    match error {
        ArchiveError::Snapshot { source: SnapshotError::NoFolder { .. }, .. } => {
            ToolError::usage(explain(error))
        }
        _ => ToolError::refused(explain(error)),
    }
}

/// The name of a network's number.
fn chain_id_name(chain_id: u64) -> String {
    let networks = [Network::Devnet, Network::Testnet, Network::Mainnet];
    let network = networks.into_iter().find(|network| network.chain_id() == chain_id);
    network.map_or_else(
        || format!("{chain_id:#018x}"),
        |network| format!("QBIND_{}_CHAIN_ID", network.to_string().to_uppercase()),
    )
}

fn validate(
    dir: &Path,
    expected: Option<GenesisHash>,
    output: Output,
) -> Result<String, ToolError> {
    let snapshot = Validated::open(dir, expected).map_err(|error| match error {
        SnapshotError::NoFolder { .. } => ToolError::usage(explain(&error)),
        _ => ToolError::refused(format!("Validation: FAILED: {}", explain(&error))),
    })?;
    let Meta { height, block_hash, state_root, chain_id, .. } = &snapshot.meta;
    let name = chain_id_name(*chain_id);
    Ok(match output {
        Output::Text => format!(
            "Snapshot height: {height}\nChain ID: {name}\nBlock hash: {block_hash}\n\
             State root: {state_root}\nValidation: OK\n"
        ),
        Output::Json => {
            let answer = json!({
                "schema": "qbind.snapshot-validation/v1",
                "valid": true,
                "height": height,
                "chain_id": chain_id,
                "chain_id_name": name,
                "chain_name": snapshot.meta.chain_name,
                "genesis_hash": snapshot.meta.genesis_hash,
                "block_hash": block_hash,
                "state_root": state_root,
                "accounts": snapshot.meta.accounts,
                "size_bytes": snapshot.meta.size_bytes(),
                "created_at_unix_ms": snapshot.meta.created_at_unix_ms,
            });
            format!("{answer:#}\n")
        }
    })
}

fn list(dir: &Path, output: Output) -> Result<String, ToolError> {
    let folder = SnapshotFolder::at(dir);
    if !dir.is_dir() {
        return Err(ToolError::usage(format!("{} is no folder", dir.display())));
    }
    let heights = folder.heights().map_err(|e| ToolError::refused(explain(&e)))?;
    let metas = heights.into_iter().map(|height| (height, Meta::load(&folder.snapshot(height))));
    let mut text = String::new();
    let mut entries = Vec::new();
    for (height, meta) in metas {
        match meta {
            Ok(meta) => {
                let bytes = meta.size_bytes();
                let (block, accounts) = (meta.block_hash, meta.accounts);
                writeln!(text, "{height}  {bytes} bytes, {accounts} accounts, block {block}")
                    .expect(MEMORY);
                entries.push(json!({
                    "height": height, "size_bytes": bytes, "accounts": accounts,
                    "block_hash": block, "state_root": meta.state_root,
                    "created_at_unix_ms": meta.created_at_unix_ms,
                }));
            }
            Err(error) => {
                let error = explain(&error);
                writeln!(text, "{height}  unusable: {error}").expect(MEMORY);
                entries.push(json!({"height": height, "error": error}));
            }
        }
    }
    Ok(match output {
        Output::Text => text,
        Output::Json => {
            format!("{:#}\n", json!({"schema": "qbind.snapshot-list/v1", "snapshots": entries}))
        }
    })
}
