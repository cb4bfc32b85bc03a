//! The journal: what was done when, each record bound to all before it.
//!
//! One JSON object a line, fields in this order: `seq`, `time_unix_ms`, `kind`, `data`, `prev`,
//! `hash`. `prev` is the hash of the line before (64 zeros at first); `hash` is SHA3-256 over a tag
//! and the bytes of the line itself up to, not including, `,"hash"`. Hashing the bytes as written
//! leaves no question of canonical JSON to whoever checks it.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use thiserror::Error;

const TAG: &[u8] = b"QBIND:EVIDENCE:JOURNAL:v1\n";
/// Longest line a reader accepts.
const LINE_BYTES: usize = 1024 * 1024;
const HASH_FIELD: &str = ",\"hash\":\"";

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Position, from 0.
    pub seq: u64,
    /// Wall clock of the machine that ran the rehearsal.
    pub time_unix_ms: u64,
    /// What kind of thing happened, such as `stage.started`.
    pub kind: String,
    /// Its details.
    pub data: Value,
    /// Hash of the record before.
    pub prev: Digest,
    /// Hash of this record.
    pub hash: Digest,
}

/// Why a journal could not be written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("cannot write the journal {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// A record too long for readers.
    #[error("journal record `{kind}` has {bytes} bytes; at most {LINE_BYTES} fit a line")]
    Long {
        /// Its kind.
        kind: String,
        /// Its length.
        bytes: usize,
    },
    /// An existing journal whose chain is broken cannot be continued.
    #[error("cannot continue the journal {}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Where the chain breaks.
        #[source]
        source: JournalFault,
    },
}

/// The first line that breaks the chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} {problem}")]
pub struct JournalFault {
    /// Line number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// What a whole journal amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalSummary {
    /// Number of records.
    pub records: u64,
    /// Hash of the last one; zeros when there is none.
    pub head: Digest,
    /// Time of the first record.
    pub first_unix_ms: Option<u64>,
    /// Time of the last record.
    pub last_unix_ms: Option<u64>,
}

/// A journal being written. Every record is on disk before [`Journal::append`] returns.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next: u64,
    head: Digest,
}

impl Journal {
    /// Starts a new journal; an existing file is not touched.
    ///
    /// # Errors
    /// The world's fault: the file exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        held(path, &file)?;
        Ok(Self::over(path, file, 0, Digest([0; 32])))
    }

    /// Continues a journal after checking its whole chain.
    ///
    /// # Errors
    /// The world's fault: the file cannot be opened; or its chain is broken, which names the line.
    pub fn resume(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let broken = |source| JournalError::Broken { path: path.to_owned(), source };
        let summary = verify_journal(path).map_err(io)?.map_err(broken)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io)?;
        held(path, &file)?;
        Ok(Self::over(path, file, summary.records, summary.head))
    }

    fn over(path: &Path, file: File, next: u64, head: Digest) -> Self {
        Self { path: path.to_owned(), state: Mutex::new(State { file, next, head }) }
    }

    /// Appends a record at the present time and waits until it is on disk.
    ///
    /// # Errors
    /// The disk refused, or the record is too long for readers.
    pub fn append(&self, kind: &str, data: Value) -> Result<Record, JournalError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.append_at(now, kind, data)
    }

    /// Appends a record at a given time.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_at(
        &self,
        time_unix_ms: u64,
        kind: &str,
        data: Value,
    ) -> Result<Record, JournalError> {
        // A panic elsewhere leaves the state as of the last complete record.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, hash) = line(state.next, time_unix_ms, kind, &data, state.head);
        if line.len() > LINE_BYTES {
            return Err(JournalError::Long { kind: kind.to_owned(), bytes: line.len() });
        }
        let io = |source| JournalError::Io { path: self.path.clone(), source };
        state.file.write_all(line.as_bytes()).map_err(io)?;
        state.file.sync_data().map_err(io)?;
        let record = Record {
            seq: state.next,
            time_unix_ms,
            kind: kind.to_owned(),
            data,
            prev: state.head,
            hash,
        };
        state.next += 1;
        state.head = hash;
        Ok(record)
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Holds the file for as long as the journal is written: two writers would fork its chain.
fn held(path: &Path, file: &File) -> Result<(), JournalError> {
    file.try_lock().map_err(|error| JournalError::Io {
        path: path.to_owned(),
        source: match error {
            TryLockError::WouldBlock => io::Error::other("another process is writing it"),
            TryLockError::Error(source) => source,
        },
    })
}

fn line(seq: u64, time: u64, kind: &str, data: &Value, prev: Digest) -> (String, Digest) {
    let kind = Value::from(kind);
    let body = format!(
        r#"{{"seq":{seq},"time_unix_ms":{time},"kind":{kind},"data":{data},"prev":"{prev}""#
    );
    let hash = Digest::of(&[TAG, body.as_bytes()]);
    (format!("{body}{HASH_FIELD}{hash}\"}}\n"), hash)
}

/// Checks the chain of a journal file; the inner error names the first broken line.
///
/// # Errors
/// The world's fault: the file cannot be read.
pub fn verify_journal(path: &Path) -> io::Result<Result<JournalSummary, JournalFault>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut checker = JournalChecker::default();
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(checker.finish());
        }
        let length = chunk.len();
        checker.push(chunk, |_| {});
        reader.consume(length);
    }
}

/// Checks a journal that arrives in pieces, in memory bounded by one line.
#[derive(Debug)]
pub(crate) struct JournalChecker {
    partial: Vec<u8>,
    lines: u64,
    summary: JournalSummary,
    fault: Option<JournalFault>,
}

impl Default for JournalChecker {
    fn default() -> Self {
        let summary = JournalSummary {
            records: 0,
            head: Digest([0; 32]),
            first_unix_ms: None,
            last_unix_ms: None,
        };
        Self { partial: Vec::new(), lines: 0, summary, fault: None }
    }
}

impl JournalChecker {
    /// Takes the next bytes; `seen` is called with each record in order.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&Record)) {
        while self.fault.is_none() {
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                self.partial.extend_from_slice(bytes);
                if self.partial.len() > LINE_BYTES {
                    self.fail("is longer than any record may be");
                }
                return;
            };
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            match self.check(&line) {
                Ok(record) => seen(&record),
                Err(problem) => self.fail(&problem),
            }
            self.lines += 1;
        }
    }

    fn fail(&mut self, problem: &str) {
        self.partial = Vec::new();
        self.fault = Some(JournalFault { line: self.lines + 1, problem: problem.to_owned() });
    }

    fn check(&mut self, line: &[u8]) -> Result<Record, String> {
        let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
        let record: Record =
            serde_json::from_str(text).map_err(|e| format!("is not a journal record: {e}"))?;
        let suffix = format!("{HASH_FIELD}{}\"}}", record.hash);
        let body = text.strip_suffix(&suffix).ok_or("does not end in its hash")?;
        if record.hash != Digest::of(&[TAG, body.as_bytes()]) {
            return Err("was changed: its hash does not fit its content".to_owned());
        }
        if record.seq != self.summary.records {
            let expected = self.summary.records;
            return Err(format!("has number {}, expected {expected}", record.seq));
        }
        if record.prev != self.summary.head {
            return Err("does not continue the line before it".to_owned());
        }
        self.summary.records += 1;
        self.summary.head = record.hash;
        self.summary.first_unix_ms.get_or_insert(record.time_unix_ms);
        self.summary.last_unix_ms = Some(record.time_unix_ms);
        Ok(record)
    }

    /// The verdict over all pieces.
    pub(crate) fn finish(mut self) -> Result<JournalSummary, JournalFault> {
        if self.fault.is_none() && !self.partial.is_empty() {
            self.fail("is cut short: it does not end in a newline");
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.summary),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let journal = Journal::create(&path).unwrap();
        journal.append_at(1, "plan.fixed", json!({"b": 1.5, "a": "x\n\"y\""})).unwrap();
        journal.append_at(2, "stage.started", json!(null)).unwrap();
        journal.append_at(3, "stage.ended", json!({"ok": true})).unwrap();
        (dir, path)
    }

    fn check(bytes: &[u8]) -> Result<u64, u64> {
        let mut checker = JournalChecker::default();
        // In awkward pieces: the answer must not depend on how the bytes arrive.
        for piece in bytes.chunks(7) {
            checker.push(piece, |_| {});
        }
        checker.finish().map(|s| s.records).map_err(|f| f.line)
    }

    #[test]
    fn a_written_journal_verifies_and_continues() {
        let (_dir, path) = written();
        let summary = verify_journal(&path).unwrap().unwrap();
        assert_eq!(
            (summary.records, summary.first_unix_ms, summary.last_unix_ms),
            (3, Some(1), Some(3))
        );
        let journal = Journal::resume(&path).unwrap();
        assert_eq!(journal.append_at(4, "resumed", json!({})).unwrap().seq, 3);
        assert_eq!(verify_journal(&path).unwrap().unwrap().records, 4);
        assert!(Journal::create(&path).is_err(), "an existing journal is never overwritten");
    }

    #[test]
    fn any_changed_byte_names_its_line() {
        let (_dir, path) = written();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(check(&bytes), Ok(3));
        let mut line = 1;
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x01;
            let found = check(&changed).expect_err("a changed byte");
            // A newline turned into something else joins two lines; the first of them is named.
            assert_eq!(found, line, "byte {position}");
            if bytes[position] == b'\n' {
                line += 1;
            }
        }
    }

    #[test]
    fn lines_removed_repeated_swapped_or_cut_are_named() {
        let (_dir, path) = written();
        let bytes = std::fs::read(path).unwrap();
        let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
        assert_eq!(check(&[lines[1], lines[2]].concat()), Err(1));
        assert_eq!(check(&[lines[0], lines[2]].concat()), Err(2));
        assert_eq!(check(&[lines[0], lines[0]].concat()), Err(2));
        assert_eq!(check(&[lines[0], lines[2], lines[1]].concat()), Err(2));
        assert_eq!(check(&bytes[..bytes.len() - 1]), Err(3));
        // Dropping the tail leaves a shorter but whole chain: the manifest covers that.
        assert_eq!(check(lines[0]), Ok(1));
        assert_eq!(check(&vec![b'x'; LINE_BYTES + 2]), Err(1));
    }
}
