//! `qbindctl drift`: whether the network is still the one an attestation speaks of.

use super::{
    attest::{PassphraseArgs, signing_key, verified},
    measure::measure_lab,
};
use clap::{Args, ValueEnum};
use qbind_evidence::{Digest, DriftNotice, Lasting, Trust, Verification};
use qbind_gates::{SAMPLES_BYTES, records::paths};
use qbind_links::drift;
use qbind_measure::{Measurement, RawMeasurement, Schedule, Soundness};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

const STILL_VALID: u8 = 0;
const STALE: u8 = 1;
const UNKNOWN: u8 = 2;
const USAGE: u8 = 64;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DriftOutput {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// An attestation, and the network as it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 STILL-VALID, 1 STALE or not valid, 2 could not be measured, 64 usage."
)]
pub(crate) struct DriftArgs {
    /// The bundle with the attestation
    bundle: PathBuf,
    /// Keys that may have signed it
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// Measure all directed pairs of regions of the lab that is up in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["samples", "check"])]
    #[arg(required_unless_present_any = ["samples", "check"])]
    lab: Option<PathBuf>,
    /// Samples measured elsewhere (`measure --out`); give it once for each host that measured
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    samples: Vec<PathBuf>,
    /// Only check this notice, which somebody signed
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    check: Option<PathBuf>,
    /// Encrypted key to sign the answer with
    #[arg(long, value_name = "FILE", requires = "out")]
    key: Option<PathBuf>,
    /// Where to write the signed answer
    #[arg(long, value_name = "FILE", requires = "key")]
    out: Option<PathBuf>,
    /// Where the key's passphrase comes from
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value_t)]
    output: DriftOutput,
}

/// Runs the command; returns the exit code. Call it before other threads are started.
pub(crate) fn run(args: &DriftArgs) -> u8 {
    match answer(args) {
        Ok(code) => code,
        Err((code, why)) => {
            eprintln!("qbindctl: {why}");
            code
        }
    }
}

type Failure = (u8, String);

fn usage(why: impl ToString) -> Failure {
    (USAGE, why.to_string())
}

fn answer(args: &DriftArgs) -> Result<u8, Failure> {
    let key = args.key.as_ref().map(|file| signing_key(file, &args.passphrase)).transpose();
    let key = key.map_err(usage)?;
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        return Err(usage(format!("{} exists; name another --out", out.display())));
    }
    let samples = Mutex::new(None::<(u64, Vec<u8>)>);
    // The threads of this end with it: a measurement in a lab enters its namespaces later.
    let (found, trust) = verified(&args.bundle, &args.trust, &|name, bytes, piece| {
        if name == paths::SAMPLES && args.check.is_none() {
            let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, content) = samples.get_or_insert((bytes, Vec::new()));
            if bytes <= SAMPLES_BYTES {
                content.extend_from_slice(piece);
            }
        }
    })
    .map_err(usage)?;
    if let Some(first) = found.findings.first() {
        return Err((STALE, format!("{} is not valid: {first}", args.bundle.display())));
    }
    if let Some(file) = &args.check {
        return check(args, file, &found, &trust);
    }
    let before = evidence(samples.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    let (samples, after) = measured(args)?;
    if let Some(why) = incomparable(&before, &after) {
        return Err((UNKNOWN, why));
    }
    let notice = compared(&found, &before, &after, &samples, now());
    if let (Some(key), Some(out), Some(about)) = (&key, &args.out, &found.statement) {
        fs::write(out, notice.sign(about, key))
            .map_err(|e| usage(format!("cannot write {}: {e}", out.display())))?;
    }
    Ok(tell(args, &notice))
}

/// The measurement the attestation rests on, from its samples.
fn evidence(samples: Option<(u64, Vec<u8>)>) -> Result<Measurement, Failure> {
    let (bytes, samples) =
        samples.ok_or_else(|| usage(format!("the bundle has no {}", paths::SAMPLES)))?;
    if bytes > SAMPLES_BYTES {
        return Err(usage(format!("{} is larger than any measurement", paths::SAMPLES)));
    }
    let raw = RawMeasurement::read_from(&samples[..])
        .map_err(|why| usage(format!("{} {why}", paths::SAMPLES)))?;
    Ok(raw.evaluate(&Default::default()))
}

/// Why nothing follows from two measurements set side by side.
fn incomparable(before: &Measurement, after: &Measurement) -> Option<String> {
    for (name, measurement) in [("the bundle's", before), ("the new", after)] {
        if measurement.soundness != Soundness::Sound {
            return Some(format!("{name} measurement: {}", measurement.reasons.join("; ")));
        }
    }
    if after.started_unix_ms <= before.started_unix_ms {
        return Some("the new measurement is not newer than the bundle's".to_owned());
    }
    let like = |m: &Measurement| (m.kind.clone(), m.engine, m.size_bytes, m.dscp);
    (like(before) != like(after))
        .then(|| "the new measurement was probed in another way than the bundle's".to_owned())
}

/// The samples of the network as it is, and what follows from them.
fn measured(args: &DriftArgs) -> Result<(Vec<u8>, Measurement), Failure> {
    let raw = match &args.lab {
        Some(dir) => measure_lab(dir, &Schedule::quick(now()))?,
        None => merged(&args.samples)?,
    };
    let mut samples = Vec::new();
    raw.write_to(&mut samples).map_err(usage)?;
    let measurement = raw.evaluate(&Default::default());
    Ok((samples, measurement))
}

/// What several hosts measured, as one measurement: they must have probed alike.
fn merged(files: &[PathBuf]) -> Result<RawMeasurement, Failure> {
    let mut all: Option<RawMeasurement> = None;
    for file in files {
        let shown = file.display();
        let bytes = fs::read(file).map_err(|e| usage(format!("cannot read {shown}: {e}")))?;
        let raw = RawMeasurement::read_from(&bytes[..])
            .map_err(|e| usage(format!("{shown}: {e}; give a samples.jsonl of `measure --out`")))?;
        let Some(all) = &mut all else {
            all = Some(raw);
            continue;
        };
        let like = |s: &Schedule| (s.engine, s.probes, s.interval_us, s.size_bytes, s.dscp);
        if like(&all.schedule) != like(&raw.schedule) {
            return Err(usage(format!("{shown} was probed in another way than the first file")));
        }
        for pair in raw.pairs {
            if all.pairs.iter().any(|p| (&p.from, &p.to) == (&pair.from, &pair.to)) {
                let why = format!("{shown}: {} -> {} was measured twice", pair.from, pair.to);
                return Err(usage(why));
            }
            all.pairs.push(pair);
        }
        all.started_unix_ms = all.started_unix_ms.min(raw.started_unix_ms);
    }
    all.ok_or_else(|| usage("no samples were given"))
}

fn compared(
    found: &Verification,
    before: &Measurement,
    after: &Measurement,
    samples: &[u8],
    now: u64,
) -> DriftNotice {
    let drift = drift(&before.measurements(), &after.measurements());
    let mut reasons: Vec<String> =
        drift.moved.iter().map(|m| format!("{} -> {}: {}", m.from, m.to, m.what)).collect();
    if drift.class_before != drift.class_after {
        let (a, b) = (drift.class_before.name(), drift.class_after.name());
        reasons.push(format!("the network maps to {b}, and was {a}"));
    }
    let end = found.statement.iter().find_map(|s| s.predicate.valid_until_unix_ms());
    if end.is_none_or(|end| now > end) {
        reasons.push("the attestation has expired".to_owned());
    }
    let result = if reasons.is_empty() { Lasting::StillValid } else { Lasting::Stale };
    let samples_sha3_256 = Digest::of(&[samples]);
    DriftNotice { result, measured_at: String::new(), samples_sha3_256, reasons }
        .at(after.started_unix_ms)
}

fn check(
    args: &DriftArgs,
    file: &Path,
    found: &Verification,
    trust: &Trust,
) -> Result<u8, Failure> {
    let shown = file.display();
    let bytes = fs::read(file).map_err(|e| usage(format!("cannot read {shown}: {e}")))?;
    let Some(about) = &found.statement else {
        return Err((STALE, "the bundle says nothing".to_owned()));
    };
    let notice =
        DriftNotice::read(&bytes, about, trust).map_err(|why| (STALE, format!("{shown} {why}")))?;
    Ok(tell(args, &notice))
}

fn tell(args: &DriftArgs, notice: &DriftNotice) -> u8 {
    match args.output {
        DriftOutput::Json => {
            println!("{:#}", json!({ "schema": "qbindctl.drift/v1", "notice": notice }));
        }
        DriftOutput::Text => {
            let bundle = args.bundle.display();
            println!("{}: {bundle}, measured again at {}", notice.result, notice.measured_at);
            for reason in &notice.reasons {
                println!("  {}", reason.escape_debug());
            }
        }
    }
    match notice.result {
        Lasting::StillValid => STILL_VALID,
        Lasting::Stale => STALE,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
