//! `trust.yaml`: whose signature counts.

use crate::{digest::Digest, dsse::key_id};
use qbind_types::PublicKey;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const SCHEMA: &str = "qbind.trust/v1";
const BYTES: u64 = 4 * 1024 * 1024;

/// A key whose signature counts, and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// Name of the key.
    pub name: String,
    /// Person or role who holds it.
    pub operator: String,
    /// Organisation they act for.
    pub organisation: String,
    /// The ML-DSA-44 public key, 2,624 hexadecimal digits.
    pub public_key: PublicKey,
}

impl TrustedKey {
    /// The id under which the key signs.
    pub fn id(&self) -> Digest {
        key_id(&self.public_key)
    }
}

/// The content of a trust file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// `qbind.trust/v1`.
    pub schema: String,
    /// The keys, each once.
    pub keys: Vec<TrustedKey>,
}

/// Why a trust file cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read the trust file {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not YAML of this schema.
    #[error("the trust file {} is not understood: {detail}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Line, column and reason.
        detail: String,
    },
}

impl Trust {
    /// A trust file over these keys.
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        Self { schema: SCHEMA.to_owned(), keys }
    }

    /// Reads a trust file.
    ///
    /// # Errors
    /// It cannot be read, or is not of this schema; says the line.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        let io = |source| TrustError::Io { path: path.to_owned(), source };
        let malformed = |detail| TrustError::Malformed { path: path.to_owned(), detail };
        if fs::metadata(path).map_err(io)?.len() > BYTES {
            return Err(malformed(format!("it is larger than {BYTES} bytes")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        Self::parse(&text).map_err(malformed)
    }

    /// Reads the text of a trust file.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trust: Self = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        if trust.schema != SCHEMA {
            return Err(format!("schema is {:?}, expected {SCHEMA:?}", trust.schema));
        }
        if trust.keys.is_empty() {
            return Err("it trusts no key".to_owned());
        }
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for key in &trust.keys {
            if !names.insert(key.name.as_str()) {
                return Err(format!("the name {:?} appears twice", key.name));
            }
            if !ids.insert(key.id()) {
                return Err(format!("the key of {:?} appears twice", key.name));
            }
        }
        Ok(trust)
    }

    /// The file as YAML.
    pub fn to_yaml(&self) -> String {
        // A JSON string is a YAML string in double quotes, whatever is in it.
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let mut yaml = format!("schema: {SCHEMA}\nkeys:\n");
        for key in &self.keys {
            yaml += &format!(
                "  - name: {}\n    operator: {}\n    organisation: {}\n    public_key: {}\n",
                quote(&key.name),
                quote(&key.operator),
                quote(&key.organisation),
                quote(&hex::encode(key.public_key.as_bytes())),
            );
        }
        yaml
    }

    /// The trusted key of that id.
    pub fn find(&self, id: Digest) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tests::key;

    fn trusted(n: u8, name: &str) -> TrustedKey {
        TrustedKey {
            name: name.to_owned(),
            operator: "Op \"x\": #1\n".to_owned(),
            organisation: "- Org".to_owned(),
            public_key: key(n).public_key(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trust = Trust::new(vec![trusted(1, "a"), trusted(2, "b: c")]);
        assert_eq!(Trust::parse(&trust.to_yaml()).unwrap(), trust);
    }

    #[test]
    fn doubtful_trust_is_refused() {
        let two = |a, b| Trust::new(vec![a, b]).to_yaml();
        let good = Trust::new(vec![trusted(1, "a")]).to_yaml();
        for (text, expected) in [
            (two(trusted(1, "a"), trusted(1, "b")), "the key of \"b\" appears twice"),
            (two(trusted(1, "a"), trusted(2, "a")), "the name \"a\" appears twice"),
            ("schema: qbind.trust/v1\nkeys: []\n".to_owned(), "it trusts no key"),
            (good.replace("v1", "v2"), "schema is"),
            (good.replace("operator", "operater"), "operater"),
            (good.replace("\"- Org\"\n    public_key: \"", "x\n    public_key: \"00"), "2624"),
        ] {
            let error = Trust::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
