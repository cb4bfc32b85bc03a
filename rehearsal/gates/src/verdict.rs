//! What a gate says, and what all of them say together.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The schema line of `gates.json`.
pub const GATES_SCHEMA: &str = "qbind.gates/v1";

/// The verdict of one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Within its bound.
    Pass,
    /// Outside its bound.
    Fail,
    /// Not decided: no data, too few samples, not a number, stale, or extra series.
    Unknown,
    /// The environment was not as planned.
    Invalid,
}

/// What a gate's verdict does to the overall one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Decides.
    Hard,
    /// Is listed, and needs a signed waiver to be attested.
    Soft,
    /// Is noted.
    Informational,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// Derived here from what several nodes handed over.
    CrossNode,
    /// Seen from outside, by our own client or emulator.
    Observed,
    /// A node's word about itself.
    SelfReported,
}

/// The verdict of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Every hard gate passed.
    Pass,
    /// A hard gate failed.
    Fail,
    /// No hard gate failed, and the environment was not as planned.
    Invalid,
    /// No hard gate failed, and one could not be decided.
    Inconclusive,
}

impl Verdict {
    /// Any hard FAIL fails; else any INVALID; else any hard UNKNOWN is inconclusive; else PASS.
    ///
    /// No gates at all is inconclusive: nothing was checked.
    pub fn of(gates: &[Gate]) -> Self {
        let hard =
            |outcome| gates.iter().any(|g| g.severity == Severity::Hard && g.verdict == outcome);
        if hard(Outcome::Fail) {
            Self::Fail
        } else if gates.iter().any(|g| g.verdict == Outcome::Invalid) {
            Self::Invalid
        } else if hard(Outcome::Unknown) || gates.is_empty() {
            Self::Inconclusive
        } else {
            Self::Pass
        }
    }

    /// The exit code of a command that ends with this verdict.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 2,
            Self::Invalid => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
            Self::Inconclusive => "INCONCLUSIVE",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Unknown => "UNKNOWN",
            Self::Invalid => "INVALID",
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::Informational => "informational",
        })
    }
}

/// The stretch of time a gate looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Start.
    pub from_unix_ms: u64,
    /// End.
    pub to_unix_ms: u64,
    /// What was cut out of it, per node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<CutWindow>,
}

/// A planned fault with its recovery, cut out of a node's window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutWindow {
    /// Whose.
    pub node: String,
    /// The planned fault.
    pub fault: String,
    /// Start.
    pub from_unix_ms: u64,
    /// End, recovery included.
    pub to_unix_ms: u64,
}

/// The result of one gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// `G1` to `G13`.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// What it does to the overall verdict.
    pub severity: Severity,
    /// What it says.
    pub verdict: Outcome,
    /// Who says so.
    pub vantage: Vantage,
    /// What was asked of the evidence.
    pub query: String,
    /// What was found.
    pub value: String,
    /// What was required.
    pub bound: String,
    /// Distance from the bound in thousandths of it; negative outside. Absent where no number
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_permille: Option<i64>,
    /// Checks or samples behind it.
    pub samples: u64,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Where the raw data lies in the evidence.
    pub evidence: Vec<String>,
    /// Why, in sentences; for UNKNOWN what is missing.
    pub note: String,
}

/// All gates of a run: `gates.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatesResult {
    /// Always [`GATES_SCHEMA`].
    pub schema: String,
    /// Overall.
    pub verdict: Verdict,
    /// In order of their ids.
    pub gates: Vec<Gate>,
}

impl GatesResult {
    /// Adds the gates up.
    pub fn of(gates: Vec<Gate>) -> Self {
        Self { schema: GATES_SCHEMA.to_owned(), verdict: Verdict::of(&gates), gates }
    }

    /// The gate of this id.
    pub fn gate(&self, id: &str) -> Option<&Gate> {
        self.gates.iter().find(|g| g.id == id)
    }

    /// The bytes of `gates.json`: indented, with a final line feed.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers only");
        text.push('\n');
        text
    }
}
