//! An evidence directory becomes [`Evidence`]. What cannot be read is noted, never skipped over.

use crate::{
    evaluate::evaluate,
    evidence::{Evidence, Scrape, StepFile},
    files::{Files, Place},
    records::{ScrapeLine, paths},
    series::Names,
    steps::STEPS,
    stored::{Stored, lines},
    verdict::GatesResult,
};
use qbind_measure::RawMeasurement;
use qbind_plan::{Plan, digest_of};
use rayon::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Most bytes of the samples of a measurement.
pub const SAMPLES_BYTES: u64 = 64 << 20;

/// Why a directory cannot be evaluated at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Not a directory, or not readable.
    #[error("{} is no readable directory: give the OUT directory of a rehearsal", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads an evidence directory and evaluates all gates from the raw files in it.
///
/// # Errors
/// The caller's fault: `dir` is no directory. Anything wrong inside it makes gates UNKNOWN.
pub fn evaluate_dir(dir: &Path) -> Result<GatesResult, ReadError> {
    Ok(evaluate(&read_dir(dir)?))
}

/// Reads an evidence directory.
///
/// # Errors
/// The caller's fault: `dir` is no directory.
pub fn read_dir(dir: &Path) -> Result<Evidence, ReadError> {
    fs::read_dir(dir).map_err(|source| ReadError::Directory { path: dir.to_owned(), source })?;
    Ok(read(&Files::Dir(dir.to_owned())))
}

/// Reads the raw files of a run. What is large stays where it is until it is needed.
pub fn read(files: &Files) -> Evidence {
    let mut reader = Reader { files, damage: BTreeMap::new() };
    let plan = reader.text(paths::PLAN).and_then(|text| reader.plan(&text));
    let scrapes = reader.scrapes(plan.as_ref());
    let mut evidence = Evidence {
        plan,
        genesis: reader.bytes(paths::GENESIS),
        live: reader.json(paths::LIVE),
        load: reader.json(paths::LOAD_SUMMARY),
        transactions: reader.lines(paths::TRANSACTIONS).unwrap_or_default(),
        blocks: reader.blocks(),
        validators: reader.validators(),
        batches: reader.batches(),
        scrapes,
        samples: reader.samples(),
        ..Evidence::default()
    };
    (evidence.noted_steps, evidence.failed_steps) = reader.noted_steps();
    for id in STEPS {
        if let Some(bytes) = reader.bytes(&paths::step(id)) {
            let sha3 = digest_of(&bytes);
            if let Some(result) = reader.parse(&paths::step(id), &bytes) {
                evidence.steps.insert(id.to_owned(), StepFile { result, sha3 });
            }
        }
    }
    for path in paths::LINK_SNAPSHOTS {
        if let Some(snapshot) = reader.json(path) {
            evidence.links.insert(path.to_owned(), snapshot);
        }
    }
    let nodes: Vec<String> =
        evidence.plan.iter().flat_map(|p| &p.nodes).map(|n| n.name.clone()).collect();
    for node in nodes {
        reader.add(&mut evidence.feeds, node.clone(), paths::commits(&node));
        reader.add(&mut evidence.claims, node.clone(), paths::transactions(&node));
        reader.add(&mut evidence.peers, node.clone(), paths::peers(&node));
        reader.add(&mut evidence.statuses, node.clone(), paths::status(&node));
        if let Some(config) = reader.json(&paths::config(&node)) {
            evidence.configs.insert(node, config);
        }
    }
    evidence.damage = reader.damage;
    evidence
}

/// The samples of the measured network; nothing if there are none.
///
/// # Errors
/// In words: they cannot be read, are more than any measurement has, or are no samples.
pub fn read_samples(files: &Files) -> Result<Option<RawMeasurement>, String> {
    let Some(bytes) = files.bytes(paths::SAMPLES)? else { return Ok(None) };
    // Numbers take four times the memory of their digits.
    if bytes.len() as u64 > SAMPLES_BYTES {
        return Err("is larger than any measurement".to_owned());
    }
    RawMeasurement::read_from(&bytes[..]).map(Some).map_err(|e| e.to_string())
}

struct Reader<'a> {
    files: &'a Files,
    damage: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn harm(&mut self, path: &str, why: impl ToString) {
        self.damage.insert(path.to_owned(), why.to_string());
    }

    /// What was read, or nothing and a note of why.
    fn noted<T>(&mut self, path: &str, read: Result<Option<T>, String>) -> Option<T> {
        read.unwrap_or_else(|why| {
            self.harm(path, why);
            None
        })
    }

    fn locate(&mut self, path: &str) -> Option<Place> {
        self.noted(path, self.files.locate(path))
    }

    /// The bytes of a file; nothing if it does not exist.
    fn bytes(&mut self, path: &str) -> Option<Vec<u8>> {
        self.noted(path, self.files.bytes(path))
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => {
                self.harm(path, "is not UTF-8");
                None
            }
        }
    }

    fn plan(&mut self, text: &str) -> Option<Plan> {
        match Plan::parse(paths::PLAN, text) {
            Ok(plan) => Some(plan),
            Err(e) => {
                self.harm(paths::PLAN, e);
                None
            }
        }
    }

    fn parse<T: DeserializeOwned>(&mut self, path: &str, bytes: &[u8]) -> Option<T> {
        match serde_json::from_slice(bytes) {
            Ok(value) => Some(value),
            Err(e) => {
                self.harm(path, e);
                None
            }
        }
    }

    fn json<T: DeserializeOwned>(&mut self, path: &str) -> Option<T> {
        let bytes = self.bytes(path)?;
        self.parse(path, &bytes)
    }

    /// One value per line; a file with one bad line counts as absent as a whole.
    fn lines<T: DeserializeOwned>(&mut self, path: &str) -> Option<Vec<T>> {
        let bytes = self.bytes(path)?;
        lines(&bytes).map_err(|why| self.harm(path, why)).ok()
    }

    fn add<K: Ord, T>(&mut self, map: &mut BTreeMap<K, Stored<T>>, key: K, path: String) {
        if let Some(place) = self.locate(&path) {
            map.insert(key, Stored::File(place));
        }
    }

    fn blocks(&mut self) -> BTreeMap<u64, Stored<Vec<u8>>> {
        let mut out = BTreeMap::new();
        for name in self.files.names("blocks", ".borsh") {
            let Ok(height) = name.parse::<u64>() else { continue };
            self.add(&mut out, height, paths::block(height));
        }
        out
    }

    fn validators(&mut self) -> BTreeMap<u64, Stored<Vec<u8>>> {
        let mut out = BTreeMap::new();
        for name in self.files.names("validators", ".borsh") {
            let Ok(epoch) = name.parse::<u64>() else { continue };
            self.add(&mut out, epoch, paths::validators(epoch));
        }
        out
    }

    fn batches(&mut self) -> BTreeMap<String, Stored<Vec<u8>>> {
        let mut out = BTreeMap::new();
        for name in self.files.names("batches", ".borsh") {
            let path = paths::batch(&name);
            self.add(&mut out, name, path);
        }
        out
    }

    fn scrapes(&mut self, plan: Option<&Plan>) -> BTreeMap<String, Vec<Scrape>> {
        let mut index = self.lines::<ScrapeLine>(paths::SCRAPE_INDEX).unwrap_or_default();
        let mut seen = BTreeSet::new();
        if !index.iter().all(|line| seen.insert((line.node.clone(), line.seq))) {
            self.harm(paths::SCRAPE_INDEX, "names one scrape twice".to_owned());
            index.clear();
        }
        let (files, names) =
            (self.files, Names::with(plan.into_iter().flat_map(|plan| &plan.added_gates)));
        let read = index.into_par_iter().map(|line| {
            // The path is derived, not taken from the line: it could point anywhere.
            let path = paths::scrape(&line.node, line.seq);
            let named = line.status == Some(200) && line.file.as_deref() == Some(path.as_str());
            let samples = if named { files.scrape(&path, &names) } else { Ok(None) };
            (line, samples.map_err(|why| (path, why)))
        });
        let mut out: BTreeMap<String, Vec<Scrape>> = BTreeMap::new();
        for (line, samples) in read.collect::<Vec<_>>() {
            let samples = samples.unwrap_or_else(|(path, why)| {
                self.harm(&path, why);
                None
            });
            let scrape = Scrape { seq: line.seq, at_unix_ms: line.at_unix_ms, samples };
            out.entry(line.node).or_default().push(scrape);
        }
        for scrapes in out.values_mut() {
            scrapes.sort_by_key(|s| s.at_unix_ms);
        }
        out
    }

    fn samples(&mut self) -> Option<RawMeasurement> {
        match read_samples(self.files) {
            Ok(samples) => samples,
            Err(why) => {
                self.harm(paths::SAMPLES, why);
                None
            }
        }
    }

    /// What the journal notes of steps: digests of their results, and which did not pass. Its chain is checked
    /// with the bundle.
    fn noted_steps(&mut self) -> (Option<BTreeMap<String, String>>, BTreeSet<String>) {
        #[derive(Deserialize)]
        struct Record {
            kind: String,
            data: serde_json::Value,
        }
        let Some(records) = self.lines::<Record>(paths::JOURNAL) else {
            return (None, BTreeSet::new());
        };
        let (mut noted, mut failed) = (BTreeMap::new(), BTreeSet::new());
        for record in records.iter().filter(|record| record.kind == "step.done") {
            let text = |key: &str| Some(record.data[key].as_str()?.to_lowercase());
            let Some(id) = text("id") else { continue };
            if record.data["verdict"] != "PASS" {
                failed.insert(id.clone());
            }
            if let Some(sha3) = text("result_sha3") {
                noted.insert(id, sha3);
            }
        }
        (Some(noted), failed)
    }
}
