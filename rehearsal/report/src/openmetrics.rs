//! Every scrape of a run as OpenMetrics text with times, for a Prometheus that was not there.

use qbind_gates::records::{ScrapeLine, paths};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why metrics cannot be written out.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A file of the evidence cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The index of scrapes holds something else.
    #[error("{}, line {line}: {why}", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The answer cannot be written.
    #[error("cannot write the metrics")]
    Write(#[from] io::Error),
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Scrapes.
    pub scrapes: u64,
    /// Samples in them.
    pub samples: u64,
    /// Scrapes that failed, and so are gaps.
    pub failed: u64,
    /// Lines that are no sample of this node.
    pub dropped: u64,
}

/// Writes the scrapes of the evidence directory `dir`, in the order of the index; each series gets the
/// label `instance`, and each sample the time its scrape was sent. Holds one scrape in memory.
///
/// # Errors
/// A file cannot be read or written.
pub fn export_openmetrics(dir: &Path, to: &mut impl Write) -> Result<Exported, ExportError> {
    let index = dir.join(paths::SCRAPE_INDEX);
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Read { path, source }
    };
    let lines = BufReader::new(File::open(&index).map_err(read(&index))?).lines();
    let mut done = Exported::default();
    for (number, line) in lines.enumerate() {
        let line = line.map_err(read(&index))?;
        let scrape: ScrapeLine = serde_json::from_str(&line).map_err(|e| ExportError::Index {
            path: index.clone(),
            line: number + 1,
            why: e.to_string(),
        })?;
        // The path is derived, not taken from the line: it could point anywhere.
        let name = paths::scrape(&scrape.node, scrape.seq);
        if scrape.status != Some(200) || scrape.file.as_ref() != Some(&name) {
            done.failed += 1;
            continue;
        }
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if scrape.node.is_empty() || !scrape.node.bytes().all(plain) {
            let why = format!("{:?} is no node's name", scrape.node);
            return Err(ExportError::Index { path: index, line: number + 1, why });
        }
        let body = dir.join(name);
        let bytes = fs::read(&body).map_err(read(&body))?;
        let Ok(text) = String::from_utf8(bytes) else {
            done.failed += 1;
            continue;
        };
        done.scrapes += 1;
        for sample in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match stamped(sample, &scrape.node, scrape.at_unix_ms) {
                Some(line) => {
                    to.write_all(line.as_bytes())?;
                    done.samples += 1;
                }
                None => done.dropped += 1,
            }
        }
    }
    to.write_all(b"# EOF\n")?;
    Ok(done)
}

/// A sample of the Prometheus text format with one label and a time more; nothing of a line that is more
/// or less than name, labels and value, for it may be made to pass for another node's.
fn stamped(sample: &str, node: &str, at_unix_ms: u64) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = sample.find(|c| !is_name(c))?;
    let (name, rest) = sample.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (String::new(), rest),
    };
    let value = value.strip_prefix(' ')?;
    value.parse::<f64>().ok()?;
    let (seconds, millis) = (at_unix_ms / 1000, at_unix_ms % 1000);
    Some(format!("{name}{{{labels}instance=\"{node}\"}} {value} {seconds}.{millis:03}\n"))
}

/// The labels up to the closing brace, each followed by a comma, and what comes after it.
fn labels(mut rest: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) || name == "instance" {
            return None;
        }
        let mut escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        found += &format!("{name}=\"{}\",", &quoted[..end]);
        rest = &quoted[end + 1..];
        rest = match rest.strip_prefix(',') {
            Some(more) if !more.starts_with('}') => more,
            None if rest.starts_with('}') => rest,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(lines: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("scrapes/v1")).unwrap();
        fs::write(dir.path().join(paths::SCRAPE_INDEX), lines).unwrap();
        fs::write(dir.path().join("scrapes/v1/000001.txt"), "# TYPE a counter\na 1\n").unwrap();
        dir
    }

    fn line(node: &str, seq: u64, file: &str) -> String {
        format!(
            "{{\"node\":\"{node}\",\"seq\":{seq},\"at_unix_ms\":5000,\"duration_ms\":3,\
             \"status\":200,\"bytes\":9,\"file\":\"{file}\"}}\n"
        )
    }

    #[test]
    fn failed_scrapes_are_gaps_and_no_line_leads_outside() {
        let good = line("v1", 1, "scrapes/v1/000001.txt");
        let elsewhere = line("v1", 2, "../../etc/passwd");
        let dir = evidence(&(good.clone() + &elsewhere));
        let mut text = Vec::new();
        let done = export_openmetrics(dir.path(), &mut text).unwrap();
        assert_eq!(done, Exported { scrapes: 1, samples: 1, failed: 1, dropped: 0 });
        assert_eq!(String::from_utf8(text).unwrap(), "a{instance=\"v1\"} 1 5.000\n# EOF\n");
        let outside = line("../v1", 1, "scrapes/../v1/000001.txt");
        let refused = export_openmetrics(evidence(&outside).path(), &mut Vec::new());
        assert!(refused.unwrap_err().to_string().contains("no node's name"));
        let torn = export_openmetrics(evidence("{").path(), &mut Vec::new());
        assert!(torn.unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn samples_get_an_instance_and_a_time() {
        for (sample, expected) in [
            ("a 1", Some("a{instance=\"n\"} 1 12.007\n")),
            ("a{x=\"y z\"} 1.5", Some("a{x=\"y z\",instance=\"n\"} 1.5 12.007\n")),
            ("a{} +Inf", Some("a{instance=\"n\"} +Inf 12.007\n")),
            ("a one", None),
            ("a", None),
            ("a 1 17", None),
            ("a{x=\"q\\\"}\\\\\"} 1", Some("a{x=\"q\\\"}\\\\\",instance=\"n\"} 1 12.007\n")),
            // Another node's, at a time of its own.
            ("a{instance=\"m\"} 3 1700000000 # {b=\"c\"} 1", None),
            ("a{instance=\"m\"} 3", None),
            ("a} 1", None),
            ("a{x=\"y\"", None),
            ("a{x=\"y\",} 1", None),
            ("1a 1", None),
        ] {
            assert_eq!(stamped(sample, "n", 12_007).as_deref(), expected, "{sample}");
        }
    }
}
