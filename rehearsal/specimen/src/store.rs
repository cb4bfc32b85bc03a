//! Evidence in memory becomes the files of an evidence directory.

use qbind_gates::{
    Evidence, Stored,
    records::*,
    series::{Sample, Samples, Series},
};
use qbind_plan::Millionths;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

struct Folder(PathBuf);

impl Folder {
    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let full = self.0.join(path);
        fs::create_dir_all(full.parent().unwrap_or(&self.0))?;
        fs::write(full, bytes)
    }

    fn json<T: Serialize>(&self, path: &str, value: Option<&T>) -> io::Result<()> {
        let Some(value) = value else { return Ok(()) };
        self.put(path, serde_json::to_string(value)?)
    }

    fn stored<T>(&self, path: &str, lines: Option<&Stored<Vec<T>>>) -> io::Result<()>
    where
        T: Serialize + DeserializeOwned + Clone,
    {
        let Some(lines) = lines else { return Ok(()) };
        self.lines(path, &lines.lines().map_err(io::Error::other)?)
    }

    fn lines<T: Serialize>(&self, path: &str, lines: &[T]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            text += &serde_json::to_string(line)?;
            text.push('\n');
        }
        self.put(path, text)
    }
}

/// Writes the raw files of `evidence` below `dir`; what is absent in memory is absent there.
///
/// # Errors
/// A file cannot be written.
pub fn store(evidence: &Evidence, dir: &Path) -> io::Result<()> {
    let folder = Folder(dir.to_owned());
    if let Some(plan) = &evidence.plan {
        folder.put(paths::PLAN, plan.to_yaml())?;
    }
    if let Some(genesis) = &evidence.genesis {
        folder.put(paths::GENESIS, genesis)?;
    }
    folder.json(paths::LIVE, evidence.live.as_ref())?;
    folder.json(paths::LOAD_SUMMARY, evidence.load.as_ref())?;
    folder.lines(paths::TRANSACTIONS, &evidence.transactions)?;
    if let Some(samples) = &evidence.samples {
        let mut lines = Vec::new();
        samples.write_to(&mut lines).map_err(io::Error::other)?;
        folder.put(paths::SAMPLES, lines)?;
        let table = serde_json::to_string_pretty(&samples.evaluate(&Default::default()))?;
        folder.put(paths::MATRIX, table + "\n")?;
    }
    for (height, raw) in &evidence.blocks {
        folder.put(&paths::block(*height), raw.bytes().map_err(io::Error::other)?)?;
    }
    for (epoch, raw) in &evidence.validators {
        folder.put(&paths::validators(*epoch), raw.bytes().map_err(io::Error::other)?)?;
    }
    for (name, raw) in &evidence.batches {
        folder.put(&paths::batch(name), raw.bytes().map_err(io::Error::other)?)?;
    }
    for (id, step) in &evidence.steps {
        folder.put(&paths::step(id), step.result.to_string())?;
    }
    for (path, snapshot) in &evidence.links {
        folder.json(path, Some(snapshot))?;
    }
    for node in evidence.plan.iter().flat_map(|plan| &plan.nodes).map(|node| &node.name) {
        folder.stored(&paths::commits(node), evidence.feeds.get(node))?;
        folder.stored(&paths::transactions(node), evidence.claims.get(node))?;
        folder.stored(&paths::peers(node), evidence.peers.get(node))?;
        folder.stored(&paths::status(node), evidence.statuses.get(node))?;
        folder.json(&paths::config(node), evidence.configs.get(node))?;
    }
    scrapes(evidence, &folder)
}

fn scrapes(evidence: &Evidence, folder: &Folder) -> io::Result<()> {
    let mut index = Vec::new();
    for (node, scrapes) in &evidence.scrapes {
        for scrape in scrapes {
            let seq = scrape.seq;
            let body = scrape.samples.as_ref().map(body);
            let file = body.as_ref().map(|_| paths::scrape(node, seq));
            if let (Some(file), Some(body)) = (&file, &body) {
                folder.put(file, body)?;
            }
            index.push(ScrapeLine {
                node: node.clone(),
                seq,
                at_unix_ms: scrape.at_unix_ms,
                duration_ms: 2,
                status: body.is_some().then_some(200),
                bytes: body.as_ref().map_or(0, |body| body.len() as u64),
                error: body.is_none().then(|| "connection refused".to_owned()),
                file,
            });
        }
    }
    folder.lines(paths::SCRAPE_INDEX, &index)
}

/// A `/metrics` body with these series.
fn body(samples: &Samples) -> String {
    let mut text = String::new();
    for Series { name, labels, value } in samples.iter() {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let value = match value {
            Sample::Integer(value) => value.to_string(),
            Sample::NotANumber => "NaN".to_owned(),
            Sample::Fraction(millionths) => Millionths(*millionths).to_string(),
        };
        writeln!(text, "{name}{labels} {value}").expect("memory");
    }
    text
}
