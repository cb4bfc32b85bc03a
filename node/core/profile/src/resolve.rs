//! Which source wins, and who set what.

use crate::{
    config::{KEYS, NodeConfig, SetError},
    invariants::{InvariantError, Warning, validate_mainnet_invariants, warnings},
    preset::{Profile, of_role},
    ranges::{RangeError, check_ranges},
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::fmt;
use qbind_types::Network;

/// Where a value comes from, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The preset.
    Profile,
    /// `node.toml`.
    File,
    /// A `QBIND_*` variable.
    Env,
    /// The command line.
    Flag,
}

impl Source {
    /// One word, as in `/v1/config`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::File => "file",
            Self::Env => "env",
            Self::Flag => "flag",
        }
    }
}

/// One key set by the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What kind of place set it.
    pub source: Source,
    /// The very place: `node.toml:4`, `QBIND_ENV`, `--env`.
    pub place: String,
    /// Which key.
    pub key: String,
    /// To what.
    pub text: String,
}

/// Who set a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What kind of place.
    pub source: Source,
    /// The very place, or the profile's name.
    pub place: String,
}

/// A configuration, and who set each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the node runs with.
    pub config: NodeConfig,
    /// One entry for every key.
    pub origin: BTreeMap<&'static str, Origin>,
}

/// A setting could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveError {
    /// Where it stands.
    pub place: String,
    /// What is wrong with it.
    pub error: SetError,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
    }
}

impl core::error::Error for ResolveError {}

/// A configuration no node may start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// MainNet forbids it.
    Invariant(InvariantError),
    /// It makes no sense anywhere.
    Range(RangeError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invariant(error) => error.fmt(f),
            Self::Range(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Applies settings over the preset of the profile and the role they name: file, then environment, then flags;
/// within one source the later one wins.
///
/// Where no profile is named, the network decides it, so that `--env mainnet` alone means the
/// MainNet profile with all its rules; where neither is named it is devnet.
///
/// # Errors
/// The operator's fault: an unknown key, or text a key does not accept.
pub fn resolve(settings: &[Setting]) -> Result<Resolved, ResolveError> {
    let mut ordered: Vec<&Setting> = settings.iter().collect();
    ordered.sort_by_key(|s| s.source);
    let fault = |setting: &Setting, error| ResolveError { place: setting.place.clone(), error };
    // Everything is read once, so that a bad value is an error even where a stronger source wins.
    let mut probe = Profile::Devnet.preset();
    let mut named: Option<Profile> = None;
    let mut network: Option<Network> = None;
    for setting in &ordered {
        probe.set(&setting.key, &setting.text).map_err(|e| fault(setting, e))?;
        match setting.key.as_str() {
            "profile" => named = Some(probe.profile),
            "env" => network = Some(probe.env),
            _ => {}
        }
    }
    let profile = named.or(network.map(Profile::of_network)).unwrap_or(Profile::Devnet);
    let preset = profile.preset();
    // The strongest setting was the last one applied.
    let mut config = of_role(preset.clone(), probe.role);
    let of_preset = |key: &'static str| {
        let is_profiles = config.get(key) == preset.get(key);
        let place = match is_profiles {
            true => profile.as_str().into(),
            false => format!("{} with role {}", profile.as_str(), probe.role),
        };
        (key, Origin { source: Source::Profile, place })
    };
    let mut origin: BTreeMap<&'static str, Origin> =
        KEYS.iter().map(|key| of_preset(key.name)).collect();
    for setting in &ordered {
        config.set(&setting.key, &setting.text).map_err(|e| fault(setting, e))?;
        if let Some(entry) = origin.get_mut(setting.key.as_str()) {
            *entry = Origin { source: setting.source, place: setting.place.clone() };
        }
    }
    beside_the_data(&mut config, &mut origin);
    Ok(Resolved { config, origin })
}

/// Snapshots go beside the data where nobody says otherwise.
fn beside_the_data(config: &mut NodeConfig, origin: &mut BTreeMap<&'static str, Origin>) {
    let (Some(data_dir), None) = (&config.data_dir, &config.snapshot_dir) else { return };
    config.snapshot_dir = Some(alloc::format!("{}/snapshots", data_dir.trim_end_matches('/')));
    if let Some(entry) = origin.get_mut("snapshot_dir") {
        entry.place = "data_dir".into();
    }
}

impl Resolved {
    /// Checks what the node's network demands, then what any node needs.
    ///
    /// # Errors
    /// The operator's fault: the first rule broken.
    pub fn validate(&self) -> Result<Vec<Warning>, ConfigError> {
        let config = &self.config;
        // Either word means MainNet: a long form that names only the network gets the same rules.
        if config.profile == Profile::Mainnet || config.env == Network::Mainnet {
            validate_mainnet_invariants(config).map_err(ConfigError::Invariant)?;
        }
        check_ranges(config).map_err(ConfigError::Range)?;
        Ok(warnings(config))
    }
}
