//! Reads the three places an operator can set a knob in.

use crate::{cli::Cli, toml_file};
use qbind_profile::{
    ConfigError, KEYS, NodeConfig, ResolveError, Resolved, Setting, Source, Value, resolve,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Variables that are no knobs but belong to us.
const OTHER_VARIABLES: &[&str] =
    &[FILE_VARIABLE, "QBIND_LOG", "QBIND_KEYSTORE_PASSPHRASE", "QBIND_HSM_PIN"];
/// The file read where `--config` is absent, if it exists: so a provisioned host needs few flags.
const DEFAULT_FILE: &str = "/etc/qbind/node.toml";
/// Names another file than [`DEFAULT_FILE`], which then must exist; empty: none is read.
const FILE_VARIABLE: &str = "QBIND_CONFIG";
/// The other name of `QBIND_HTTP_ADDR`, known to operators from earlier documents.
const HTTP_ADDR_ALIAS: &str = "QBIND_METRICS_HTTP_ADDR";

/// The environment variables a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// This process's.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with("QBIND_"))
            .collect()
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// The node's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}; check --config and QBIND_CONFIG", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("{} has more than {limit} bytes; --config must name a node.toml", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {message}; the file must be TOML", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value of the wrong kind.
    #[error("{}:{line}: {key} is of type {found}; write {shape} ({expects})", path.display())]
    Type {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Which key.
        key: &'static str,
        /// The kind found.
        found: &'static str,
        /// What text the key accepts.
        expects: &'static str,
        /// How it is written in TOML.
        shape: &'static str,
    },
    /// A variable that is not text.
    #[error("environment variable {name} is not UTF-8 text; unset it or correct it")]
    NotText {
        /// Which variable.
        name: String,
    },
    /// Two names of one variable with different values.
    #[error("QBIND_HTTP_ADDR and {HTTP_ADDR_ALIAS} differ; unset one of them")]
    HttpAddrTwice,
    /// A key or value that is not known.
    #[error(transparent)]
    Setting(#[from] ResolveError),
    /// A configuration no node may start with.
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

/// Settings with their origins, checked by [`Configuration::validate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The settings and who made them.
    pub resolved: Resolved,
    /// What deserves a second look.
    pub warnings: Vec<String>,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
}

impl Configuration {
    /// Reads file, environment and flags; does not yet check what they add up to.
    ///
    /// # Errors
    /// The operator's fault: names the file and line, variable or flag.
    pub fn read(cli: &Cli, environment: &Environment) -> Result<Self, ConfigurationError> {
        Self::read_beside(cli, environment, Path::new(DEFAULT_FILE))
    }

    /// As [`Configuration::read`], with `default` in the place of `/etc/qbind/node.toml`.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    pub fn read_beside(
        cli: &Cli,
        environment: &Environment,
        default: &Path,
    ) -> Result<Self, ConfigurationError> {
        let file = file(cli, environment, default);
        let mut settings = match &file {
            Some(path) => toml_file::load(path)?,
            None => Vec::new(),
        };
        let mut warnings = Vec::new();
        settings.extend(from_environment(environment, &mut warnings)?);
        settings.extend(cli.knobs.settings.iter().cloned());
        let resolved = resolve(&settings)?;
        // The passphrase's variable may have any name.
        warnings.retain(|name| *name != resolved.config.passphrase_env);
        let warnings = warnings
            .into_iter()
            .map(|name| format!("environment variable {name} is none of this node's; ignored"))
            .collect();
        Ok(Self { resolved, warnings, file })
    }

    /// Checks the settings and collects warnings.
    ///
    /// # Errors
    /// The operator's fault: the first rule broken.
    pub fn validate(&mut self) -> Result<(), ConfigurationError> {
        let warnings = self.resolved.validate()?;
        self.warnings.extend(warnings.iter().map(ToString::to_string));
        Ok(())
    }

    /// The knobs.
    pub fn config(&self) -> &NodeConfig {
        &self.resolved.config
    }

    /// As `node.toml`, each key with a comment that says who set it.
    pub fn to_toml(&self) -> String {
        let mut text = match &self.file {
            Some(file) => format!("# file {}\n", file.display()),
            None => String::new(),
        };
        for key in KEYS {
            let value = self.resolved.config.get(key.name).unwrap_or(Value::Unset);
            let origin = &self.resolved.origin[key.name];
            let line = match value {
                Value::Unset => format!("# {} is unset", key.name),
                value => format!("{} = {}", key.name, toml_value(&value)),
            };
            text.push_str(&format!("{line}  # {} {}\n", origin.source.as_str(), origin.place));
        }
        text
    }
}

/// The answer of `/v1/config` and `--print-config --output json`.
pub(crate) fn to_json(resolved: &Resolved) -> serde_json::Value {
    let config: serde_json::Map<String, serde_json::Value> = KEYS
        .iter()
        .map(|key| {
            let value = resolved.config.get(key.name).unwrap_or(Value::Unset);
            (key.name.to_string(), json_value(&value))
        })
        .collect();
    let origin: serde_json::Map<String, serde_json::Value> = resolved
        .origin
        .iter()
        .map(|(key, origin)| ((*key).to_string(), origin.source.as_str().into()))
        .collect();
    json!({"schema": "qbind.config/v1", "config": config, "origin": origin})
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Unset => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Text(value) => value.as_str().into(),
        Value::List(values) => values.iter().map(json_value).collect(),
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::List(values) => {
            let items: Vec<String> = values.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Text(text) => toml::Value::String(text.clone()).to_string(),
        other => other.to_string(),
    }
}

/// The file to read: named by the flag, else by the variable, else the default one if it is there.
fn file(cli: &Cli, environment: &Environment, default: &Path) -> Option<PathBuf> {
    if let Some(file) = &cli.config {
        return Some(file.clone());
    }
    match environment.0.get(FILE_VARIABLE) {
        Some(none) if none.is_empty() => None,
        Some(file) => Some(PathBuf::from(file)),
        // One that cannot be looked at is an error when it is read, not a file that is not there.
        None => match std::fs::metadata(default) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            _ => Some(default.to_owned()),
        },
    }
}

fn from_environment(
    environment: &Environment,
    unknown: &mut Vec<String>,
) -> Result<Vec<Setting>, ConfigurationError> {
    let mut settings = Vec::new();
    let text = |name: &str| -> Result<Option<String>, ConfigurationError> {
        let Some(value) = environment.0.get(name) else { return Ok(None) };
        let text = value.to_str().ok_or(ConfigurationError::NotText { name: name.into() })?;
        Ok(Some(text.to_string()))
    };
    if let (Some(one), Some(other)) = (text("QBIND_HTTP_ADDR")?, text(HTTP_ADDR_ALIAS)?)
        && one != other
    {
        return Err(ConfigurationError::HttpAddrTwice);
    }
    for name in environment.0.keys() {
        let key = match name.as_str() {
            HTTP_ADDR_ALIAS => Some("http_addr"),
            name => KEYS.iter().map(|k| k.name).find(|key| variable(key) == name),
        };
        match key {
            Some(key) => settings.push(Setting {
                source: Source::Env,
                place: name.clone(),
                key: key.to_string(),
                text: text(name)?.unwrap_or_default(),
            }),
            None if !OTHER_VARIABLES.contains(&name.as_str()) => unknown.push(name.clone()),
            None => {}
        }
    }
    Ok(settings)
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("QBIND_{}", key.to_ascii_uppercase())
}
