//! Measurement files: CSV with a header, or JSON.
//!
//! CSV has the columns `from,to,p50_us,jitter_us,sent,lost` in any order; JSON is a list of objects with those
//! keys, or an object that holds such a list under `pairs` (as `qbindctl measure --output json` prints it,
//! where further keys describe each pair). What cannot be a measurement is refused with file, line and key.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use thiserror::Error;

use crate::binomial::MAX_SENT;
use crate::class::PairMeasurement;

mod csv;
mod json;

/// A larger file is not a table of regions.
const MAX_BYTES: u64 = 8 << 20;
/// Ninety regions have fewer directed pairs.
const MAX_PAIRS: usize = 8_100;
/// A minute: longer round trips are not answers.
const MAX_US: u64 = 60_000_000;
/// The columns of a measurement file.
pub(crate) const KEYS: [&str; 6] = ["from", "to", "p50_us", "jitter_us", "sent", "lost"];

/// Why a measurement file was refused: its author's fault, but for [`ReadError::Open`].
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {file}: check that it exists and is readable")]
    Open {
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The text as a whole is not a measurement file.
    #[error("{file}: {reason}")]
    Shape {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// One line is wrong.
    #[error("{file}, line {line}: {reason}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// One value is wrong.
    #[error("{file}, line {line}, key {key}: {reason}")]
    Value {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column or key.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Reads a measurement file.
///
/// # Errors
/// See [`ReadError`]; nothing is returned of a file that is wrong anywhere.
pub fn read(path: &Path) -> Result<Vec<PairMeasurement>, ReadError> {
    let file = path.display().to_string();
    let open = |source| ReadError::Open { file: file.clone(), source };
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(open)?;
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(open)?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("longer than {MAX_BYTES} bytes: not a table of directed pairs");
        return Err(ReadError::Shape { file, reason });
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(ReadError::Shape { file, reason: "not UTF-8 text: save it as UTF-8".into() });
    };
    read_text(&file, &text)
}

/// Reads the text of a measurement file; `file` is its name in errors.
///
/// # Errors
/// As [`read`].
pub fn read_text(file: &str, text: &str) -> Result<Vec<PairMeasurement>, ReadError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = match text.trim_start().chars().next() {
        None => {
            let reason = format!("empty: expected the header {}", KEYS.join(","));
            return Err(ReadError::Shape { file: file.into(), reason });
        }
        Some('[' | '{') => json::rows(file, text)?,
        Some(_) => csv::rows(file, text)?,
    };
    validate(file, &rows)
}

/// The six fields of one pair as they stand in the file, in the order of [`KEYS`].
pub(crate) struct Row {
    line: usize,
    cells: [String; 6],
    longest_burst: Option<u64>,
}

fn validate(file: &str, rows: &[Row]) -> Result<Vec<PairMeasurement>, ReadError> {
    let mut seen = std::collections::BTreeMap::new();
    let mut pairs = Vec::with_capacity(rows.len());
    for row in rows {
        let wrong = |key: usize, reason: String| ReadError::Value {
            file: file.into(),
            line: row.line,
            key: KEYS[key].into(),
            reason,
        };
        if pairs.len() == MAX_PAIRS {
            let reason = format!("more than {MAX_PAIRS} pairs");
            return Err(ReadError::Line { file: file.into(), line: row.line, reason });
        }
        let name = |key: usize| {
            let name = row.cells[key].trim();
            let is_usable = !name.is_empty()
                && name.chars().count() <= 64
                && !name.chars().any(char::is_control);
            if is_usable {
                return Ok(name.to_owned());
            }
            Err(wrong(key, "a region's name has 1 to 64 printable characters".into()))
        };
        let number = |key: usize, most: u64| {
            let text = row.cells[key].trim();
            let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse::<u64>() {
                Ok(value) if is_whole && value <= most => Ok(value),
                Ok(_) if is_whole => Err(wrong(key, format!("{text} is above {most}"))),
                _ => {
                    let shown: String = text.chars().take(40).collect();
                    Err(wrong(key, format!("`{shown}` is not a whole number from 0 to {most}")))
                }
            }
        };
        let pair = PairMeasurement {
            from: name(0)?,
            to: name(1)?,
            p50_us: number(2, MAX_US)?,
            jitter_us: number(3, MAX_US)?,
            sent: number(4, MAX_SENT)?,
            lost: number(5, MAX_SENT)?,
            longest_burst: row.longest_burst,
        };
        if pair.from == pair.to {
            return Err(wrong(1, format!("{} is a pair of a region with itself", pair.name())));
        }
        if pair.lost > pair.sent {
            return Err(wrong(5, format!("{} lost of {} sent", pair.lost, pair.sent)));
        }
        if pair.p50_us == 0 && pair.lost < pair.sent {
            return Err(wrong(2, "a round trip cannot take no time at all".into()));
        }
        if let Some(first) = seen.insert((pair.from.clone(), pair.to.clone()), row.line) {
            return Err(wrong(0, format!("{} is given already on line {first}", pair.name())));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
