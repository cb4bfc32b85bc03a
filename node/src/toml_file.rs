//! `node.toml`: the same keys as the flags, each with the line it stands on.

use crate::configuration::ConfigurationError;
use qbind_profile::{KEYS, Setting, Shape, Source};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Largest file; a full one has about 5 KB.
const MAX_BYTES: u64 = 1024 * 1024;

/// Keys that are paths; in a file they are relative to the file's folder.
const PATHS: &[&str] = &[
    "data_dir",
    "genesis_path",
    "asn_table_path",
    "signer_keystore_path",
    "hsm_config_path",
    "snapshot_dir",
    "fast_sync_snapshot_dir",
];

/// Reads the settings of a file.
pub(crate) fn load(path: &Path) -> Result<Vec<Setting>, ConfigurationError> {
    let fault = |source| ConfigurationError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(fault)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigurationError::TooLarge { path: path.into(), limit: MAX_BYTES });
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "not UTF-8 text");
        ConfigurationError::Read { path: path.into(), source }
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, ConfigurationError> {
    let line_at = |offset: usize| {
        text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
    };
    let table = DeTable::parse(text).map_err(|e| ConfigurationError::Syntax {
        path: path.into(),
        line: e.span().map_or(1, |s| line_at(s.start)),
        message: e.message().to_string(),
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_at(key.span().start);
        let name = key.get_ref().to_string();
        let known = KEYS.iter().find(|k| k.name == name);
        let text = match known {
            Some(known) => scalar_or_list(value.get_ref(), known.shape).ok_or_else(|| {
                ConfigurationError::Type {
                    path: path.into(),
                    line,
                    key: known.name,
                    found: value.get_ref().type_str(),
                    expects: known.expects,
                    shape: shape_word(known.shape),
                }
            })?,
            // Not a knob: the resolver refuses it by name, whatever its value.
            None => String::new(),
        };
        let text = match known {
            Some(known) if PATHS.contains(&known.name) && is_path(&text) => beside(path, &text),
            _ => text,
        };
        let place = format!("{}:{line}", path.display());
        settings.push(Setting { source: Source::File, place, key: name, text });
    }
    Ok(settings)
}

/// Not unset, and not the address of a server.
fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains("://")
}

/// `text` as a path relative to the folder of `file`.
fn beside(file: &Path, text: &str) -> String {
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    folder.join(text).to_string_lossy().into_owned()
}

fn shape_word(shape: Shape) -> &'static str {
    match shape {
        Shape::Bool => "true or false, without quotes",
        Shape::Integer => "a whole number, without quotes",
        Shape::Text => "a text in quotes",
        Shape::List => "a list in brackets",
    }
}

/// The value as the text that flags accept, if it has the right shape.
fn scalar_or_list(value: &DeValue<'_>, shape: Shape) -> Option<String> {
    match (shape, value) {
        (Shape::Bool, DeValue::Boolean(value)) => Some(value.to_string()),
        (Shape::Integer, DeValue::Integer(number)) => integer(number),
        (Shape::Text, DeValue::String(text)) => Some(text.to_string()),
        (Shape::List, DeValue::Array(items)) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    // A comma inside would be read as two items.
                    DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                    DeValue::Integer(number) => integer(number),
                    _ => None,
                })
                .collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

fn integer(number: &toml::de::DeInteger<'_>) -> Option<String> {
    u64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
}
