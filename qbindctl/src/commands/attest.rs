//! `qbindctl attest`: make keys, sign evidence, and decide whether a bundle is what was signed.

mod recompute;
mod render;
mod sign_off;

use clap::{Args, Subcommand, ValueEnum};
use qbind_crypto::SecretKey;
use qbind_evidence::{
    DigestPair, Facts, GateType, SealOptions, Take, Trust, TrustedKey, Verification, VerifyOptions,
    create_key, digest_of_file, open_key, seal, sign_bundle, verify_taking,
};
use recompute::{Recomputed, verify_and_recompute};
use serde_json::json;
use sign_off::{CosignArgs, StatusArgs};
pub(crate) use sign_off::{sign_offs, standing};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const VALID: u8 = 0;
const NOT_VALID: u8 = 1;
const UNKNOWN: u8 = 2;
const USAGE: u8 = 64;

/// Evidence bundles: keys, signatures, verification.
#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// Make a signing key, encrypted under a passphrase
    Keygen(KeygenArgs),
    /// Seal and sign an evidence directory, or add a signature to a bundle
    Sign(SignArgs),
    /// Judge a bundle again and sign what you decide about it
    Cosign(CosignArgs),
    /// Say whose agreement a bundle has and whose it lacks
    Status(StatusArgs),
    /// Check a bundle: signatures, every digest, the journal, the statements
    Verify(VerifyArgs),
    /// Show what is in a bundle
    Show(ShowArgs),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum AttestOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `attest keygen`.
#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// Where to write the encrypted key; the public half goes beside it as FILE.pub
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Name of the key in the trust file
    #[arg(long, default_value = "attestation")]
    pub(crate) name: String,
    /// Who holds it
    #[arg(long, default_value = "unnamed")]
    pub(crate) operator: String,
    /// For which organisation
    #[arg(long, default_value = "unnamed")]
    pub(crate) organisation: String,
    /// Where the passphrase comes from
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

/// Where a passphrase comes from.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// File whose first line is the passphrase; give it once for all keys, or once per key
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_env")]
    pub(crate) passphrase_file: Vec<PathBuf>,
    /// Environment variable that holds the passphrase
    #[arg(long, value_name = "NAME", default_value = "QBIND_ATTEST_PASSPHRASE")]
    pub(crate) passphrase_env: String,
}

/// Arguments of `attest sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// An evidence directory, or a bundle
    #[arg(value_name = "DIR|BUNDLE")]
    pub(crate) target: PathBuf,
    /// Encrypted key; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    /// Where to write the bundle of a directory [default: in it, named by date and run]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where the passphrase comes from
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

/// Arguments of `attest verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Whose signatures count (trust.yaml)
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: PathBuf,
    /// Ask for validity at this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// A local file, such as the node binary, that must be a subject; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) subject: Vec<PathBuf>,
    /// The signed plan (plan.dsse.json) that was handed out before the run
    #[arg(long, value_name = "FILE")]
    pub(crate) planned: Option<PathBuf>,
    /// Also derive every gate again from the raw files, which need room in TMPDIR, and compare
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

/// Arguments of `attest show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// List every file, not only the folders
    #[arg(long)]
    pub(crate) files: bool,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: AttestOutput,
}

/// What the operator did wrong or the machine refused, with a hint.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: &'static str,
}

impl Failure {
    fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint }
    }

    fn of(error: &dyn Error, hint: &'static str) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message += &format!(": {cause}");
            source = cause.source();
        }
        Self { message, hint }
    }
}

/// Runs the command; the answer goes to stdout. Gives the exit code: 0 valid or done, 1 not valid,
/// 2 when the gates could not be compared, 64 when nothing could be tried.
pub(crate) fn run(command: AttestCommand) -> u8 {
    let mut answer = String::new();
    let code = match execute(command, &mut answer) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {}\n  hint: {}", render::shown(&failure.message), failure.hint);
            USAGE
        }
    };
    match io::stdout().lock().write_all(answer.as_bytes()) {
        Ok(()) => code,
        // Whoever reads the answer has gone; the exit code still tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            eprintln!("error: cannot write the answer: {error}");
            USAGE
        }
    }
}

fn execute(command: AttestCommand, answer: &mut String) -> Result<u8, Failure> {
    match command {
        AttestCommand::Keygen(args) => keygen(&args, answer),
        AttestCommand::Sign(args) => sign(&args, answer),
        AttestCommand::Cosign(args) => sign_off::cosign(&args, answer),
        AttestCommand::Status(args) => sign_off::status(&args, answer),
        AttestCommand::Verify(args) => check(&args, answer),
        AttestCommand::Show(args) => show(&args, answer),
    }
}

fn keygen(args: &KeygenArgs, answer: &mut String) -> Result<u8, Failure> {
    let passphrases = passphrases(&args.passphrase, 1)?;
    let key = create_key(&args.out, &passphrases[0])
        .map_err(|e| Failure::of(&e, "give --out a new file in a directory you may write to"))?;
    let trust = Trust::new(vec![TrustedKey {
        name: args.name.clone(),
        operator: args.operator.clone(),
        organisation: args.organisation.clone(),
        public_key: key.public_key.clone(),
    }])
    .to_yaml();
    match args.output {
        AttestOutput::Json => {
            let value = json!({
                "schema": "qbindctl.attest-keygen/v1",
                "key": args.out, "public_key_file": key.path, "keyid": key.id, "trust": trust,
            });
            answer.push_str(&format!("{value}\n"));
        }
        AttestOutput::Text => {
            eprintln!("key {} written to {} (encrypted)", key.id, args.out.display());
            eprintln!("public half written to {}", key.path.display());
            eprintln!("to trust it, put this into a trust file:");
            answer.push_str(&trust);
        }
    }
    Ok(VALID)
}

/// What the purpose of a run demands and its evidence lacks.
fn lacking(dir: &Path) -> Option<String> {
    let facts: Facts = serde_json::from_slice(&fs::read(dir.join("facts.json")).ok()?).ok()?;
    match facts.gate_type {
        GateType::ClassCUpgrade if !facts.subjects.iter().any(|s| s.name == "upgrade-envelope") => {
            Some("a class C upgrade is attested with its envelope as a subject".to_owned())
        }
        GateType::PostIncident if !dir.join("baseline.json").exists() => {
            Some("a run after an incident is attested with a baseline.json".to_owned())
        }
        _ => None,
    }
}

fn sign(args: &SignArgs, answer: &mut String) -> Result<u8, Failure> {
    let passphrases = passphrases(&args.passphrase, args.key.len())?;
    let mut keys: Vec<SecretKey> = Vec::new();
    for (index, path) in args.key.iter().enumerate() {
        let passphrase = passphrases.get(index).unwrap_or(&passphrases[0]);
        let hint = "nothing was signed; check the key file and its passphrase";
        keys.push(open_key(path, passphrase).map_err(|e| Failure::of(&e, hint))?);
    }
    let bundle = if args.target.is_dir() {
        let out = match &args.out {
            Some(out) => out.clone(),
            None => default_name(&args.target)?,
        };
        if let Some(why) = lacking(&args.target) {
            return Err(Failure::new(
                why,
                "nothing was signed; rehearse with what its purpose demands",
            ));
        }
        let options = SealOptions { facts: None, signers: &keys };
        let hint = "nothing was signed; put the evidence in order and try again";
        let sealed = seal(&args.target, &out, &options).map_err(|e| Failure::of(&e, hint))?;
        for name in &sealed.left_out {
            eprintln!("note: {} is no evidence and was left out", render::shown(name));
        }
        sealed.path
    } else {
        if args.out.is_some() {
            let hint = "copy the bundle first if the old one should stay";
            return Err(Failure::new(
                "--out is for directories; a bundle is signed in place",
                hint,
            ));
        }
        let hint = "nothing was signed; `qbindctl attest show` says more about the bundle";
        sign_bundle(&args.target, &keys).map_err(|e| Failure::of(&e, hint))?.path
    };
    let ids: Vec<String> =
        keys.iter().map(|key| qbind_evidence::key_id(&key.public_key()).to_string()).collect();
    match args.output {
        AttestOutput::Json => {
            let value = json!({
                "schema": "qbindctl.attest-sign/v1", "bundle": bundle, "keyids": ids,
            });
            answer.push_str(&format!("{value}\n"));
        }
        AttestOutput::Text => {
            answer.push_str(&format!("{}\n", bundle.display()));
            ids.iter().for_each(|id| eprintln!("signed with key {id}"));
        }
    }
    Ok(VALID)
}

fn default_name(dir: &Path) -> Result<PathBuf, Failure> {
    let hint = "an evidence directory has a facts.json; `qbindctl rehearse` writes it";
    let facts = Facts::load(dir).map_err(|e| Failure::of(&e, hint))?;
    Ok(dir.join(facts.bundle_name()))
}

fn check(args: &VerifyArgs, answer: &mut String) -> Result<u8, Failure> {
    let hint = "a trust file names the keys whose signatures count; see docs/evidence.md";
    let trust = Trust::load(&args.trust).map_err(|e| Failure::of(&e, hint))?;
    let now = moment(args.at.as_deref())?;
    let mut subjects: Vec<(String, DigestPair)> = Vec::new();
    for path in &args.subject {
        let (digest, _) = digest_of_file(path).map_err(|e| {
            let message = format!("cannot read {}: {e}", path.display());
            Failure::new(message, "give --subject a file on this machine")
        })?;
        subjects.push((path.display().to_string(), digest));
    }
    let planned = handed_out(args.planned.as_deref())?;
    let options = VerifyOptions {
        trust: Some(&trust),
        planned: planned.as_deref(),
        now_unix_ms: Some(now),
        subjects: &subjects,
        ..VerifyOptions::default()
    };
    let (verification, recomputed) = match args.recompute {
        true => verify_and_recompute(&args.bundle, &options)?,
        false => (read(&args.bundle, &options)?, None),
    };
    match args.output {
        AttestOutput::Json => {
            render::verification_json(&args.bundle, &verification, recomputed.as_ref(), answer);
        }
        AttestOutput::Text => {
            render::verification_text(&args.bundle, &verification, recomputed.as_ref(), answer);
        }
    }
    Ok(match recomputed {
        _ if !verification.valid => NOT_VALID,
        None | Some(Recomputed::Match) => VALID,
        Some(Recomputed::Mismatch(_)) => NOT_VALID,
        Some(Recomputed::Unverifiable(_) | Recomputed::NoRoom(_)) => UNKNOWN,
    })
}

/// The signed plan that was handed out before the run.
fn handed_out(planned: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = planned else { return Ok(None) };
    let read = fs::read(path).map_err(|e| {
        let message = format!("cannot read {}: {e}", path.display());
        Failure::new(message, "give --planned the file you were given")
    });
    read.map(Some)
}

/// The time asked for, or the present; Unix milliseconds.
fn moment(at: Option<&str>) -> Result<u64, Failure> {
    let time = match at {
        Some(text) => humantime::parse_rfc3339(text).map_err(|e| {
            Failure::new(format!("--at {text:?}: {e}"), "write it like 2026-02-10T12:00:00Z")
        })?,
        None => SystemTime::now(),
    };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(u64::try_from(since).unwrap_or(u64::MAX))
}

fn show(args: &ShowArgs, answer: &mut String) -> Result<u8, Failure> {
    let verification = read(&args.bundle, &VerifyOptions::default())?;
    match args.output {
        AttestOutput::Json => render::contents_json(&args.bundle, &verification, answer),
        AttestOutput::Text => {
            render::contents_text(&args.bundle, &verification, args.files, answer);
        }
    }
    Ok(if verification.valid { VALID } else { NOT_VALID })
}

fn read(bundle: &Path, options: &VerifyOptions<'_>) -> Result<Verification, Failure> {
    read_taking(bundle, options, &|_, _, _| ())
}

fn read_taking(
    bundle: &Path,
    options: &VerifyOptions<'_>,
    take: &Take<'_>,
) -> Result<Verification, Failure> {
    let file = opened(bundle)?;
    Ok(verify_taking(BufReader::with_capacity(128 * 1024, file), options, take))
}

fn opened(bundle: &Path) -> Result<File, Failure> {
    let hint = "give the path of a .qbundle file";
    if bundle.is_dir() {
        return Err(Failure::new(format!("{} is a directory", bundle.display()), hint));
    }
    File::open(bundle)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", bundle.display()), hint))
}

/// A bundle checked with the keys of a trust file, whenever it was valid; its files are handed over meanwhile.
///
/// # Errors
/// In a sentence with a hint: one of the files cannot be read.
pub(crate) fn verified(
    bundle: &Path,
    trust: &Path,
    take: &Take<'_>,
) -> Result<(Verification, Trust), String> {
    let failed = |f: Failure| format!("{}; {}", f.message, f.hint);
    let hint = "a trust file names the keys whose signatures count; see docs/evidence.md";
    let trust = Trust::load(trust).map_err(|e| failed(Failure::of(&e, hint)))?;
    let options = VerifyOptions { trust: Some(&trust), ..VerifyOptions::default() };
    let found = read_taking(bundle, &options, take).map_err(failed)?;
    Ok((found, trust))
}

/// Opens one encrypted signing key.
///
/// # Errors
/// The operator's fault: no passphrase, a wrong one, or no key in the file.
pub(crate) fn signing_key(file: &Path, passphrase: &PassphraseArgs) -> Result<SecretKey, String> {
    let failed = |f: Failure| format!("{}; {}", f.message, f.hint);
    let passphrases = passphrases(passphrase, 1).map_err(failed)?;
    let hint = "nothing was started; check the key file and its passphrase";
    open_key(file, &passphrases[0]).map_err(|e| failed(Failure::of(&e, hint)))
}

/// One passphrase for all keys, or one per key.
fn passphrases(args: &PassphraseArgs, keys: usize) -> Result<Vec<String>, Failure> {
    let hint = "give --passphrase-file FILE or --passphrase-env NAME";
    if args.passphrase_file.is_empty() {
        return match std::env::var(&args.passphrase_env) {
            Ok(passphrase) if !passphrase.is_empty() => Ok(vec![passphrase]),
            _ => {
                let name = &args.passphrase_env;
                Err(Failure::new(format!("no passphrase: ${name} is unset or empty"), hint))
            }
        };
    }
    if args.passphrase_file.len() != 1 && args.passphrase_file.len() != keys {
        let given = args.passphrase_file.len();
        let message = format!("{given} passphrase files for {keys} keys");
        return Err(Failure::new(message, "give one for all keys, or one per key in their order"));
    }
    args.passphrase_file
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).map_err(|e| {
                Failure::new(
                    format!("cannot read the passphrase file {}: {e}", path.display()),
                    hint,
                )
            })?;
            match text.lines().next() {
                Some(line) if !line.is_empty() => Ok(line.to_owned()),
                _ => Err(Failure::new(
                    format!("the first line of {} is empty", path.display()),
                    "write the passphrase into its first line",
                )),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
