//! An interrupted rehearsal goes on from what its journal says was done.
//!
//! What was sealed stays: the plan, the measurement, each step whose result is still the one that was
//! noted. A live window that was not ended is begun again, on the nodes' own data; the journal keeps how
//! often it was begun, and policies read it.

use crate::{
    RehearsalError,
    outcome::Doing,
    stages::{Measured, NETWORK, Request},
};
use qbind_evidence::{Journal, PLAN_SIGNED_RECORD, Record, digest_of_file};
use qbind_gates::records::paths;
use qbind_lab::network::NetworkDir;
use qbind_plan::{Plan, digest_of};
use qbind_steps::StepId;
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, BufRead},
    path::Path,
};

/// What the live window leaves, to be gathered anew.
const LIVE: [&str; 10] = [
    "commits",
    "transactions",
    "blocks",
    "batches",
    "validators",
    "scrapes",
    "status",
    "peers",
    "config",
    "load",
];

/// What an earlier start of this rehearsal has done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// When it was started.
    pub(crate) started_unix_ms: Option<u64>,
    /// The measured network.
    pub(crate) measured: Option<Measured>,
    /// Steps whose result stands.
    pub(crate) steps: Vec<StepId>,
    /// Whether the live window was ended.
    pub(crate) live: bool,
}

/// A rehearsal taken up again.
pub(crate) struct Resumed {
    pub(crate) plan: Plan,
    pub(crate) network: NetworkDir,
    pub(crate) journal: Journal,
    pub(crate) done: Done,
}

/// Takes up the rehearsal in `request.out`.
///
/// # Errors
/// The operator's: nothing was sealed there, it came to its verdict already, plan or program are not those
/// that were sealed.
pub(crate) fn resume(request: &Request) -> Result<Resumed, RehearsalError> {
    let out = request.out.as_path();
    let refused = |why: &str| Err(why.to_owned()).usage(&format!("resume {}", out.display()));
    let path = out.join(paths::JOURNAL);
    whole_lines(&path).usage("take up the journal")?;
    let journal = Journal::resume(&path).usage("take up the journal")?;
    let records = records(&path).usage("read the journal")?;
    let last = |kind: &str| records.iter().rev().find(|record| record.kind == kind);
    if last("verdict").is_some() && has_bundle(out) {
        return refused("it came to its verdict; rehearse anew in another directory");
    }
    let fixed = last("plan.fixed").and_then(|record| record.data["plan_digest"].as_str());
    let (Some(fixed), Some(_)) = (fixed, last(PLAN_SIGNED_RECORD)) else {
        return refused("its plan was not sealed; rehearse anew in another directory");
    };
    let plan = Plan::load(&out.join(paths::PLAN)).usage("read the sealed plan")?;
    plan.expect_digest(fixed).usage("go on: the plan was changed after it was sealed")?;
    request.purpose.resumed(plan.gate_type)?;
    let (binary, _) = digest_of_file(&request.node_binary).usage("read the node binary")?;
    let binary = format!("0x{}", binary.sha3_256);
    if !plan.binaries.iter().any(|planned| planned.sha3 == binary) {
        let path = request.node_binary.display();
        return refused(&format!("{path} is not the program the plan was made for"));
    }
    let network = NetworkDir::open(&out.join(NETWORK)).usage("open the network")?;
    let mut done = Done {
        started_unix_ms: records.first().map(|record| record.time_unix_ms),
        live: last("live.done").is_some(),
        ..Done::default()
    };
    if let Some(mapped) = last("network.mapped") {
        done.measured = as_noted(&out.join(paths::SAMPLES), &mapped.data["samples_sha3"])
            .then(|| Measured::load(out, &plan))
            .transpose()?;
    }
    for step in StepId::ALL {
        let id = step.as_str();
        let noted = records.iter().rev().find(|r| r.kind == "step.done" && r.data["id"] == id);
        let file = out.join(paths::step(&id.to_lowercase()));
        // A step reads the measured network, so it is run again with it.
        let stands = noted.is_some_and(|record| as_noted(&file, &record.data["result_sha3"]));
        if stands && done.measured.is_some() {
            done.steps.push(step);
        }
    }
    let before = records.last().map_or(0, |record| record.time_unix_ms);
    let kind = records.last().map(|record| record.kind.clone());
    let away = crate::faults::unix_ms().saturating_sub(before);
    let note = json!({ "after": kind, "away_ms": away });
    journal.append("resumed", note).doing("write the journal")?;
    if !done.live {
        discard(out).doing("clear what was left of the live window")?;
    }
    Ok(Resumed { plan, network, journal, done })
}

/// Drops a last line that was being written when the rehearsal was interrupted: nothing rests on it.
///
/// # Errors
/// The file cannot be read or cut, or a rehearsal that is under way holds it.
fn whole_lines(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    file.try_lock().map_err(|_| io::Error::other("the rehearsal is still under way"))?;
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

fn has_bundle(out: &Path) -> bool {
    let names = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.path());
    names.into_iter().any(|path| path.extension().is_some_and(|kind| kind == "qbundle"))
}

fn records(path: &Path) -> io::Result<Vec<Record>> {
    let lines = io::BufReader::new(fs::File::open(path)?).lines();
    lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::other)).collect()
}

/// Whether a file is the one whose digest was noted.
fn as_noted(file: &Path, noted: &Value) -> bool {
    fs::read(file).is_ok_and(|bytes| noted.as_str() == Some(&digest_of(&bytes)))
}

fn discard(out: &Path) -> io::Result<()> {
    for file in [paths::LIVE, paths::LINK_SNAPSHOTS[2], paths::LINK_SNAPSHOTS[3]] {
        match fs::remove_file(out.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for folder in LIVE {
        match fs::remove_dir_all(out.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_being_written_is_dropped_and_a_journal_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let journal = Journal::create(&path).unwrap();
        assert!(whole_lines(&path).is_err(), "its rehearsal is under way");
        journal.append("plan.fixed", json!({})).unwrap();
        drop(journal);
        let before = fs::read(&path).unwrap();
        fs::write(&path, [&before[..], b"{\"seq\":1,\"ti"].concat()).unwrap();
        assert!(Journal::resume(&path).is_err());
        whole_lines(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        Journal::resume(&path).unwrap();
    }
}
