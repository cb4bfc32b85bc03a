//! `qbindctl upgrade`: the envelope that the council approves, and the release it is about.

mod manifest;

use super::attest::{AttestOutput, PassphraseArgs, signing_key, standing};
use clap::{Args, Subcommand, ValueEnum};
use manifest::ManifestArgs;
use qbind_attest::{
    Instant, Policy,
    upgrade::{
        Backing, Class, Envelope, Evidence, Judgement, Keyset, MERKLE_KIND, Question,
        ReleaseManifest, VERSION, judge,
    },
};
use qbind_evidence::{VerifyOptions, digest_of_file, verify};
use serde_json::json;
use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    io::{BufReader, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Name of the program an envelope is about.
const PROGRAM: &str = "qbind-node";

/// Upgrades: what the council approves before binaries are rolled out.
#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// Envelopes: made, signed by the council, verified before a rollout
    #[command(subcommand)]
    Envelope(EnvelopeCommand),
    /// Write a release manifest: what was built from what
    Manifest(Box<ManifestArgs>),
}

/// What to do with an envelope.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvelopeCommand {
    /// Write an envelope that nobody has approved yet
    New(Box<NewArgs>),
    /// Approve an envelope as a member of the council
    Sign(SignArgs),
    /// Decide whether binaries may be rolled out
    Verify(VerifyArgs),
    /// Show what an envelope says; nothing is checked
    Inspect(FileArgs),
    /// Print the digest that the council signs
    Digest(FileArgs),
}

/// What an upgrade changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClassArg {
    /// Nothing that consensus sees.
    ANonConsensus,
    /// Something old and new nodes agree about.
    BConsensusCompatible,
    /// A hard fork.
    CHardFork,
}

/// Arguments of `upgrade envelope new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Where to write it; an existing file is never touched
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its name
    #[arg(long, value_name = "ID")]
    id: String,
    /// What it changes
    #[arg(long, value_enum)]
    class: ClassArg,
    /// The network: devnet, testnet or mainnet
    #[arg(long, default_value = "mainnet")]
    network: String,
    /// The protocol's version after the upgrade [default: the release manifest's]
    #[arg(long, value_name = "VERSION")]
    protocol_version: Option<String>,
    /// The software's version
    #[arg(long, value_name = "VERSION", default_value = "")]
    software_version: String,
    /// From which height on; required for a hard fork
    #[arg(long, value_name = "HEIGHT")]
    activation_height: Option<u64>,
    /// A node binary for a platform such as linux-x86_64; may be given several times
    #[arg(long, value_name = "PLATFORM=FILE")]
    binary: Vec<String>,
    /// Take the node binaries of this release
    #[arg(long, value_name = "FILE")]
    release_manifest: Option<PathBuf>,
    /// A rehearsal's bundle; required for a hard fork; may be given several times
    #[arg(long, value_name = "BUNDLE")]
    evidence: Vec<PathBuf>,
    /// Ask for the emergency threshold
    #[arg(long)]
    emergency: bool,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    notes: String,
}

/// What makes a bundle count as evidence.
#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    /// A rehearsal's bundle; a hard fork needs one for each binary; may be given several times
    #[arg(long, value_name = "BUNDLE", requires = "policy")]
    evidence: Vec<PathBuf>,
    /// Whose agreement with the rehearsal counts (policy.yaml)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// Arguments of `upgrade envelope sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The envelope; signed in place
    envelope: PathBuf,
    /// The council's keys
    #[arg(long, short = 'k', value_name = "FILE")]
    council_keys: PathBuf,
    /// Who you are among them
    #[arg(long, value_name = "ID")]
    member: String,
    /// Your encrypted key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What a hard fork stands on
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// Where the passphrase comes from
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Arguments of `upgrade envelope verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The envelope
    envelope: PathBuf,
    /// The council's keys
    #[arg(long, short = 'k', value_name = "FILE")]
    council_keys: PathBuf,
    /// A binary that must be the approved one
    #[arg(long, short = 'b', value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The platform it is for
    #[arg(long, short = 'p', default_value = "linux-x86_64")]
    platform: String,
    /// What a hard fork stands on
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// Ask for this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    output: AttestOutput,
}

/// One envelope.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The envelope
    envelope: PathBuf,
}

/// What the operator did wrong or the machine refused, in a sentence with a hint.
type Failure = String;

fn explain(error: &dyn Error, hint: &str) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    format!("{text}\n  hint: {hint}")
}

/// Runs the command. Exit codes: 0 yes or done, 1 no, 64 nothing could be tried.
pub(crate) fn run(command: UpgradeCommand) -> u8 {
    let result = match command {
        UpgradeCommand::Manifest(args) => manifest::write(&args).map(|text| (text, 0)),
        UpgradeCommand::Envelope(command) => match command {
            EnvelopeCommand::New(args) => new(&args).map(|text| (text, 0)),
            EnvelopeCommand::Sign(args) => sign(&args),
            EnvelopeCommand::Verify(args) => check(&args),
            EnvelopeCommand::Inspect(args) => inspect(&args).map(|text| (text, 0)),
            EnvelopeCommand::Digest(args) => {
                load(&args.envelope).map(|e| (hex::encode(e.digest()) + "\n", 0))
            }
        },
    };
    match result {
        Ok((text, code)) => {
            // Whoever reads the answer may have gone; the exit code still tells.
            std::io::stdout().lock().write_all(text.as_bytes()).unwrap_or_default();
            code
        }
        Err(failure) => {
            eprintln!("error: {}", shown(&failure));
            64
        }
    }
}

/// Text of a stranger, safe for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// One line of a stranger's text, which cannot pass for another line or for other text.
fn plain(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().map(|c| if c.is_control() || hidden(c) { '\u{fffd}' } else { c }).collect()
}

fn load(path: &Path) -> Result<Envelope, Failure> {
    Envelope::load(path).map_err(|e| explain(&e, "`qbindctl upgrade envelope new` writes one"))
}

fn council(path: &Path) -> Result<Keyset, Failure> {
    Keyset::load(path).map_err(|e| explain(&e, "give --council-keys the keyset of the network"))
}

fn digest(path: &Path) -> Result<String, Failure> {
    let (digest, _) = digest_of_file(path).map_err(|e| {
        format!("cannot read {}: {e}\n  hint: give a file on this machine", path.display())
    })?;
    Ok(digest.sha3_256.to_string())
}

fn new(args: &NewArgs) -> Result<String, Failure> {
    let mut binary_hashes = BTreeMap::new();
    let mut protocol_version = args.protocol_version.clone();
    if let Some(path) = &args.release_manifest {
        let hint = "`qbindctl upgrade manifest` writes one";
        let release = ReleaseManifest::load(path).map_err(|e| explain(&e, hint))?;
        binary_hashes = release.hashes_of(PROGRAM);
        protocol_version.get_or_insert(release.protocol_version);
    }
    for text in &args.binary {
        let (platform, file) = text.split_once('=').ok_or_else(|| {
            format!("--binary {text:?} names no platform\n  hint: linux-x86_64=FILE")
        })?;
        binary_hashes.insert(platform.to_owned(), digest(Path::new(file))?);
    }
    let class = match args.class {
        ClassArg::ANonConsensus => Class::ANonConsensus,
        ClassArg::BConsensusCompatible => Class::BConsensusCompatible,
        ClassArg::CHardFork => Class::CHardFork,
    };
    if class == Class::CHardFork && args.evidence.is_empty() {
        return Err("a hard fork needs the bundle of a dress rehearsal\n  \
                    hint: give --evidence BUNDLE, of `qbindctl rehearse` with gate type \
                    class_c_upgrade"
            .to_owned());
    }
    let envelope = Envelope {
        envelope_version: VERSION.to_owned(),
        envelope_id: args.id.clone(),
        protocol_version: protocol_version.unwrap_or_default(),
        network_environment: args.network.clone(),
        class,
        version: args.software_version.clone(),
        activation_height: args.activation_height,
        binary_hashes,
        notes: args.notes.clone(),
        emergency: args.emergency,
        evidence: args.evidence.iter().map(|path| evidence(path)).collect::<Result<_, _>>()?,
        council_approvals: Vec::new(),
    };
    envelope.check().map_err(|why| {
        let hint = "see `qbindctl upgrade envelope new --help`";
        format!("this would be no envelope: {why}\n  hint: {hint}")
    })?;
    write_new(&args.out, &envelope.to_json())?;
    Ok(format!("{}\ndigest {}\n", args.out.display(), hex::encode(envelope.digest())))
}

/// The root of a bundle that is whole; who agreed with it is asked when the envelope is judged.
fn evidence(path: &Path) -> Result<Evidence, Failure> {
    let hint = "give --evidence the path of a .qbundle file";
    let file = File::open(path)
        .map_err(|e| format!("cannot read {}: {e}\n  hint: {hint}", path.display()))?;
    let found = verify(BufReader::new(file), &VerifyOptions::default());
    match (found.valid, found.merkle_root) {
        (true, Some(root)) => Ok(Evidence {
            kind: MERKLE_KIND.to_owned(),
            sha3_256: root.to_string(),
            uri: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }),
        _ => {
            let first = found.findings.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("{} is not sound: {first}\n  hint: {hint}", path.display()))
        }
    }
}

fn backing(args: &EvidenceArgs, now: u64) -> Result<Vec<Backing>, Failure> {
    let Some(path) = &args.policy else { return Ok(Vec::new()) };
    let hint = "a policy names members, threshold, organisations and roles; see docs/evidence.md";
    let policy = Policy::load(path).map_err(|e| explain(&e, hint))?;
    let mut backing = Vec::new();
    for path in &args.evidence {
        let (bundle, standing, recomputed) = standing(path, &policy, now)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        backing.push(Backing { name, bundle, standing, recomputed });
    }
    Ok(backing)
}

fn now(at: Option<&str>) -> Result<u64, Failure> {
    if let Some(text) = at {
        return Instant::parse(text).map(|instant| instant.0);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn sign(args: &SignArgs) -> Result<(String, u8), Failure> {
    let mut envelope = load(&args.envelope)?;
    let keyset = council(&args.council_keys)?;
    let key = signing_key(&args.key, &args.passphrase)?;
    let hint = "give --member and --key of one and the same member";
    match keyset.member(&args.member) {
        Some(member) if member.public_key == key.public_key() => {}
        Some(_) => {
            return Err(format!("the key is not that of {}\n  hint: {hint}", args.member));
        }
        None => return Err(format!("the council has no {:?}\n  hint: {hint}", args.member)),
    }
    let now = now(None)?;
    envelope.approve(&args.member, Instant(now - now % 1_000), &key);
    let backing = backing(&args.evidence, now)?;
    let question = Question { now, binary: None, backing: &backing };
    let judged = judge(&envelope, &keyset, &question);
    let own = judged.signatures.iter().find(|s| s.member_id == args.member);
    let own = own.and_then(|s| s.error.clone()).map(|why| format!("your approval: {why}"));
    // Others' approvals may still be lacking; nothing else may.
    let problems: Vec<String> = judged.problems.iter().cloned().chain(own).collect();
    if !problems.is_empty() {
        let list: String = problems.iter().map(|p| format!("  - {}\n", shown(p))).collect();
        eprint!("not signed; it could not be accepted:\n{list}");
        return Ok((String::new(), 1));
    }
    eprint!("signed:\n{}", says(&envelope));
    replace(&args.envelope, &envelope.to_json())?;
    let (count, threshold) = (judged.valid_count, judged.threshold);
    Ok((format!("{}\n{count} of {threshold} approvals\n", args.envelope.display()), 0))
}

fn check(args: &VerifyArgs) -> Result<(String, u8), Failure> {
    let envelope = load(&args.envelope)?;
    let keyset = council(&args.council_keys)?;
    let now = now(args.at.as_deref())?;
    let backing = backing(&args.evidence, now)?;
    let found = args.binary.as_deref().map(digest).transpose()?;
    let binary = found.as_deref().map(|digest| (args.platform.as_str(), digest));
    let judged = judge(&envelope, &keyset, &Question { now, binary, backing: &backing });
    let code = u8::from(!judged.valid);
    Ok((render(&args.envelope, &envelope, &judged, args.output), code))
}

fn render(path: &Path, envelope: &Envelope, judged: &Judgement, output: AttestOutput) -> String {
    if output == AttestOutput::Json {
        let mut value = json!({ "schema": "qbindctl.envelope-verify/v1", "envelope": path });
        if let (Some(all), Ok(serde_json::Value::Object(more))) =
            (value.as_object_mut(), serde_json::to_value(judged))
        {
            all.extend(more);
        }
        return format!("{value}\n");
    }
    let word = if judged.valid { "ACCEPTED" } else { "NOT ACCEPTED" };
    let mut text = format!("{word}: {}\n", path.display());
    let against = judged.problems.iter().chain(&judged.lacking);
    against.for_each(|problem| text += &format!("  - {}\n", plain(problem)));
    text += &says(envelope);
    text += &format!("  approvals   {} of {}\n", judged.valid_count, judged.threshold);
    for signature in &judged.signatures {
        let worth = signature.error.as_deref().unwrap_or("good");
        text += &format!("  signature   {}: {}\n", plain(&signature.member_id), plain(worth));
    }
    if let Some(ok) = judged.binary_hash_ok {
        text +=
            &format!("  binary      {}\n", if ok { "the approved one" } else { "NOT approved" });
    }
    shown(&text)
}

fn says(envelope: &Envelope) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text += &format!("  {label:<11} {}\n", plain(value));
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    line("id", &envelope.envelope_id);
    line("class", &word(json!(envelope.class)));
    line("network", &envelope.network_environment);
    line("protocol", &envelope.protocol_version);
    if let Some(height) = envelope.activation_height {
        line("activates", &format!("at height {height}"));
    }
    if envelope.emergency {
        line("emergency", "yes");
    }
    for (platform, digest) in &envelope.binary_hashes {
        line("binary", &format!("{platform}, SHA3-256 {digest}"));
    }
    for evidence in &envelope.evidence {
        line("evidence", &format!("{}, Merkle root {}", evidence.kind, evidence.sha3_256));
    }
    if !envelope.notes.is_empty() {
        line("notes", &envelope.notes);
    }
    line("digest", &hex::encode(envelope.digest()));
    text
}

fn inspect(args: &FileArgs) -> Result<String, Failure> {
    let envelope = load(&args.envelope)?;
    let mut text = format!("{}, nothing checked\n{}", args.envelope.display(), says(&envelope));
    for approval in &envelope.council_approvals {
        let (member, at) = (plain(&approval.member_id), plain(&approval.timestamp));
        text += &format!("  claims      {member} at {at}\n");
    }
    Ok(shown(&text))
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create_new(true).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let hint = "give --out a new file in a directory you may write to";
    written.map_err(|e| format!("cannot write {}: {e}\n  hint: {hint}", path.display()))
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.as_file().set_permissions(fs::metadata(path)?.permissions())?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e: std::io::Error| {
        format!("cannot write {}: {e}\n  hint: it is as it was", path.display())
    })
}

#[cfg(test)]
mod tests;
