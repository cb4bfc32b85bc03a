//! Gates that a manifest adds to the guide's: a fact about a metric, a bound, a policy.

use crate::{PlannedNode, Role};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// Most gates a manifest adds.
pub(crate) const MOST: usize = 32;
/// Most labels of a selector.
const LABELS: usize = 8;
/// Most bytes of a name or a text.
const TEXT: usize = 200;
/// Largest bound, in millionths: sums of what is compared with it do not overflow.
const LARGEST: i64 = 1 << 53;

/// Most digits of a bound before its point.
const DIGITS: usize = 10;

/// A decimal number in millionths: nothing is decided in floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millionths(pub i64);

impl fmt::Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        match part {
            0 => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{}", format!("{part:06}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Millionths {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let fits = whole.len() <= DIGITS && part.len() <= 6;
        if whole.is_empty() || part.is_empty() || !fits || !is_number(whole) || !is_number(part) {
            return Err("expected a decimal number with at most six digits behind the point");
        }
        match format!("{whole}{part:0<6}").parse() {
            Ok(number @ 0..=LARGEST) => Ok(Self(sign * number)),
            _ => Err("is too large"),
        }
    }
}

impl Serialize for Millionths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millionths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // From its text, quoted or not: 0.1 is no floating-point number.
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|why| de::Error::custom(format!("{text:?}: {why}")))
    }
}

impl JsonSchema for Millionths {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A decimal number with at most six digits behind the point.",
            "type": ["number", "string"],
            "pattern": "^-?[0-9]{1,10}([.][0-9]{1,6})?$",
        })
    }
}

/// What is asked of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Its value in each scrape.
    Instant,
    /// By how much it grew over the window.
    Delta,
    /// By how much it grew per second.
    Rate,
    /// The median of a histogram's observations in the window.
    P50,
    /// Their 90th percentile.
    P90,
    /// Their 99th percentile.
    P99,
    /// Largest less smallest value of all nodes in each round of scrapes.
    Spread,
    /// For how many seconds it stood still at the longest.
    WithoutProgress,
}

impl Fact {
    /// Of a histogram: which quantile, in thousandths.
    pub fn quantile_permille(self) -> Option<u64> {
        match self {
            Self::P50 => Some(500),
            Self::P90 => Some(900),
            Self::P99 => Some(990),
            _ => None,
        }
    }

    /// Whether each scrape is compared, not the window as a whole.
    pub fn is_of_each_scrape(self) -> bool {
        matches!(self, Self::Instant | Self::Spread)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Delta => "delta",
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Spread => "spread",
            Self::WithoutProgress => "without_progress",
        }
    }
}

/// Whose metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// Every node's.
    #[default]
    All,
    /// The validators'.
    Validators,
    /// Those of nodes that serve clients.
    Rpc,
}

/// What an added gate does to the overall verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Decides.
    Hard,
    /// Is listed, and needs a waiver.
    Soft,
    /// Is noted.
    Informational,
}

/// What to say where there is no number. Never that it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// That nothing is known.
    #[default]
    Unknown,
    /// That it failed.
    Fail,
}

/// What to say where a counter falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// That nothing is known.
    #[default]
    Unknown,
    /// That it failed.
    Fail,
    /// That it began again at 0.
    Restart,
}

/// What to take where a node has several series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// Nothing: it is not known which is meant.
    #[default]
    Unknown,
    /// Their sum.
    Sum,
    /// The largest.
    Largest,
    /// The smallest.
    Smallest,
}

/// When a breach counts, and what stands for a number that is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A breach counts once it lasts so many seconds from its first scrape to its last.
    pub for_s: u32,
    /// Scrapes in breach that are forgiven each node.
    pub breaches: u32,
    /// But no more than so many thousandths of its scrapes; 0 for no such limit.
    pub breaches_max_permille: u32,
    /// So many of its last scrapes are not forgiven.
    pub passes_at_end: u32,
    /// A scrape has no such series.
    pub no_series: Otherwise,
    /// A value is NaN, infinite or too large to be exact.
    pub not_a_number: Otherwise,
    /// A counter falls.
    pub reset: Reset,
    /// A scrape has several such series.
    pub several: Several,
}

/// A gate that a manifest adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddedGate {
    /// `X1` to `X99`.
    #[schemars(regex(pattern = "^X[1-9][0-9]?$"))]
    pub id: String,
    /// In a few words.
    pub title: String,
    /// What it does to the overall verdict.
    pub severity: Weight,
    /// What is asked.
    pub fact: Fact,
    /// Of which metric; of a histogram its name without `_bucket`.
    pub metric: String,
    /// Only of series with these labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of whose.
    #[serde(default)]
    pub whose: Whose,
    /// Lower bound.
    #[serde(default)]
    pub at_least: Option<Millionths>,
    /// Upper bound.
    #[serde(default)]
    pub at_most: Option<Millionths>,
    /// When a breach counts.
    #[serde(default)]
    pub policy: Policy,
}

impl AddedGate {
    /// Whether it is about this node.
    pub fn means(&self, node: &PlannedNode) -> bool {
        match self.whose {
            Whose::All => true,
            Whose::Validators => node.role == Role::Validator,
            Whose::Rpc => node.role == Role::Rpc,
        }
    }

    /// The name of the series in `/metrics`.
    pub fn series(&self) -> String {
        match self.fact.quantile_permille() {
            Some(_) => format!("{}_bucket", self.metric),
            None => self.metric.clone(),
        }
    }

    /// What is asked, in one line.
    pub fn query(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        format!("{} of {}{labels}", self.fact.name(), self.metric)
    }

    /// What is required, in one line.
    pub fn bound(&self) -> String {
        let least = self.at_least.map(|bound| format!(">= {bound}"));
        let most = self.at_most.map(|bound| format!("<= {bound}"));
        [least, most].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// How it decides, in a few sentences.
    pub fn explanation(&self) -> String {
        let whose = match self.whose {
            Whose::All => "every node",
            Whose::Validators => "each validator",
            Whose::Rpc => "each node that serves clients",
        };
        let p = &self.policy;
        let mut said = vec![format!(
            "The {} must be {}, for {whose}, in the live window after the warm-up and outside what the \
             plan cuts out of the node.",
            self.query(),
            self.bound(),
        )];
        let mut say = |is_set: bool, sentence: String| said.extend(is_set.then_some(sentence));
        say(p.for_s > 0, format!("A breach counts once it lasts {} s.", p.for_s));
        say(p.breaches > 0, format!("{} scrapes in breach are forgiven each node.", p.breaches));
        let share = p.breaches_max_permille;
        say(share > 0, format!("No more than {share} of 1,000 scrapes may be."));
        say(p.passes_at_end > 0, format!("The last {} scrapes must pass.", p.passes_at_end));
        let otherwise = |o: Otherwise| if o == Otherwise::Fail { "FAIL" } else { "UNKNOWN" };
        say(true, format!("No such series is {}.", otherwise(p.no_series)));
        say(true, format!("What is no exact number is {}.", otherwise(p.not_a_number)));
        let reset = match p.reset {
            Reset::Unknown => "is UNKNOWN",
            Reset::Fail => "is FAIL",
            Reset::Restart => "began again at 0",
        };
        let has_resets = self.is_of_growth() || self.fact == Fact::WithoutProgress;
        say(has_resets, format!("A counter that falls {reset}."));
        let several = match p.several {
            Several::Unknown => "are UNKNOWN",
            Several::Sum => "are added up",
            Several::Largest => "are judged by the largest",
            Several::Smallest => "are judged by the smallest",
        };
        say(true, format!("Several series of one scrape {several}."));
        said.join(" ")
    }

    fn is_of_growth(&self) -> bool {
        matches!(self.fact, Fact::Delta | Fact::Rate) || self.fact.quantile_permille().is_some()
    }

    /// What is wrong with it: the key, and why.
    fn problem(&self) -> Option<(&'static str, String)> {
        let is_name = |text: &str| {
            let first = text.bytes().next();
            first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && text.len() <= TEXT
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let is_text = |text: &str| {
            !text.is_empty()
                && text.len() <= TEXT
                && !text.chars().any(|c| c.is_control() || matches!(c, '"' | ',' | '{' | '}' | '='))
                && !text.chars().any(turns)
        };
        let number = self.id.strip_prefix('X').filter(|n| !n.starts_with(['0', '+']));
        if !number.is_some_and(|n| n.parse().is_ok_and(|n: u8| (1..=99).contains(&n))) {
            return Some(("id", format!("is {:?}, expected X1 to X99", self.id)));
        }
        if !is_text(&self.title) {
            return Some(("title", "is empty, too long, or has signs that cannot be shown".into()));
        }
        if !is_name(&self.metric) {
            return Some(("metric", format!("is {:?}, which is no name of a metric", self.metric)));
        }
        if self.labels.len() > LABELS || !self.labels.iter().all(|(k, v)| is_name(k) && is_text(v))
        {
            return Some(("labels", format!("are more than {LABELS}, or no labels")));
        }
        match (self.at_least, self.at_most) {
            (None, None) => return Some(("at_most", "and at_least are both absent".into())),
            (Some(least), Some(most)) if least > most => {
                return Some(("at_least", format!("is {least}, above at_most, {most}")));
            }
            _ => {}
        }
        let never_breaks = match self.fact {
            Fact::WithoutProgress => self.at_least.is_some(),
            Fact::Spread => self.at_most.is_none() && self.at_least.is_some_and(|b| b.0 <= 0),
            // What falls is told apart: only that can break it.
            Fact::Delta | Fact::Rate if self.policy.reset != Reset::Fail => {
                self.at_most.is_none() && self.at_least.is_some_and(|b| b.0 <= 0)
            }
            _ => false,
        };
        if never_breaks {
            let why = format!("is a bound that {} cannot break", self.fact.name());
            return Some(("at_least", why));
        }
        let p = &self.policy;
        let of_each = [p.for_s, p.breaches, p.breaches_max_permille, p.passes_at_end];
        if !self.fact.is_of_each_scrape() && of_each != [0; 4] {
            let why = "for_s, breaches, breaches_max_permille and passes_at_end are about single \
                       scrapes, which this fact does not compare";
            return Some(("policy", why.into()));
        }
        let has_resets = self.is_of_growth() || self.fact == Fact::WithoutProgress;
        if p.reset != Reset::default() && !has_resets {
            return Some(("policy", "has reset, and this fact does not look at falls".into()));
        }
        let is_odd = match self.fact {
            Fact::P50 | Fact::P90 | Fact::P99 => {
                matches!(p.several, Several::Largest | Several::Smallest)
            }
            Fact::WithoutProgress => p.several == Several::Sum,
            _ => false,
        };
        if is_odd {
            let why = format!("has a way to take several series that {} has not", self.fact.name());
            return Some(("policy", why));
        }
        if p.for_s > 86_400 || p.breaches_max_permille > 1_000 || p.passes_at_end > 100_000 {
            return Some(("policy", "has a number beyond every window".into()));
        }
        None
    }
}

/// Signs that change the direction of a text, and so what a reader sees.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first gate of a plan that is about too few of its nodes: which, the key, and why.
pub(crate) fn aimless(added: &[AddedGate], nodes: &[PlannedNode]) -> Option<(usize, String)> {
    added.iter().enumerate().find_map(|(n, gate)| {
        let meant = nodes.iter().filter(|node| gate.means(node)).count();
        let least = if gate.fact == Fact::Spread { 2 } else { 1 };
        let why =
            format!("{} is about {meant} nodes of this network, of {least} at least", gate.id);
        (meant < least).then_some((n, why))
    })
}

/// What is wrong with the gates a manifest or plan adds: which, the key, and why.
pub(crate) fn problems(added: &[AddedGate]) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    if added.len() > MOST {
        found.push((MOST, String::new(), format!("at most {MOST} gates can be added")));
    }
    let mut ids = BTreeSet::new();
    for (n, gate) in added.iter().enumerate() {
        if let Some((key, why)) = gate.problem() {
            found.push((n, key.to_owned(), why));
        }
        if !ids.insert(&gate.id) {
            found.push((n, "id".to_owned(), format!("{} is another gate's too", gate.id)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_written_in_one_way() {
        for (text, number, again) in [
            ("0", 0, "0"),
            ("0.1", 100_000, "0.1"),
            ("-2.50", -2_500_000, "-2.5"),
            ("7.000001", 7_000_001, "7.000001"),
            ("9007199254.740992", LARGEST, "9007199254.740992"),
        ] {
            let parsed: Millionths = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (number, again), "{text}");
        }
        for text in [
            "",
            ".5",
            "1e3",
            "0.0000001",
            "+1",
            "--1",
            "9007199254.740993",
            "NaN",
            "1.-1",
            "1.",
            "00000000001",
        ] {
            assert!(text.parse::<Millionths>().is_err(), "{text}");
        }
    }
}
