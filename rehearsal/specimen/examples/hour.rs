//! How long it takes to verify and recompute the bundle of a long run with many nodes, and how much memory.
//!
//! `hour OUT QBINDCTL [MINUTES]`: makes the bundle in OUT if it is not there (twenty minutes and 10 GB of disk for an
//! hour of a hundred nodes), then lets QBINDCTL judge it.

use qbind_crypto::SecretKey;
use qbind_specimen::{Lies, Operator, Shape, sealed_with, sound_of};
use std::{
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a quick rehearsal shows of its own network: blocks, batches and bytes of metrics.
const BLOCK_MS: u64 = 250;
const BATCHES: u64 = 4;
const METRICS: usize = 34_000;
const FAMILIES: usize = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: hour OUT QBINDCTL [MINUTES]";
    let out = PathBuf::from(args.next().ok_or(usage)?);
    let qbindctl = PathBuf::from(args.next().ok_or(usage)?);
    let minutes: u64 = args.next().map_or(Ok(60), |m| m.to_string_lossy().parse())?;
    let (bundle, trust) = (out.join(format!("{minutes}-minutes.qbundle")), out.join("trust.yaml"));
    if !bundle.exists() {
        make(&out, &bundle, &trust, minutes)?;
    }
    println!("{}: {} MB", bundle.display(), fs::metadata(&bundle)?.len() / 1_000_000);
    for command in [&["attest", "verify"][..], &["attest", "verify", "--recompute"]] {
        judge(&qbindctl, command, &bundle, &trust)?;
    }
    Ok(())
}

fn make(out: &Path, bundle: &Path, trust: &Path, minutes: u64) -> Result<(), Box<dyn Error>> {
    let window_s = minutes * 60;
    // A hundred nodes: seven validators and 31 RPC nodes in each of three regions.
    let shape =
        Shape { rpc: 31, window_s, block_ms: BLOCK_MS, batches: BATCHES, rate: 40, poll_ms: 500 };
    fs::create_dir_all(out)?;
    let start = Instant::now();
    let evidence = sound_of(&shape);
    let nodes = evidence.plan.as_ref().map_or(0, |plan| plan.nodes.len());
    println!(
        "{nodes} nodes, {} blocks, {} batches, {} transfers: made in {} s",
        evidence.blocks.len(),
        evidence.batches.len(),
        evidence.transactions.len(),
        start.elapsed().as_secs()
    );
    let (start, dir) = (Instant::now(), out.join("evidence"));
    if dir.exists() {
        // Left by one that was broken off.
        fs::remove_dir_all(&dir)?;
    }
    let operator = Operator {
        key: SecretKey::from_seed(&[1; 32]),
        finished_unix_ms: 1_800_000_000_000 + (window_s + 60) * 1_000,
    };
    fs::write(trust, operator.trust().to_yaml())?;
    let lies = Lies { edit: Some(&pad), ..Lies::default() };
    let unfinished = bundle.with_extension("new");
    let gates = sealed_with(&evidence, &operator, &lies, &dir, &unfinished)?;
    fs::rename(unfinished, bundle)?;
    println!("{} when it was made; sealed in {} s", gates.verdict, start.elapsed().as_secs());
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// Fills the metrics up to what a node exports.
fn pad(dir: &Path) {
    let scrapes = dir.join("scrapes");
    let folders = fs::read_dir(&scrapes).expect("just written");
    for folder in folders.map(|entry| entry.expect("just written").path()).filter(|p| p.is_dir()) {
        let bodies = fs::read_dir(&folder).expect("just written");
        for (seq, body) in bodies.enumerate() {
            let path = body.expect("just written").path();
            let mut text = fs::read_to_string(&path).expect("just written");
            let mut line = 0usize;
            while text.len() < METRICS {
                let (family, bucket) = (line % FAMILIES, line / FAMILIES);
                let count = (seq * (family + 3) + bucket * 7) * 31;
                writeln!(text, "qbind_family_{family}_seconds_bucket{{le=\"0.{bucket:02}\",peer=\"eu\"}} {count}")
                    .expect("memory");
                line += 1;
            }
            fs::write(path, text).expect("a disk");
        }
    }
}

fn judge(
    qbindctl: &Path,
    command: &[&str],
    bundle: &Path,
    trust: &Path,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut child = Command::new(qbindctl)
        .args(command)
        .arg(bundle)
        .arg("--trust")
        .arg(trust)
        // The specimen's time is not ours.
        .args(["--at", "2027-01-16T00:00:00Z"])
        .stdout(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = String::new();
    let code = loop {
        // The peak only grows; what the last tenth of a second adds is missed.
        if let Ok(text) = fs::read_to_string(&status)
            && let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            peak = line.trim().to_owned();
        }
        match child.try_wait()? {
            Some(code) => break code,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let took = start.elapsed();
    println!(
        "{}: {code}, {}.{:01} s, at most {peak}",
        command.join(" "),
        took.as_secs(),
        took.subsec_millis() / 100
    );
    match code.success() {
        true => Ok(()),
        false => Err(format!("{} ended with {code}", command.join(" ")).into()),
    }
}
