//! The small CSV of measurement files: commas, optional double quotes, one record a line.

use super::{KEYS, ReadError, Row};

/// Columns that `qbindctl measure` writes beside them, which the mapping does not need.
const FURTHER: [&str; 15] = [
    "min_us",
    "p90_us",
    "p95_us",
    "p99_us",
    "max_us",
    "rfc3550_us",
    "pdv_us",
    "stddev_us",
    "loss_bps",
    "loss_low_ppm",
    "loss_high_ppm",
    "late",
    "duplicates",
    "reordered",
    "longest_burst",
];

pub(super) fn rows(file: &str, text: &str) -> Result<Vec<Row>, ReadError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim().is_empty());
    let Some((line, header)) = lines.next() else { return Ok(Vec::new()) };
    let (columns, count) = columns(file, line, header)?;
    lines
        .map(|(line, record)| {
            let wrong = |reason| ReadError::Line { file: file.into(), line, reason };
            let fields = split(record).map_err(|reason| wrong(reason.into()))?;
            if fields.len() != count {
                return Err(wrong(format!("{} fields, expected {count}", fields.len())));
            }
            let cells = columns.map(|column| fields[column].clone());
            Ok(Row { line, cells, longest_burst: None })
        })
        .collect()
}

/// Where each of [`KEYS`] stands, and how many columns there are.
fn columns(file: &str, line: usize, header: &str) -> Result<([usize; 6], usize), ReadError> {
    let expected = KEYS.join(",");
    let wrong = |reason| ReadError::Line { file: file.into(), line, reason };
    let names = split(header).map_err(|reason| wrong(reason.into()))?;
    let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
    for (at, name) in names.iter().enumerate() {
        let key = name.to_string();
        if !KEYS.contains(name) && !FURTHER.contains(name) {
            let reason = format!("unknown column; the header is {expected}");
            return Err(ReadError::Value { file: file.into(), line, key, reason });
        }
        if names[..at].contains(name) {
            let reason = "given twice".into();
            return Err(ReadError::Value { file: file.into(), line, key, reason });
        }
    }
    let mut columns = [0; 6];
    for (column, key) in columns.iter_mut().zip(KEYS) {
        let found = names.iter().position(|name| *name == key);
        *column = found.ok_or_else(|| ReadError::Value {
            file: file.into(),
            line,
            key: key.into(),
            reason: format!("missing column; the header is {expected}"),
        })?;
    }
    Ok((columns, names.len()))
}

fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = vec![String::new()];
    let mut rest = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = rest.next() {
        let field = fields.last_mut().expect("never empty");
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' if is_quoted => {
                is_quoted = false;
                if !matches!(rest.peek(), None | Some(',')) {
                    return Err("text after a closing quote");
                }
            }
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(String::new()),
            _ => field.push(c),
        }
    }
    if is_quoted { Err("a quote is not closed") } else { Ok(fields) }
}
