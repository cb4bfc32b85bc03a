//! Measurement files in JSON: a list of pairs, or an object with such a list.

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{KEYS, ReadError, Row};

pub(super) fn rows(file: &str, text: &str) -> Result<Vec<Row>, ReadError> {
    let parse = |error: serde_json::Error| ReadError::Line {
        file: file.into(),
        line: error.line(),
        reason: format!("not a list of objects with {}: {error}", KEYS.join(", ")),
    };
    // A measurement describes each pair with more than the six keys; a plain list holds just them.
    let (entries, is_measurement): (Vec<&RawValue>, bool) = if text.trim_start().starts_with('[') {
        (serde_json::from_str(text).map_err(parse)?, false)
    } else {
        let object: Fields = serde_json::from_str(text).map_err(parse)?;
        let Some((_, pairs)) = object.0.iter().find(|(key, _)| key == "pairs") else {
            let reason = "an object without `pairs`: give a list of pairs".into();
            return Err(ReadError::Shape { file: file.into(), reason });
        };
        (serde_json::from_str(pairs.get()).map_err(parse)?, true)
    };
    entries.into_iter().map(|entry| row(file, text, entry, is_measurement)).collect()
}

fn row(file: &str, text: &str, entry: &RawValue, is_measurement: bool) -> Result<Row, ReadError> {
    let line = line_of(text, entry);
    let fields: Fields = serde_json::from_str(entry.get()).map_err(|error| {
        // The parser counts lines from the entry's own start.
        let line = line + error.line().saturating_sub(1);
        ReadError::Line { file: file.into(), line, reason: format!("not a pair: {error}") }
    })?;
    let wrong = |at: Option<&RawValue>, key: &str, reason: &str| ReadError::Value {
        file: file.into(),
        line: at.map_or(line, |value| line_of(text, value)),
        key: key.into(),
        reason: reason.into(),
    };
    let mut cells: [Option<String>; 6] = Default::default();
    let mut longest_burst = None;
    for (key, value) in &fields.0 {
        let Some(at) = KEYS.iter().position(|known| known == key) else {
            if key == "longest_burst" {
                longest_burst = serde_json::from_str(value.get())
                    .map_err(|_| wrong(Some(value), key, "not a whole number"))?;
            } else if !is_measurement {
                let reason = format!("unknown key; expected {}", KEYS.join(", "));
                return Err(wrong(Some(value), key, &reason));
            }
            continue;
        };
        cells[at] = Some(if at < 2 {
            serde_json::from_str(value.get())
                .map_err(|_| wrong(Some(value), key, "not a string"))?
        } else {
            value.get().to_owned()
        });
    }
    if let Some(at) = cells.iter().position(Option::is_none) {
        return Err(wrong(None, KEYS[at], "missing"));
    }
    Ok(Row { line, cells: cells.map(Option::unwrap_or_default), longest_burst })
}

/// The line on which a value that was borrowed from `text` starts.
fn line_of(text: &str, value: &RawValue) -> usize {
    let offset = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// An object's keys and values in order, each key at most once.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &RawValue)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if fields.len() == 64 {
                        return Err(A::Error::custom("more than 64 keys"));
                    }
                    if fields.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom(format_args!("key {key} is given twice")));
                    }
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
