//! What can be wrong with a bundle, as values.

use serde::Serialize;
use std::fmt;

/// The kind of a finding; the name in JSON is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// Not a zstd frame at all.
    NotABundle,
    /// The compressed stream breaks.
    Damaged,
    /// The seal over the compressed bytes is missing or does not fit.
    Container,
    /// Bytes after the end.
    TrailingData,
    /// More or larger than any evidence.
    TooLarge,
    /// Expands like a decompression bomb.
    Bomb,
    /// A tar header that cannot be read, or is not the strict one.
    Header,
    /// A link, directory, device or extension where a regular file must be.
    NotAFile,
    /// A name that may not stand in a bundle.
    Name,
    /// The same name twice.
    Duplicate,
    /// Names out of order.
    Unsorted,
    /// A file that must be there is not.
    Missing,
    /// A file the manifest does not list.
    Unlisted,
    /// A file whose size or digest is not the manifest's.
    Changed,
    /// The manifest itself.
    Manifest,
    /// `facts.json` or `gates.json` cannot be understood or contradict themselves.
    Facts,
    /// The chain of the journal.
    Journal,
    /// The plan that was signed before the run.
    Plan,
    /// The statement does not follow from the files.
    Statement,
    /// The envelope is not canonical DSSE.
    Envelope,
    /// A trusted key's signature is wrong.
    Signature,
    /// A sign-off is not one, or a known key's is wrong.
    SignOff,
    /// No trusted key signed.
    Untrusted,
    /// Outside the validity period.
    Expired,
    /// A local file is not the subject of the attestation.
    Subject,
}

/// Most bytes of a message.
const MESSAGE: usize = 2_000;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub code: FindingCode,
    /// The file inside the bundle, where one is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// One sentence without full stop.
    pub message: String,
}

impl Finding {
    /// A finding about the bundle as a whole.
    pub fn new(code: FindingCode, message: impl Into<String>) -> Self {
        Self { code, file: None, message: short(message.into()) }
    }

    /// A finding about one file in it.
    pub fn at(code: FindingCode, file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, file: Some(file.into()), message: short(message.into()) }
    }
}

/// A message may quote what a stranger wrote.
fn short(mut message: String) -> String {
    if message.len() > MESSAGE {
        message.truncate(message.floor_char_boundary(MESSAGE));
        message.push('…');
    }
    message
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}
