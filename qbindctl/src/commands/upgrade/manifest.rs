//! `upgrade manifest`: what was built from what.

use super::{Failure, digest, write_new};
use clap::Args;
use qbind_attest::upgrade::{Binary, Build, GenesisRef, Git, ReleaseManifest};
use std::path::{Path, PathBuf};

/// Arguments of `upgrade manifest`.
#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// Where to write it; an existing file is never touched
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The chain it is for
    #[arg(long, value_name = "ID")]
    chain_id: String,
    /// The protocol's version
    #[arg(long, value_name = "VERSION")]
    protocol_version: String,
    /// The commit it was built from, 40 hexadecimal digits
    #[arg(long, value_name = "HASH")]
    git_commit: String,
    /// The tag of that commit
    #[arg(long, value_name = "TAG", default_value = "")]
    git_tag: String,
    /// The tree had changes that are in no commit
    #[arg(long)]
    git_dirty: bool,
    /// The genesis file
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A program for a target triple; its name is the file's; may be given several times
    #[arg(long, value_name = "TARGET=FILE", required = true)]
    binary: Vec<String>,
    /// The compiler's version
    #[arg(long, value_name = "VERSION")]
    rust_toolchain: String,
    /// Cargo's profile
    #[arg(long, default_value = "release")]
    cargo_profile: String,
}

pub(super) fn write(args: &ManifestArgs) -> Result<String, Failure> {
    let base = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut binaries = Vec::new();
    for text in &args.binary {
        let (target, file) = text.split_once('=').ok_or_else(|| {
            format!("--binary {text:?} names no target\n  hint: x86_64-unknown-linux-gnu=FILE")
        })?;
        let file = Path::new(file);
        let sha3_256 = format!("0x{}", digest(file)?);
        binaries.push(Binary { name: base(file), target: target.to_owned(), sha3_256 });
    }
    let manifest = ReleaseManifest {
        chain_id: args.chain_id.clone(),
        protocol_version: args.protocol_version.clone(),
        git: Git {
            commit: args.git_commit.clone(),
            tag: args.git_tag.clone(),
            tree_state: if args.git_dirty { "dirty" } else { "clean" }.to_owned(),
        },
        genesis: GenesisRef {
            path_hint: base(&args.genesis),
            sha3_256: format!("0x{}", digest(&args.genesis)?),
            chain_id: args.chain_id.clone(),
        },
        binaries,
        containers: Vec::new(),
        build: Build {
            rust_toolchain: args.rust_toolchain.clone(),
            cargo_profile: args.cargo_profile.clone(),
            build_script: String::new(),
        },
        sbom: Vec::new(),
    };
    manifest.check().map_err(|why| format!("this would be no release manifest: {why}"))?;
    write_new(&args.out, &manifest.to_json())?;
    Ok(format!("{}\n", args.out.display()))
}
