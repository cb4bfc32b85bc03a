//! What a playbook says, once it has been checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How bad the incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Safety or keys are at stake.
    Critical,
    /// A validator does not do its work.
    High,
    /// Something will fail if nobody looks.
    Medium,
}

/// A checked playbook.
#[derive(Clone, Debug, PartialEq)]
pub struct Playbook {
    /// Its name.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// How bad the incident is.
    pub severity: Severity,
    /// Where the procedure comes from.
    pub source: String,
    /// When to use it and what it does.
    pub about: String,
    /// What an operator has to say.
    pub variables: BTreeMap<String, Variable>,
    /// Observations; whatever they say, the run goes on.
    pub diagnose: Vec<Step>,
    /// What must not be so.
    pub interlocks: Vec<Interlock>,
    /// What is done about it; the first failure ends the run.
    pub act: Vec<Step>,
    /// When it is over.
    pub done: Step,
    /// SHA3-256 of the file.
    pub digest: String,
}

/// One thing an operator has to say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What it is, for people.
    pub about: String,
    /// What its value looks like.
    pub kind: Kind,
    /// The value when nobody says anything.
    #[serde(default)]
    pub default: Option<String>,
    /// The values possible, where [`Kind::Choice`].
    #[serde(default)]
    pub choices: Vec<String>,
    /// Whether it may stay without a value as long as no step that runs needs it.
    #[serde(default)]
    pub optional: bool,
}

/// What a variable's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `http://host:port`, nothing behind it.
    Url,
    /// Several, separated by commas.
    Urls,
    /// Letters, digits, `.`, `_`, `-`, `@` and `:`.
    Name,
    /// A path without control characters.
    Path,
    /// One of a few words.
    Choice,
    /// A whole number.
    Number,
}

/// Either plain text or one whole variable: a value can never change the meaning of what is around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// As it stands.
    Plain(String),
    /// The value of a variable.
    Variable(String),
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name in journals.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Runs only where these variables have these values.
    pub when: BTreeMap<String, String>,
    /// Whether it needs consent.
    pub is_destructive: bool,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Looks at something once.
    Check(Check),
    /// Runs a program; yes is exit code 0.
    Program(Program),
    /// Looks until everything is so.
    Wait(Wait),
    /// Asks the operator.
    Confirm(String),
}

/// Something that is so, is not so, or cannot be known.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// An answer's status.
    Http(HttpCheck),
    /// A metric's value.
    Metric(MetricCheck),
}

/// An HTTP request and the status it should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// `http://host:port`.
    pub base: Text,
    /// What follows.
    pub path: String,
    /// The status expected.
    pub status: u16,
    /// How long an answer may take.
    pub timeout_ms: u64,
}

/// A metric and the bound its value should keep.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricCheck {
    /// `http://host:port`.
    pub base: Text,
    /// Where the metrics are served.
    pub path: String,
    /// The metric's name.
    pub name: String,
    /// Labels it has; one series must be left.
    pub labels: BTreeMap<String, String>,
    /// How the value compares with the bound.
    pub op: Comparison,
    /// The bound.
    pub value: f64,
    /// How long an answer may take.
    pub timeout_ms: u64,
}

/// How a value compares with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Below.
    #[serde(rename = "<")]
    Below,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// Above.
    #[serde(rename = ">")]
    Above,
}

impl Comparison {
    /// Whether `value` keeps `bound`.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
            Self::AtLeast => value >= bound,
            Self::Above => value > bound,
        }
    }

    /// As in the file.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }
}

/// A program, its arguments, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program first; never read by a shell.
    pub arguments: Vec<Text>,
    /// Then it is killed.
    pub timeout_ms: u64,
}

/// Checks that are repeated until all are yes.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// What has to be so.
    pub all: Vec<Check>,
    /// How often to look.
    pub every_ms: u64,
    /// When to give up.
    pub timeout_ms: u64,
}

/// Something that forbids to act.
#[derive(Clone, Debug, PartialEq)]
pub struct Interlock {
    /// Its name in journals.
    pub id: String,
    /// Why it forbids.
    pub because: String,
    /// When.
    pub rule: InterlockRule,
}

/// When an interlock forbids to act.
#[derive(Clone, Debug, PartialEq)]
pub enum InterlockRule {
    /// When every one of these is yes. Unknown is not yes.
    RefuseWhenAll(Vec<Check>),
    /// When taking the node down would leave more validators down than a quorum tolerates.
    KeepsQuorum(Quorum),
}

/// Who has to stay up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The node that would go down.
    pub node: Text,
    /// All other validators, separated by commas.
    pub others: Text,
    /// What a running validator answers with 200; whoever does not answer counts as down.
    pub path: String,
    /// How long an answer may take.
    pub timeout_ms: u64,
}
