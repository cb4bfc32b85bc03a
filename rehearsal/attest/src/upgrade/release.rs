//! The release manifest: what was built from what.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const BYTES: u64 = 4 * 1024 * 1024;

/// The source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The tag, if any.
    #[serde(default)]
    pub tag: String,
    /// `clean` or `dirty`.
    pub tree_state: String,
}

/// The genesis file the release is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisRef {
    /// Where it lies in the release.
    pub path_hint: String,
    /// `0x` and 64 hexadecimal digits.
    pub sha3_256: String,
    /// Its chain.
    pub chain_id: String,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Such as `qbind-node`.
    pub name: String,
    /// Target triple, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// `0x` and 64 hexadecimal digits.
    pub sha3_256: String,
}

/// A container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its tag.
    pub tag: String,
    /// Its digest.
    pub digest: String,
}

/// How it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The compiler's version.
    pub rust_toolchain: String,
    /// Cargo's profile.
    pub cargo_profile: String,
    /// The script.
    #[serde(default)]
    pub build_script: String,
}

/// A list of parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbom {
    /// Of which artifact.
    pub artifact: String,
    /// Such as `cyclonedx-json`.
    pub format: String,
    /// Where it lies in the release.
    pub path_hint: String,
}

/// What was built from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseManifest {
    /// The chain it is for.
    pub chain_id: String,
    /// The protocol's version.
    pub protocol_version: String,
    /// The source.
    pub git: Git,
    /// The genesis file.
    pub genesis: GenesisRef,
    /// The programs.
    pub binaries: Vec<Binary>,
    /// The images.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// How it was built.
    pub build: Build,
    /// The lists of parts.
    #[serde(default)]
    pub sbom: Vec<Sbom>,
}

/// Why a file is no release manifest.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// It cannot be read.
    #[error("cannot read the release manifest {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not one.
    #[error("{} is no release manifest: {detail}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// An envelope's name of a target: `x86_64-unknown-linux-gnu` is `linux-x86_64`.
pub fn platform_of(target: &str) -> Option<String> {
    let mut parts = target.split('-');
    let (cpu, _vendor, system) = (parts.next()?, parts.next()?, parts.next()?);
    (!cpu.is_empty() && !system.is_empty()).then(|| format!("{system}-{cpu}"))
}

impl ReleaseManifest {
    /// Reads and checks a release manifest.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn load(path: &Path) -> Result<Self, ReleaseError> {
        let io = |source| ReleaseError::Io { path: path.to_owned(), source };
        let malformed = |detail| ReleaseError::Malformed { path: path.to_owned(), detail };
        if fs::metadata(path).map_err(io)?.len() > BYTES {
            return Err(malformed(format!("it is larger than {BYTES} bytes")));
        }
        let bytes = fs::read(path).map_err(io)?;
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        manifest.check().map_err(malformed)?;
        Ok(manifest)
    }

    /// What every release manifest must be.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        if !is_hex(&self.git.commit, 40) {
            return Err("git.commit is not 40 hexadecimal digits".to_owned());
        }
        if !["clean", "dirty"].contains(&self.git.tree_state.as_str()) {
            return Err("git.tree_state is neither clean nor dirty".to_owned());
        }
        let digests = self.binaries.iter().map(|b| &b.sha3_256).chain([&self.genesis.sha3_256]);
        for digest in digests {
            if !digest.strip_prefix("0x").is_some_and(|d| is_hex(d, 64)) {
                return Err(format!("{digest:?} is not 0x and 64 hexadecimal digits"));
            }
        }
        if let Some(other) = self.binaries.iter().find(|b| platform_of(&b.target).is_none()) {
            return Err(format!("{:?} is no target triple", other.target));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.binaries.iter().find(|b| !seen.insert((&b.name, &b.target))) {
            return Err(format!("{} for {} is listed twice", twice.name, twice.target));
        }
        Ok(())
    }

    /// The programs of this name, as an envelope lists them: platform to bare digest.
    pub fn hashes_of(&self, name: &str) -> BTreeMap<String, String> {
        let ours = self.binaries.iter().filter(|binary| binary.name == name);
        let pair = |binary: &Binary| {
            let digest = binary.sha3_256.trim_start_matches("0x").to_lowercase();
            Some((platform_of(&binary.target)?, digest))
        };
        ours.filter_map(pair).collect()
    }

    /// The file: two spaces of indentation and a final newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts") + "\n"
    }
}
