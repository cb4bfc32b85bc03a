//! `manifest.json`: every file with size and digest, and the Merkle root over them.

use crate::{
    digest::Digest,
    layout,
    merkle::{Leaf, merkle_root},
};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "qbind.manifest/v1";

/// One file of the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Path inside the bundle.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA3-256.
    pub sha3_256: Digest,
}

/// The content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `qbind.manifest/v1`.
    pub schema: String,
    /// Root over `files`.
    pub merkle_root: Digest,
    /// Sorted by path; without the manifest itself and the signed envelopes.
    pub files: Vec<ManifestFile>,
}

impl Manifest {
    /// A manifest over files that are sorted by path.
    pub fn new(files: Vec<ManifestFile>) -> Self {
        let merkle_root = root(&files);
        Self { schema: SCHEMA.to_owned(), merkle_root, files }
    }

    /// Total bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The one way to write it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers serialise");
        bytes.push(b'\n');
        bytes
    }

    /// Reads one and checks everything it can be held to without the files.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.schema != SCHEMA {
            return Err(format!("schema is {:?}, expected {SCHEMA:?}", manifest.schema));
        }
        if let Some(pair) = manifest.files.windows(2).find(|pair| pair[0].path >= pair[1].path) {
            return Err(format!("{} does not sort before {}", pair[0].path, pair[1].path));
        }
        for file in &manifest.files {
            layout::check_name(&file.path).map_err(|e| format!("{:?} {e}", file.path))?;
            if layout::ENVELOPE.contains(&file.path.as_str()) {
                return Err(format!("it lists {}, which speaks about it", file.path));
            }
        }
        if let Some(missing) =
            layout::REQUIRED.iter().find(|name| !manifest.files.iter().any(|f| f.path == **name))
        {
            return Err(format!("it does not list {missing}"));
        }
        if root(&manifest.files) != manifest.merkle_root {
            return Err("its Merkle root is not that of its files".to_owned());
        }
        if manifest.to_bytes() != bytes {
            return Err("it is not written in the one way there is".to_owned());
        }
        Ok(manifest)
    }
}

fn root(files: &[ManifestFile]) -> Digest {
    merkle_root(files.iter().map(|file| Leaf {
        path: &file.path,
        size: file.size,
        digest: file.sha3_256,
    }))
}
